//! A Matrix user ID: `@localpart:server`.
//!
//! Invariant: the text is kept unchanged. Only the server name ignores case; localparts that differ in case belong to
//! different users.

use std::fmt;

use super::server_name::ServerName;
use super::shown_text::{cut, plain};

/// The specification's limit on the whole ID.
const MAX_LENGTH: usize = 255;

/// A user ID of the specification's historical grammar: a localpart of the ASCII characters from `!` to `~` without the
/// colon.
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
    /// [`InvalidUserId`] for more than 255 bytes, no `@`, an empty localpart, another character in it, a bad server
    /// name.
    pub fn parse(text: &str) -> Result<Self, InvalidUserId> {
        let user = Self::from_row(text)?;
        // A text with spaces could be a sentence, and one with other letters could resemble another user's ID.
        let (localpart, _) = user.parts();
        if localpart.bytes().all(|byte| matches!(byte, b'!'..=b'~')) { Ok(user) } else { Err(InvalidUserId) }
    }

    /// Parses the user ID of a row. Earlier versions accepted any localpart without a control character.
    ///
    /// # Errors
    /// [`InvalidUserId`].
    pub fn from_row(text: &str) -> Result<Self, InvalidUserId> {
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

    /// One text for all spellings of the server name, which share their limits.
    pub fn limit_form(&self) -> String {
        format!("@{}:{}", self.parts().0, self.server.as_str())
    }

    /// The user ID for mails: a localpart of more than 20 characters becomes 19 and `…`, so that it holds no message.
    pub fn shown(&self) -> String {
        let (localpart, server) = self.parts();
        format!("@{}:{server}", cut(&plain(localpart), 20, 19))
    }

    /// The user ID for a subject: as [`UserId::shown`], and a server name of more than 30 characters becomes 25 and
    /// `…`.
    pub fn shown_in_subject(&self) -> String {
        let (localpart, server) = self.parts();
        format!("@{}:{}", cut(&plain(localpart), 20, 19), cut(server, 30, 25))
    }

    /// The localpart and the server name, as written.
    fn parts(&self) -> (&str, &str) {
        self.text.strip_prefix('@').and_then(|rest| rest.split_once(':')).unwrap_or_default()
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
            ("@!\"#$%&'()*+,-./09;<=>?@AZ[\\]^_`az{|}~:hs", "hs"),
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
            "",
            "@",
            "x:hs",
            "@:hs",
            "@a",
            "@a:",
            "@x:y:hs",
            "@a\0:hs",
            "@a\n:hs",
            "@a:hs\n",
            "@a:h s",
            " @a:hs",
            "@a b:hs",
            "@é:hs",
            "@a\u{7f}:hs",
            "@а:hs",
            "@a\u{202e}b:hs",
            "@a\u{2028}b:hs",
            &long,
        ] {
            assert_eq!(UserId::parse(text), Err(InvalidUserId), "{text}");
        }
        assert!(UserId::parse(&long.replace("aa:", "a:")).is_ok());
        assert_eq!(UserId::from_row("@a b\u{e9}:hs").map(|user| user.shown()), Ok("@a b\u{e9}:hs".to_owned()));
        assert_eq!(UserId::from_row("@a\n:hs"), Err(InvalidUserId));
    }

    #[test]
    fn a_long_localpart_is_cut_for_mails_and_a_long_server_name_for_subjects() {
        let shown = |text: &str| {
            let user = UserId::parse(text).unwrap();
            (user.shown(), user.shown_in_subject())
        };
        let both = |text: &str| (text.to_owned(), text.to_owned());
        assert_eq!(shown("@12345678901234567890:hs.example"), both("@12345678901234567890:hs.example"));
        assert_eq!(shown("@123456789012345678901:hs.example"), both("@1234567890123456789…:hs.example"));
        let long = format!("@you.have.won.a.prize.call.0900:{}.example", "x".repeat(30));
        let (mail, subject) = shown(&long);
        assert_eq!(mail, format!("@you.have.won.a.priz…:{}.example", "x".repeat(30)));
        assert_eq!(subject, format!("@you.have.won.a.priz…:{}…", "x".repeat(25)));
    }
}
