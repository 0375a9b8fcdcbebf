//! The name of a validation session (specification, "Definitions": `sid`).
//!
//! Invariant: one of ours is no secret and may stand in a log; what only claims to be one is not shown.

use std::fmt;

use shared::random::Random;

/// The number of characters of a session id that we make.
const LENGTH: usize = 24;

/// A session id. Any text from a client is one, though most name no session; imported ones are decimal numbers.
///
/// `Debug` shows it only if it can be ours, so that a client cannot have its secret logged by sending it as `sid`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sid(String);

impl Sid {
    /// A new one: 24 characters of `[0-9A-Za-z]`.
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
    fn a_new_one_is_24_letters_and_digits_and_can_be_logged() {
        let sid = Sid::draw(Random);
        assert_eq!(sid.as_str().len(), 24);
        assert!(sid.as_str().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(format!("{sid:?}"), format!("Sid({})", sid.as_str()));
        assert_ne!(sid, Sid::draw(Random));
    }

    #[test]
    fn any_text_is_taken_and_a_foreign_one_is_not_shown() {
        for text in ["", "alice@example.com", "a b\n", "é", "0123456789012345678901234567890"] {
            let sid = Sid::from(text.to_owned());
            assert_eq!((sid.as_str(), format!("{sid:?}")), (text, "Sid(?)".to_owned()));
        }
        assert_eq!(format!("{:?}", Sid::from("4711".to_owned())), "Sid(4711)");
    }
}
