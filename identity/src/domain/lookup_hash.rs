//! Lookup hashes and their pepper (specification, "Client behaviour: sha256").
//!
//! Invariant: a digest covers a canonical or a lower-case form, never a text that [`ThreePid::canonical`] has not parsed.

use std::fmt;

use sha2::{Digest, Sha256};
use shared::random::Random;
use shared::secret::Secret;
use subtle::ConstantTimeEq;

use super::threepid::{Medium, ThreePid};

/// The length of a generated pepper.
const PEPPER_LENGTH: usize = 32;

/// The length of a digest in unpadded base64.
const ENCODED_LENGTH: usize = 43;

/// A character that is not of the alphabet.
const NO_SEXTET: u8 = 0x80;

/// The values of the characters of URL-safe base64 (RFC 4648, section 5).
const SEXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut sextets = [NO_SEXTET; 256];
    let mut value: u8 = 0;
    while value < 64 {
        sextets[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    sextets
};

/// The text is empty or has other characters than `[a-zA-Z0-9]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pepper is one or more of the characters a-z, A-Z, 0-9")]
pub struct InvalidPepper;

/// The pepper of every hash: `[a-zA-Z0-9]`, not empty. An imported pepper may have any length.
#[derive(Clone, Debug)]
pub struct Pepper(Secret<String>);

impl Pepper {
    pub fn draw(random: Random) -> Self {
        Self(Secret::new(random.base62(PEPPER_LENGTH)))
    }

    /// # Errors
    /// [`InvalidPepper`] if it is empty or has any other character. Clients reject an empty pepper.
    pub fn parse(text: &str) -> Result<Self, InvalidPepper> {
        let right = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if right { Ok(Self(Secret::new(text.to_owned()))) } else { Err(InvalidPepper) }
    }

    /// The text, for the response to an account and for the store.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether `given` is this pepper, in constant time.
    pub fn is(&self, given: &str) -> bool {
        self.expose().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The SHA-256 of `<address> <medium> <pepper>`. Never printed, because the pepper allows a search for the address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupDigest([u8; 32]);

impl LookupDigest {
    pub fn of(address: &str, medium: Medium, pepper: &Pepper) -> Self {
        let mut hash = Sha256::new();
        for part in [address, " ", medium.as_str(), " ", pepper.expose()] {
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    /// Decodes a client's entry: 43 characters of unpadded URL-safe base64. `None` matches no address.
    ///
    /// A lookup has up to ten thousand entries; this takes a third of the time of the base64 crate.
    pub fn decode(text: &str) -> Option<Self> {
        let text: &[u8; ENCODED_LENGTH] = text.as_bytes().try_into().ok()?;
        let (groups, &[a, b, c]) = text.as_chunks::<4>() else { return None };
        let mut bytes = [0; 32];
        let mut seen = 0;
        let mut word = |characters: [u8; 4]| {
            let values = characters.map(|character| SEXTETS[usize::from(character)]);
            seen |= values[0] | values[1] | values[2] | values[3];
            values.iter().fold(0, |word, value| (word << 6) | u32::from(*value)).to_be_bytes()
        };
        for (group, decoded) in groups.iter().zip(bytes.as_chunks_mut::<3>().0) {
            let [_, first, second, third] = word(*group);
            *decoded = [first, second, third];
        }
        let [_, first, second, rest] = word([a, b, c, b'A']);
        [bytes[30], bytes[31]] = [first, second];
        (seen & NO_SEXTET == 0 && rest == 0).then_some(Self(bytes))
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first eight bytes, as a number in the order of the digests, and the others.
    pub fn split(&self) -> (u64, [u8; 24]) {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LookupDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupDigest(***)")
    }
}

/// Which form of an address a digest covers, by precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    Canonical,
    /// The lower-case form, or the one with A-labels.
    Alternative,
}

/// The digests of one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupDigests {
    /// Of the canonical address.
    pub h1: LookupDigest,
    /// Of the lower-case form of the typed address, if it differs from the canonical form.
    pub h2: Option<LookupDigest>,
    /// Of the address with its domain in A-labels, if it differs from the canonical form.
    pub ascii: Option<LookupDigest>,
}

impl LookupDigests {
    pub fn of(threepid: &ThreePid, pepper: &Pepper) -> Self {
        let of = |address: &str| LookupDigest::of(address, threepid.medium(), pepper);
        Self {
            h1: of(threepid.address().as_str()),
            h2: threepid.lower_case_form().map(|form| of(&form)),
            ascii: threepid.ascii_form().map(|form| of(&form)),
        }
    }

    /// Each digest and its form.
    pub fn iter(&self) -> impl Iterator<Item = (LookupDigest, Form)> {
        let alternatives = [self.h2, self.ascii].into_iter().flatten();
        std::iter::once((self.h1, Form::Canonical)).chain(alternatives.map(|digest| (digest, Form::Alternative)))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::{LookupDigest, LookupDigests, Pepper};
    use crate::domain::threepid::{Medium, ThreePid};
    use shared::random::Random;

    /// The form on the wire.
    fn encode(digest: &LookupDigest) -> String {
        URL_SAFE_NO_PAD.encode(digest.as_bytes())
    }

    fn digests(medium: Medium, typed: &str) -> (String, Option<String>) {
        let threepid = ThreePid::canonical(medium, typed).unwrap();
        let LookupDigests { h1, h2, .. } = LookupDigests::of(&threepid, &Pepper::parse("matrixrocks").unwrap());
        (encode(&h1), h2.as_ref().map(encode))
    }

    #[test]
    fn the_digests_equal_the_vectors() {
        for (medium, typed, h1, h2) in [
            (Medium::Email, "alice@example.com", "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc", None),
            (Medium::Email, "Bob@Example.com", "LJwSazmv46n0hlMlsb_iYxI0_HXEqy_yj6Jm636cdT8", None),
            (Medium::Msisdn, "18005552067", "nlo35_T5fzSGZzJApqu8lgIudJvmOQtDaHtr-I4rU7I", None),
            (Medium::Msisdn, "+447700900001", "dF473qZAKqcTbTZct7YzrjGHYgV1YM1hdw68D7pSskg", None),
            (
                Medium::Email,
                "Strauß@Example.com",
                "Wvo9OL_UvrDZsRecvnhshdTeilXXGbhk0J5l5rX55Ok",
                Some("1FBgMvqsmu6y8fjKGhVb8Ejq0aQknLThQ7hF57hDwQE"),
            ),
            (
                Medium::Email,
                "ΣΊΣΥΦΟΣ@Example.org",
                "bZ-m5bGI6kZqYcI-_txXU4D1yOE_RETXneTIC1M3fjM",
                Some("9bKa150cXY8UscPkyx2TcQKcHQiiejPuYXjQ154y_vs"),
            ),
        ] {
            assert_eq!(digests(medium, typed), (h1.to_owned(), h2.map(str::to_owned)), "{typed}");
        }
    }

    #[test]
    fn only_an_encoded_digest_decodes() {
        let text = "4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUc";
        assert_eq!(encode(&LookupDigest::decode(text).unwrap()), text);
        for wrong in ["", "x", "alice@example.com email", &text[..42], &format!("{text}="), &format!("{text}A"), "é"] {
            assert!(LookupDigest::decode(wrong).is_none(), "{wrong}");
        }
        assert!(LookupDigest::decode("nlo35_T5fzSGZzJApqu8lgIudJvmOQtDaHtr+I4rU7I").is_none(), "the other alphabet");
        for bytes in [[0; 32], [0xff; 32], std::array::from_fn(|index| u8::try_from(index * 7).unwrap())] {
            let text = URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(LookupDigest::decode(&text).unwrap().as_bytes(), &bytes);
            // Any single character outside the alphabet is refused, at every place.
            for place in 0..text.len() {
                for wrong in ["+", "/", "=", " ", "\u{7f}"] {
                    let mut text = text.clone();
                    text.replace_range(place..=place, wrong);
                    assert!(LookupDigest::decode(&text).is_none(), "{wrong:?} at {place}");
                }
            }
        }
        assert!(LookupDigest::decode("4kenr7N9drpCJ4AfalmlGQVsOn3o2RHjkADUpXJWZUd").is_none(), "stray trailing bits");
    }

    #[test]
    fn peppers_are_alphanumeric_and_hidden() {
        let pepper = Pepper::draw(Random);
        assert_eq!(pepper.expose().len(), 32);
        assert!(Pepper::parse(pepper.expose()).is_ok());
        assert!(pepper.is(pepper.expose()));
        assert!(!pepper.is("matrixrocks") && !pepper.is(""));
        assert!(!format!("{pepper:?}").contains(pepper.expose()));
        for text in ["", "a b", "ä", "a-b", "a\n"] {
            assert!(Pepper::parse(text).is_err(), "{text:?}");
        }
    }
}
