//! Which invitations are allowed.
//!
//! Invariant: the check precedes every write, so a rejected invitation leaves no trace.

use shared::config::Globs;

use super::access::HomeserverAccess;
use super::case_folding::fold;
use super::mxid::UserId;
use super::room_id::RoomId;

/// The operator's rules for senders, homeservers, rooms and words.
#[derive(Clone, Debug, Default)]
pub struct InviteRules {
    allow_senders: Globs,
    homeservers: HomeserverAccess,
    blocked_rooms: Globs,
    /// Case-folded; none is empty.
    blocked_keywords: Vec<String>,
}

impl InviteRules {
    /// Rules from the patterns and words of `[invites]`; an empty `allow_senders` allows all.
    pub fn new(
        allow_senders: Globs,
        blocked_homeservers: Globs,
        blocked_rooms: Globs,
        blocked_keywords: &[String],
    ) -> Self {
        Self {
            allow_senders,
            homeservers: HomeserverAccess::new(Globs::default(), blocked_homeservers),
            blocked_rooms,
            blocked_keywords: blocked_keywords.iter().map(|word| fold(word)).filter(|word| !word.is_empty()).collect(),
        }
    }

    /// Whether `sender` may invite to the room with these `texts`, which are all text fields of the request.
    pub fn permit<'a>(&self, sender: &UserId, room_id: &RoomId, texts: impl IntoIterator<Item = &'a str>) -> bool {
        let mut texts = texts.into_iter();
        (self.allow_senders.is_empty() || self.allow_senders.matches(sender.as_str()))
            && self.homeservers.permits(sender.server_name().as_str())
            && !self.blocked_rooms.matches(room_id.as_str())
            && (self.blocked_keywords.is_empty() || !texts.any(|text| self.has_keyword(text)))
    }

    fn has_keyword(&self, text: &str) -> bool {
        let text = fold(text);
        self.blocked_keywords.iter().any(|word| text.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use shared::config::Globs;

    use super::InviteRules;
    use crate::domain::mxid::UserId;
    use crate::domain::room_id::RoomId;

    fn permits(rules: &InviteRules, sender: &str, room: &str, texts: &[&str]) -> bool {
        let (sender, room_id) = (UserId::parse(sender).unwrap(), RoomId::parse(room).unwrap());
        rules.permit(&sender, &room_id, texts.iter().copied())
    }

    #[test]
    fn without_rules_every_invitation_is_allowed() {
        assert!(permits(&InviteRules::default(), "@a:hs", "!r:hs", &["https://evil.example", ""]));
        let none = Globs::default();
        let rules = InviteRules::new(none.clone(), none.clone(), none, &[String::new()]);
        assert!(permits(&rules, "@a:hs", "!r:hs", &["x"]), "an empty word matches nothing");
    }

    #[test]
    fn senders_homeservers_and_rooms_match_by_pattern() {
        let rules = InviteRules::new(
            Globs::from(["@*:good.example", "@staff-*:*"]),
            Globs::from(["evil.example", "*.evil.example"]),
            Globs::from(["!spam*"]),
            &[],
        );
        for (sender, room, may) in [
            ("@a:good.example", "!r:good.example", true),
            ("@a:other.example", "!r:good.example", false),
            ("@staff-a:other.example", "!r:x", true),
            ("@staff-a:evil.example", "!r:x", false),
            ("@staff-a:EVIL.example:8449", "!r:x", false),
            ("@staff-a:a.evil.example", "!r:x", false),
            ("@a:good.example", "!SPAM1:x", false),
        ] {
            assert_eq!(permits(&rules, sender, room, &[]), may, "{sender} {room}");
        }
    }

    #[test]
    fn keywords_match_anywhere_in_every_letter_case() {
        let words = ["Crypto".to_owned(), "STRASSE".to_owned(), "http://".to_owned()];
        let rules = InviteRules::new(Globs::default(), Globs::default(), Globs::default(), &words);
        for (text, may) in
            [("a cRYPTOcoin", false), ("Hauptstraße", false), ("see HTTP://x", false), ("crypt o", true), ("", true)]
        {
            assert_eq!(permits(&rules, "@a:hs", "!r:hs", &["harmless", text]), may, "{text}");
        }
    }
}
