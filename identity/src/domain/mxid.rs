//! A Matrix user ID: `@localpart:server`.
//!
//! Invariant: the text is kept unchanged. Only the server name ignores case; localparts that differ in case belong to
//! different users.

use std::fmt;

use super::server_name::ServerName;

/// The specification's limit on the whole ID.
const MAX_LENGTH: usize = 255;

/// A user ID of the specification's historical grammar: any localpart without a colon or a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId {
    text: String,
    server: ServerName,
}

/// The text is not a user ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Matrix user ID (@localpart:server)")]
pub struct InvalidUserId;

impl UserId {
    /// Parses a user ID. The server name follows the first colon, so `@x:y:hs` is invalid.
    ///
    /// # Errors
    /// [`InvalidUserId`] for more than 255 bytes, no `@`, an empty localpart, a control character, a bad server name.
    pub fn parse(text: &str) -> Result<Self, InvalidUserId> {
        let rest = text.strip_prefix('@').filter(|_| text.len() <= MAX_LENGTH).ok_or(InvalidUserId)?;
        let (localpart, server) = rest.split_once(':').ok_or(InvalidUserId)?;
        if localpart.is_empty() || localpart.chars().any(char::is_control) {
            return Err(InvalidUserId);
        }
        let server = ServerName::parse(server).map_err(|_| InvalidUserId)?;
        Ok(Self { text: text.to_owned(), server })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The user's homeserver, in lower case.
    pub fn server_name(&self) -> &ServerName {
        &self.server
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidUserId, UserId};

    #[test]
    fn the_text_is_kept_and_the_server_name_follows_the_first_colon() {
        for (text, server) in [
            ("@alice:hs.example", "hs.example"),
            ("@Alice:HS.example:8448", "hs.example:8448"),
            ("@a:[::1]:8448", "[::1]:8448"),
            ("@é=/ +.-_!:hs", "hs"),
            ("@a:hs:1", "hs:1"),
        ] {
            let user = UserId::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((user.as_str(), user.server_name().as_str()), (text, server));
        }
    }

    #[test]
    fn invalid_user_ids_are_rejected() {
        let long = format!("@{}:hs", "a".repeat(252));
        for text in [
            "", "@", "x:hs", "@:hs", "@a", "@a:", "@x:y:hs", "@a\0:hs", "@a\n:hs", "@a:hs\n", "@a:h s", " @a:hs", &long,
        ] {
            assert_eq!(UserId::parse(text), Err(InvalidUserId), "{text}");
        }
        assert!(UserId::parse(&long.replace("aa:", "a:")).is_ok());
    }
}
