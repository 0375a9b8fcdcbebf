//! Third-party identifiers: a medium and an address in canonical form.
//!
//! Invariant: only [`ThreePid::canonical`] creates a [`ThreePid`], or the store from a row of one. `Debug` never prints an
//! address.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::case_folding::lower_case_form;
use super::email::{self, InvalidEmail};
use super::msisdn::{self, InvalidMsisdn, Msisdn};

/// The kind of an address (specification, "3PID types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Medium {
    Email,
    Msisdn,
}

impl Medium {
    /// The specification's name: `email` or `msisdn`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Msisdn => "msisdn",
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the medium is neither email nor msisdn")]
pub struct UnknownMedium;

impl FromStr for Medium {
    type Err = UnknownMedium;

    fn from_str(text: &str) -> Result<Self, UnknownMedium> {
        match text {
            "email" => Ok(Self::Email),
            "msisdn" => Ok(Self::Msisdn),
            _ => Err(UnknownMedium),
        }
    }
}

/// Why a text is not an address of its medium. The errors do not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Not an e-mail address: `M_INVALID_EMAIL` on the wire.
    #[error(transparent)]
    Email(#[from] InvalidEmail),
    /// Not a telephone number: `M_INVALID_ADDRESS` on the wire.
    #[error(transparent)]
    Msisdn(#[from] InvalidMsisdn),
}

/// An address in canonical form. Printed only by [`Address::as_str`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// The canonical form, for the wire, the store and the hash; never for a log.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A third-party identifier. Two are equal if medium and canonical address are, however they were typed.
#[derive(Clone)]
pub struct ThreePid {
    medium: Medium,
    address: Address,
    typed: String,
}

impl ThreePid {
    /// Parses `typed` as an address of `medium`. Every address of a request goes through here.
    ///
    /// # Errors
    /// [`InvalidAddress`] if `typed` is not of the medium's syntax.
    pub fn canonical(medium: Medium, typed: &str) -> Result<Self, InvalidAddress> {
        let address = match medium {
            Medium::Email => email::canonical(typed)?,
            Medium::Msisdn => msisdn::canonical(typed)?,
        };
        Ok(Self { medium, address: Address(address), typed: typed.to_owned() })
    }

    /// The identifier of a row: the canonical `address`, and as it was `typed`. For the store alone. It does not validate,
    /// because an old row may break today's rules.
    pub fn from_row(medium: Medium, address: String, typed: String) -> Self {
        // Rows from before U-labels were canonical.
        let address = match medium {
            Medium::Email if address.contains("xn--") => email::canonical(&address).unwrap_or(address),
            _ => address,
        };
        Self { medium, address: Address(address), typed }
    }

    pub const fn medium(&self) -> Medium {
        self.medium
    }

    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The address as typed, for the row and for display; never for a log.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The recipient of a message. An e-mail address as typed if it is pure ASCII, else its canonical form.
    pub fn recipient(&self) -> &str {
        match self.medium {
            Medium::Email => email::recipient(&self.typed, self.address.as_str()),
            Medium::Msisdn => self.address.as_str(),
        }
    }

    /// The address with its domain in A-labels, which clients may hash; `None` if it equals the canonical form.
    pub fn ascii_form(&self) -> Option<String> {
        match self.medium {
            Medium::Email => email::ascii_form(self.address.as_str()),
            Medium::Msisdn => None,
        }
    }

    /// One text for all addresses that reach the same person, which share their limits.
    pub fn limit_form(&self) -> Cow<'_, str> {
        match self.medium {
            Medium::Email => mailbox(self.address.as_str()).into(),
            Medium::Msisdn => msisdn::subscriber(self.address.as_str()),
        }
    }

    /// The form hashed by clients that lower-case instead of folding; `None` if it equals the canonical form.
    pub fn lower_case_form(&self) -> Option<String> {
        match self.medium {
            Medium::Email => Some(lower_case_form(&self.typed)).filter(|form| form != self.address.as_str()),
            Medium::Msisdn => None,
        }
    }
}

/// The address without what its owner may choose freely: a tag after a plus sign and, with the provider that ignores them,
/// dots. No mail is sent to it.
fn mailbox(canonical: &str) -> String {
    let Some((local, domain)) = canonical.rsplit_once('@') else { return canonical.to_owned() };
    let untagged = local.split('+').next().filter(|local| !local.is_empty()).unwrap_or(local);
    match domain {
        "gmail.com" | "googlemail.com" => format!("{}@gmail.com", untagged.replace('.', "")),
        _ => format!("{untagged}@{domain}"),
    }
}

impl From<&Msisdn> for ThreePid {
    fn from(number: &Msisdn) -> Self {
        let digits = number.digits().to_owned();
        Self { medium: Medium::Msisdn, address: Address(digits.clone()), typed: digits }
    }
}

impl PartialEq for ThreePid {
    fn eq(&self, other: &Self) -> bool {
        (self.medium, &self.address) == (other.medium, &other.address)
    }
}

impl Eq for ThreePid {}

impl Hash for ThreePid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.medium, &self.address).hash(state);
    }
}

