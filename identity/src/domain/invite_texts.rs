//! The inviting homeserver's texts about the room and the sender; only the mail uses them.
//!
//! Invariant: each text has at most 1024 bytes, except the two names, which are cut before display. `Debug` prints no text,
//! because one of them is a guest's access token.

use std::fmt;

use super::mxid::UserId;
use super::placeholders::fill;
use super::shown_text::{cut, plain};

/// The placeholders of `[invites] subject` and `subject_space`.
pub const SUBJECT_PLACEHOLDERS: [&str; 3] = ["sender_display_name", "room_name", "operator"];

/// The longest text in bytes.
const MAX_LENGTH: usize = 1024;

/// The optional fields of `store-invite` that are texts.
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

/// The field that selects the web client of the link.
pub const WEB_CLIENT_LOCATION: &str = "org.matrix.web_client_location";

/// A text has more than 1024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("longer than 1024 bytes")]
pub struct TooLong;

/// The texts of one invite; a missing text is empty.
#[derive(Clone, Default)]
pub struct InviteTexts {
    texts: [String; NAMES.len()],
    lengths: NameLengths,
}

/// How many characters of the two names the mail shows at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLengths {
    pub sender: usize,
    pub room: usize,
}

impl Default for NameLengths {
    fn default() -> Self {
        Self { sender: 20, room: 30 }
    }
}

impl InviteTexts {
    /// Sets the text of `name`; a name outside [`NAMES`] is ignored.
    ///
    /// # Errors
    /// [`TooLong`], except for the two names that are cut.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), TooLong> {
        if text.len() > MAX_LENGTH && !matches!(name, "room_name" | "sender_display_name") {
            return Err(TooLong);
        }
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            text.clone_into(&mut self.texts[index]);
        }
        Ok(())
    }

    /// The text as received; empty if it is missing.
    pub fn raw(&self, name: &str) -> &str {
        NAMES.iter().position(|known| *known == name).map_or("", |index| &self.texts[index])
    }

    /// Sets how many characters of the two names the mail shows.
    #[must_use]
    pub fn with_lengths(self, lengths: NameLengths) -> Self {
        Self { lengths, ..self }
    }

    /// The sender's display name for the mail: by default more than 20 characters become 19 and `…`.
    pub fn sender_display_name(&self) -> String {
        let longest = self.lengths.sender;
        cut(plain(self.raw("sender_display_name")).trim(), longest, longest.saturating_sub(1).max(1))
    }

    /// The room's name for the mail: by default more than 30 characters become 25 and `…`.
    pub fn room_name(&self) -> String {
        let longest = self.lengths.room;
        cut(plain(self.raw("room_name")).trim(), longest, longest.saturating_sub(5).max(1))
    }

    /// The sender's display name; without one, the sender's user ID.
    pub fn inviter(&self, sender: &UserId) -> String {
        Some(self.sender_display_name()).filter(|name| !name.is_empty()).unwrap_or_else(|| sender.shown_in_subject())
    }

    /// The subject of the mail: `pattern` with its placeholders replaced. A sender without a display name appears as
    /// `sender`.
    pub fn subject(&self, pattern: &str, sender: &UserId, operator: &str) -> String {
        fill(pattern, &SUBJECT_PLACEHOLDERS, |name| match name {
            "room_name" => self.room_name(),
            "operator" => operator.to_owned(),
            _ => self.inviter(sender),
        })
    }

    /// Whether the room is a space.
    pub fn is_space(&self) -> bool {
        self.raw("room_type") == "m.space"
    }

    /// All texts, for the keyword filter. A web client's location comes without its scheme.
    pub fn searched(&self) -> impl Iterator<Item = &str> {
        NAMES.iter().zip(&self.texts).map(|(name, text)| match *name {
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
    use super::{InviteTexts, NAMES, NameLengths, TooLong, UserId};

    fn texts(given: &[(&str, &str)]) -> InviteTexts {
        let mut texts = InviteTexts::default();
        given.iter().for_each(|(name, text)| texts.set(name, text).unwrap());
        texts
    }

    #[test]
    fn only_the_two_names_may_exceed_1024_bytes_and_are_cut() {
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
    fn the_operator_sets_how_long_names_are() {
        let texts = texts(&[("room_name", "0123456789"), ("sender_display_name", "0123456789")]);
        for (sender, room, shown) in
            [(10, 10, ("0123456789", "0123456789")), (9, 9, ("01234567…", "0123…")), (1, 1, ("0…", "0…"))]
        {
            let cut = texts.clone().with_lengths(NameLengths { sender, room });
            assert_eq!((cut.sender_display_name().as_str(), cut.room_name().as_str()), shown);
        }
    }

    #[test]
    fn names_lose_line_breaks_and_bidirectional_characters() {
        let texts = texts(&[("room_name", "\r\nBcc: x@y\r\n"), ("sender_display_name", "\u{202e}ecilA \0\u{2066}B\n")]);
        assert_eq!((texts.room_name(), texts.sender_display_name()), ("Bcc: x@y".into(), "ecilA  B".into()));
        let twenty = "12345678901234567890";
        assert_eq!(self::texts(&[("sender_display_name", twenty)]).sender_display_name(), twenty);
    }

    #[test]
    fn a_subject_is_filled_once_and_falls_back_to_the_sender() {
        let sender = UserId::parse("@alice:hs.\u{65}xample").unwrap();
        let named = texts(&[("sender_display_name", "{room_name}\r\nBcc: x"), ("room_name", "{sender_display_name}")]);
        let subject = |texts: &InviteTexts, pattern: &str| texts.subject(pattern, &sender, "Chat");
        assert_eq!(
            subject(&named, "{sender_display_name}: {room_name}!"),
            "{room_name} Bcc: x: {sender_display_name}!"
        );
        assert_eq!(subject(&texts(&[]), "{sender_display_name} {room_name}{x} {"), "@alice:hs.example {x} {");
        assert_eq!(subject(&texts(&[]), "{sender_display_name} ({operator})"), "@alice:hs.example (Chat)");
        let turned = UserId::from_row("@a\u{202e}b:hs").unwrap();
        assert_eq!(texts(&[]).subject("{sender_display_name}", &turned, ""), "@a b:hs");
    }

    #[test]
    fn a_space_has_its_room_type_and_a_searched_url_no_scheme() {
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
    fn debug_output_contains_no_text() {
        assert_eq!(format!("{:?}", texts(&[("guest_access_token", "hunter2")])), "InviteTexts(***)");
    }
}
