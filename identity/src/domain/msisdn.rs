//! Telephone numbers: what somebody dialled, and the one form in which a number is stored, compared and hashed.
//!
//! Invariants: no country is guessed. A number has one form however it was typed: [`canonical`] of the digits of an
//! [`Msisdn`] is these digits. And no number is ever printed by `Debug` or named by an error.

mod number_type;
mod reading;
mod written;

use std::fmt;

use serde::Deserialize;

pub use self::number_type::NumberType;
use self::reading::{Reading, Region};
use self::written::Written;

/// What the canonical form may count: calling code and all (ITU-T E.164, section 6; the least is our own).
const CANONICAL_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;

/// A telephone number that a message can be sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct Msisdn {
    digits: String,
    calling_code: String,
    region: Option<String>,
    international: String,
}

/// Why no message goes to what was dialled. It does not say what was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It is no whole number in any country: `M_INVALID_ADDRESS` on the wire.
    #[error("not a telephone number that can be reached from that country")]
    Invalid,
    /// It is one of a kind that gets no messages: `M_DESTINATION_REJECTED` on the wire.
    #[error("no messages are sent to this kind of telephone number")]
    Rejected,
}

/// Which numbers the operator lets messages go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRules {
    /// How much has to be known of a number.
    pub require: Require,
    /// Kinds of numbers that get no messages. The kind of a number that no operator has been assigned is not known.
    pub reject_types: Vec<NumberType>,
}

/// How much has to be known of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// It has as many digits as numbers of its country have.
    Possible,
    /// It is also in a range that has been assigned; ranges newer than this program are refused.
    Valid,
}

impl Msisdn {
    /// The number that somebody in `country` (ISO 3166-1 alpha-2, in any case) dials as `typed`.
    ///
    /// With a plus or the country's own prefix for calls abroad in front there is one way to read it. Otherwise it is
    ///
    /// 1. a number of the country, if it is an assigned one;
    /// 2. a full number whose plus was left out, if it cannot be a number of the country at all;
    /// 3. nothing, if it is an assigned number of another country once a plus stands in front, and also as long as a
    ///    number of this one: nobody can tell which was meant, and a message could go to a stranger;
    /// 4. a number of the country that has not been assigned.
    ///
    /// # Errors
    /// [`NumberError::Invalid`] if `country` is none, if it has letters, an extension or anything else that is no
    /// part of a number, or if it is short, cannot be dialled from abroad, or does not meet `rules.require`;
    /// [`NumberError::Rejected`] if `rules.reject_types` has its kind.
    pub fn dialled(typed: &str, country: &str, rules: &NumberRules) -> Result<Self, NumberError> {
        let region = Region::of(country).ok_or(NumberError::Invalid)?;
        let written = Written::read(typed).ok_or(NumberError::Invalid)?;
        let reading = read(&written, region).ok_or(NumberError::Invalid)?;
        if rules.require == Require::Valid && !reading.is_assigned() {
            return Err(NumberError::Invalid);
        }
        if reading.number_type().is_some_and(|number_type| rules.reject_types.contains(&number_type)) {
            return Err(NumberError::Rejected);
        }
        Ok(Self {
            calling_code: reading.calling_code(),
            region: reading.region(),
            international: reading.international(),
            digits: reading.digits,
        })
    }

    /// The canonical form: the digits of E.164, calling code first, without `+`.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The calling code: `44`, `1`.
    pub fn calling_code(&self) -> &str {
        &self.calling_code
    }

    /// Where the number belongs (ISO 3166-1 alpha-2). `None` if it belongs to no country, or if several share its
    /// calling code and none of them has assigned it.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The number as it is written for people anywhere: `+44 7700 900001`.
    pub fn international(&self) -> &str {
        &self.international
    }
}

impl fmt::Debug for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Msisdn(***)")
    }
}

/// The text is no telephone number in international form. It does not say which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a telephone number in international form")]
pub struct InvalidMsisdn;

/// The form in which a number is stored, compared and hashed, of one that is in international form already, with or
/// without its plus: the digits of E.164, calling code first.
///
/// A number that its country's plan does not know, as rows from elsewhere may hold, is its bare digits.
///
/// # Errors
/// [`InvalidMsisdn`] unless it is a number of such a plan or 5 to 15 digits of which the first is not 0; a zero that is
/// dialled only within the country, given as `(0)`, is understood only of the former.
pub fn canonical(typed: &str) -> Result<String, InvalidMsisdn> {
    let written = Written::read(typed).ok_or(InvalidMsisdn)?;
    if let Some(reading) = Reading::with_plus(&written.digits, None) {
        return Ok(reading.digits);
    }
    let is_bare = CANONICAL_DIGITS.contains(&written.digits.len())
        && !written.digits.starts_with('0')
        && !written.zero_in_brackets;
    if is_bare { Ok(written.digits) } else { Err(InvalidMsisdn) }
}

/// Whether this is a country (ISO 3166-1 alpha-2, in any case) that has telephone numbers.
pub fn is_country(code: &str) -> bool {
    Region::of(code).is_some()
}

/// The calling code of a number in canonical form; `None` if its digits begin with none.
pub fn calling_code(canonical: &str) -> Option<String> {
    Reading::with_plus(canonical, None).map(|reading| reading.calling_code())
}

/// What `written` means to somebody in `region`, by the order of [`Msisdn::dialled`].
fn read(written: &Written, region: Region) -> Option<Reading> {
    if written.has_plus {
        return Reading::with_plus(&written.digits, Some(region));
    }
    let within = Reading::as_dialled(&written.digits, region);
    if within.as_ref().is_some_and(|within| within.says_it_is_abroad() || within.is_assigned()) {
        return within;
    }
    let plus_left_out = Reading::with_plus(&written.digits, None);
    match (within, plus_left_out) {
        (None, abroad) => abroad,
        (Some(within), Some(abroad)) if abroad.is_assigned() && abroad.digits != within.digits => None,
        (within, _) => within,
    }
}

#[cfg(test)]
mod tests;
