//! The id of a validation session (specification, "Definitions": `sid`).
//!
//! Invariant: an id of this server is not secret and may be logged; any other text from a client is hidden.

use std::fmt;

use shared::random::Random;

/// The length of an id of this server in characters.
const LENGTH: usize = 24;

/// A session id. A client may send any text; imported ids are decimal numbers.
///
/// `Debug` shows only texts with the form of an id, so that a secret sent as `sid` is not logged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sid(String);

impl Sid {
    /// Draws a new id: 24 characters of `[0-9A-Za-z]`.
    pub fn draw(random: Random) -> Self {
        Self(random.base62(LENGTH))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Sid {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = self.0.len() == LENGTH && self.0.bytes().all(|b| b.is_ascii_alphanumeric());
        let imported = (1..LENGTH).contains(&self.0.len()) && self.0.bytes().all(|b| b.is_ascii_digit());
        if ours || imported { write!(f, "Sid({})", self.0) } else { f.write_str("Sid(?)") }
    }
}

#[cfg(test)]
mod tests {
    use super::Sid;
    use shared::random::Random;

    #[test]
    fn a_new_id_has_24_letters_and_digits_and_debug_shows_it() {
        let sid = Sid::draw(Random);
        assert_eq!(sid.as_str().len(), 24);
        assert!(sid.as_str().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(format!("{sid:?}"), format!("Sid({})", sid.as_str()));
        assert_ne!(sid, Sid::draw(Random));
    }

    #[test]
    fn any_text_is_accepted_and_debug_hides_texts_of_another_form() {
        for text in ["", "alice@example.com", "a b\n", "é", "0123456789012345678901234567890"] {
            let sid = Sid::from(text.to_owned());
            assert_eq!((sid.as_str(), format!("{sid:?}")), (text, "Sid(?)".to_owned()));
        }
        assert_eq!(format!("{:?}", Sid::from("4711".to_owned())), "Sid(4711)");
    }
}
