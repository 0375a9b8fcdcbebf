//! What an inviting homeserver says about the room and the sender, for the mail and for nothing else.
//!
//! Invariant: no text is longer than a kilobyte but the two that are cut before anybody sees them; none is printed by
//! `Debug`, for one of them is a guest's access token.

use std::fmt;

use super::mxid::UserId;
use super::shown_text::{cut, plain};

/// The longest text in bytes.
const MAX_LENGTH: usize = 1024;

/// The names of the texts in `store-invite`, all of them optional.
pub const NAMES: [&str; 10] = [
    "room_alias",
    "room_avatar_url",
    "room_join_rules",
    "room_name",
    "room_type",
    "sender_display_name",
    "sender_avatar_url",
    "guest_user_id",
    "guest_access_token",
    WEB_CLIENT_LOCATION,
];

/// The name of the one text that chooses where the link leads.
pub const WEB_CLIENT_LOCATION: &str = "org.matrix.web_client_location";

/// A text is over 1024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most 1024 bytes are taken")]
pub struct TooLong;

/// The texts of one invite; those that were not given are empty.
#[derive(Clone, Default)]
pub struct InviteTexts([String; NAMES.len()]);

impl InviteTexts {
    /// Takes the text that is called `name`, one of [`NAMES`]; others are dropped.
    ///
    /// # Errors
    /// [`TooLong`], unless it is one of the two that are cut instead.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), TooLong> {
        if text.len() > MAX_LENGTH && !matches!(name, "room_name" | "sender_display_name") {
            return Err(TooLong);
        }
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            text.clone_into(&mut self.0[index]);
        }
        Ok(())
    }

    /// The text of that name as it was given; empty if it was not.
    pub fn raw(&self, name: &str) -> &str {
        NAMES.iter().position(|known| *known == name).map_or("", |index| &self.0[index])
    }

    /// The sender's name as a mail may show it: more than 20 characters become 19 and `…`.
    pub fn sender_display_name(&self) -> String {
        cut(plain(self.raw("sender_display_name")).trim(), 20, 19)
    }

    /// The room's name as a mail may show it: more than 30 characters become 25 and `…`.
    pub fn room_name(&self) -> String {
        cut(plain(self.raw("room_name")).trim(), 30, 25)
    }

    /// The subject of the mail: `pattern` with `{sender_display_name}` (the `sender` itself, if there is no such name) and
    /// `{room_name}` put in.
    pub fn subject(&self, pattern: &str, sender: &UserId) -> String {
        let (name, room_name) = (self.sender_display_name(), self.room_name());
        let name = if name.is_empty() { plain(sender.as_str()) } else { name };
        let (mut subject, mut rest) = (String::new(), pattern);
        // One pass: what stands in a name is not replaced again.
        while let Some((before, after)) = rest.split_once('{') {
            subject.push_str(before);
            let known = [("sender_display_name}", &name), ("room_name}", &room_name)];
            rest = match known.iter().find_map(|(key, value)| Some((after.strip_prefix(key)?, value))) {
                Some((after, value)) => {
                    subject.push_str(value);
                    after
                }
                None => {
                    subject.push('{');
                    after
                }
            };
        }
        subject.push_str(rest);
        subject
    }

    /// Whether the room is a space.
    pub fn is_space(&self) -> bool {
        self.raw("room_type") == "m.space"
    }

    /// All texts, for the operator's keywords. The scheme that begins a web client's location is not one of its words.
    pub fn searched(&self) -> impl Iterator<Item = &str> {
        NAMES.iter().zip(&self.0).map(|(name, text)| match *name {
            WEB_CLIENT_LOCATION => {
                ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text)
            }
            _ => text.as_str(),
        })
    }
}

impl fmt::Debug for InviteTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteTexts(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::{InviteTexts, NAMES, TooLong, UserId};

    fn texts(given: &[(&str, &str)]) -> InviteTexts {
        let mut texts = InviteTexts::default();
        given.iter().for_each(|(name, text)| texts.set(name, text).unwrap());
        texts
    }

    #[test]
    fn only_names_may_be_longer_than_a_kilobyte_and_they_are_cut() {
        let (fits, over) = ("x".repeat(1024), "x".repeat(1025));
        for name in NAMES {
            let mut texts = InviteTexts::default();
            assert_eq!(texts.set(name, &fits), Ok(()), "{name}");
            let is_cut = matches!(name, "room_name" | "sender_display_name");
            assert_eq!(texts.set(name, &over), if is_cut { Ok(()) } else { Err(TooLong) }, "{name}");
        }
        let texts = texts(&[("room_name", &over), ("sender_display_name", &over), ("to", "x")]);
        assert_eq!(texts.room_name(), format!("{}…", "x".repeat(25)));
        assert_eq!(texts.sender_display_name(), format!("{}…", "x".repeat(19)));
        assert_eq!((texts.raw("to"), texts.raw("room_alias")), ("", ""));
    }

    #[test]
    fn names_are_shown_on_one_line_without_what_turns_the_text_around() {
        let texts = texts(&[("room_name", "\r\nBcc: x@y\r\n"), ("sender_display_name", "\u{202e}ecilA \0\u{2066}B\n")]);
        assert_eq!((texts.room_name(), texts.sender_display_name()), ("Bcc: x@y".into(), "ecilA  B".into()));
        let twenty = "12345678901234567890";
        assert_eq!(self::texts(&[("sender_display_name", twenty)]).sender_display_name(), twenty);
    }

    #[test]
    fn a_subject_has_the_names_once_and_the_sender_if_there_is_no_name() {
        let sender = UserId::parse("@alice:hs.\u{65}xample").unwrap();
        let named = texts(&[("sender_display_name", "{room_name}\r\nBcc: x"), ("room_name", "{sender_display_name}")]);
        let subject = |texts: &InviteTexts, pattern: &str| texts.subject(pattern, &sender);
        assert_eq!(
            subject(&named, "{sender_display_name}: {room_name}!"),
            "{room_name} Bcc: x: {sender_display_name}!"
        );
        assert_eq!(subject(&texts(&[]), "{sender_display_name} {room_name}{x} {"), "@alice:hs.example {x} {");
        let turned = UserId::parse("@a\u{202e}b:hs").unwrap();
        assert_eq!(texts(&[]).subject("{sender_display_name}", &turned), "@a b:hs");
    }

    #[test]
    fn a_space_is_told_from_a_room_and_a_scheme_from_a_word() {
        assert!(texts(&[("room_type", "m.space")]).is_space());
        assert!(!texts(&[("room_type", "m.space ")]).is_space() && !texts(&[]).is_space());
        let found = |text: &str| {
            let texts = texts(&[("org.matrix.web_client_location", text), ("room_alias", "https://x")]);
            texts.searched().filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(found("https://chat.example"), ["https://x", "chat.example"]);
        assert_eq!(found("http://http://"), ["https://x", "http://"]);
    }

    #[test]
    fn debug_output_shows_no_text() {
        assert_eq!(format!("{:?}", texts(&[("guest_access_token", "hunter2")])), "InviteTexts(***)");
    }
}
