//! The secret that a client chooses for a validation session (specification, "Definitions": `client_secret`).
//!
//! Invariant: it is compared in constant time and never printed.

use shared::secret::Secret;
use subtle::ConstantTimeEq;

/// The text is not `[0-9a-zA-Z.=_-]{1,255}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client_secret is 1 to 255 of the characters a-z, A-Z, 0-9, . = _ -")]
pub struct InvalidClientSecret;

/// A client's secret: the whole of `[0-9a-zA-Z.=_-]{1,255}`.
#[derive(Clone, Debug)]
pub struct ClientSecret(Secret<String>);

impl ClientSecret {
    /// # Errors
    /// [`InvalidClientSecret`] if it is empty, too long or has any other character.
    pub fn parse(text: &str) -> Result<Self, InvalidClientSecret> {
        let right = (1..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'=' | b'_' | b'-'));
        if right { Ok(Self(Secret::new(text.to_owned()))) } else { Err(InvalidClientSecret) }
    }

    /// The text, for the row and for the link in a mail.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl PartialEq for ClientSecret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for ClientSecret {}

#[cfg(test)]
mod tests {
    use super::ClientSecret;

    #[test]
    fn the_grammar_covers_the_whole_text() {
        let longest = "a".repeat(255);
        for text in ["a", "monkeys_are_GREAT", "0.=_-Z", longest.as_str()] {
            assert_eq!(ClientSecret::parse(text).unwrap().expose(), text);
        }
        let too_long = "a".repeat(256);
        for text in ["", "abc\n", "\nabc", "é", "a b", "a\0", "a/b", "a+b", "~", "٣", too_long.as_str()] {
            assert!(ClientSecret::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_the_same_secret_is_equal_and_none_is_shown() {
        let secret = ClientSecret::parse("hunter2").unwrap();
        assert_eq!(secret, ClientSecret::parse("hunter2").unwrap());
        for other in ["hunter3", "hunter", "hunter22"] {
            assert_ne!(secret, ClientSecret::parse(other).unwrap());
        }
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