impl fmt::Debug for ThreePid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThreePid({}, ***)", self.medium)
    }
}

#[cfg(test)]
mod tests {
    use super::{Medium, ThreePid};

    /// Typed, canonical, lower-case form.
    const FORMS: [(&str, &str, &str); 14] = [
        ("Strauß@Example.com", "strauss@example.com", "strauß@example.com"),
        ("\u{1E9E}@x.org", "ss@x.org", "ß@x.org"),
        ("ΣΊΣΥΦΟΣ@Example.org", "σίσυφο\u{3C3}@example.org", "σίσυφο\u{3C2}@example.org"),
        ("\u{17F}@x.org", "s@x.org", "\u{17F}@x.org"),
        ("\u{FB00}@x.org", "ff@x.org", "\u{FB00}@x.org"),
        ("mi\u{212A}e@x.org", "mike@x.org", "mike@x.org"),
        ("\u{212B}@x.org", "\u{E5}@x.org", "\u{E5}@x.org"),
        ("\u{130}@x.org", "i\u{307}@x.org", "i\u{307}@x.org"),
        ("\u{131}@x.org", "\u{131}@x.org", "\u{131}@x.org"),
        ("\u{AB70}@x.org", "\u{13A0}@x.org", "\u{AB70}@x.org"),
        ("\u{13A0}@x.org", "\u{13A0}@x.org", "\u{AB70}@x.org"),
        ("\u{390}@x.org", "\u{3B9}\u{308}\u{301}@x.org", "\u{390}@x.org"),
        ("e\u{301}@x.org", "e\u{301}@x.org", "e\u{301}@x.org"),
        ("Alice@Example.com", "alice@example.com", "alice@example.com"),
    ];

    #[test]
    fn each_address_has_its_canonical_and_its_lower_case_form() {
        for (typed, canonical, lower) in FORMS {
            let threepid = ThreePid::canonical(Medium::Email, typed).unwrap();
            assert_eq!(threepid.address().as_str(), canonical, "{typed}");
            assert_eq!(threepid.lower_case_form().as_deref(), (lower != canonical).then_some(lower), "{typed}");
        }
    }

    #[test]
    fn two_spellings_of_one_mailbox_are_equal() {
        let typed = ThreePid::canonical(Medium::Email, "mi\u{212A}e@x.org").unwrap();
        let ascii = ThreePid::canonical(Medium::Email, "Mike@X.org").unwrap();
        assert_eq!(typed, ascii);
        assert_eq!((typed.recipient(), ascii.recipient()), ("mike@x.org", "Mike@X.org"));
        assert_ne!(typed, ThreePid::canonical(Medium::Email, "mike@y.org").unwrap());
    }

    #[test]
    fn a_number_has_one_form_only() {
        let number = ThreePid::canonical(Medium::Msisdn, "+44 7700 900001").unwrap();
        assert_eq!((number.address().as_str(), number.recipient()), ("447700900001", "447700900001"));
        assert_eq!(number.lower_case_form(), None);
        assert_ne!(number, ThreePid::from_row(Medium::Email, "447700900001".into(), "447700900001".into()));
    }

    #[test]
    fn only_two_media_exist() {
        assert_eq!(["email", "msisdn"].map(str::parse), [Ok(Medium::Email), Ok(Medium::Msisdn)]);
        for text in ["", "Email", "EMAIL", "email ", "phone", "mxid"] {
            assert!(text.parse::<Medium>().is_err(), "{text}");
        }
    }

    #[test]
    fn debug_output_never_shows_an_address() {
        let threepid = ThreePid::canonical(Medium::Email, "Alice@Example.com").unwrap();
        let shown = format!("{threepid:?} {:?}", threepid.address());
        assert_eq!(shown, "ThreePid(email, ***) ***");
    }
}
