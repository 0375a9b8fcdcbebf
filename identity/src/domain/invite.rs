//! Invitations of an unbound address: their state and their tokens.
//!
//! Invariant: a token reveals nothing about the address; the private half of an invite's key exists only in the mail.

use std::fmt;
use std::time::Duration;

use shared::clock::Timestamp;
use shared::random::Random;

use super::mxid::UserId;
use super::room_id::RoomId;
use super::threepid::ThreePid;

/// The length of a token in characters.
const TOKEN_LENGTH: usize = 64;

/// The token of an invite, part of the room's state and visible to its members. Imported tokens may have any form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InviteToken(String);

impl InviteToken {
    /// Draws a new token: 64 characters of `[0-9A-Za-z]`.
    pub fn draw(random: Random) -> Self {
        Self(random.base62(TOKEN_LENGTH))
    }

    /// The text for the response, the row and the mail; never for a log.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for InviteToken {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for InviteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An invitation of an address into a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The internal id: in logs, on the command line, and of its mail in the queue.
    pub id: String,
    /// The invited address, stored in canonical form only.
    pub threepid: ThreePid,
    /// The room.
    pub room_id: RoomId,
    /// The inviting user.
    pub sender: UserId,
    /// The token that the homeserver received.
    pub token: InviteToken,
    /// The public half of its own key pair; absent for imports from servers that did not store it.
    pub public_key: Option<[u8; 32]>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires, if ever.
    pub expires_at: Option<Timestamp>,
    /// When the operator revoked it.
    pub revoked_at: Option<Timestamp>,
    /// When the homeserver of the bound user accepted it.
    pub delivered_at: Option<Timestamp>,
    /// The onbind notification that carries it.
    pub onbind_id: Option<String>,
}

/// The state of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteState {
    /// The address is not bound.
    Pending,
    /// The address is bound; the onbind notification waits in the outbox.
    Queued,
    /// The user's homeserver has accepted it.
    Delivered,
    /// It has expired.
    Expired,
    /// The operator has revoked it.
    Revoked,
}

impl InviteState {
    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Invite {
    /// The state at `now`.
    pub fn state(&self, now: Timestamp) -> InviteState {
        if self.revoked_at.is_some() {
            InviteState::Revoked
        } else if self.delivered_at.is_some() {
            InviteState::Delivered
        } else if self.expires_at.is_some_and(|end| end <= now) {
            InviteState::Expired
        } else if self.onbind_id.is_some() {
            InviteState::Queued
        } else {
            InviteState::Pending
        }
    }

    /// Whether its token is accepted: the invite is neither expired, revoked nor delivered.
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.state(now), InviteState::Pending | InviteState::Queued)
    }
}

/// When an invite created at `now` expires by `[invites] expire_after`; zero means never.
pub fn expires_at(now: Timestamp, expire_after: Duration) -> Option<Timestamp> {
    (!expire_after.is_zero()).then(|| now.plus(expire_after))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;
    use shared::random::Random;

    use super::{Invite, InviteState, InviteToken, expires_at};
    use crate::domain::mxid::UserId;
    use crate::domain::room_id::RoomId;
    use crate::domain::threepid::{Medium, ThreePid};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn invite() -> Invite {
        Invite {
            id: "i".to_owned(),
            threepid: ThreePid::canonical(Medium::Email, "bob@example.com").unwrap(),
            room_id: RoomId::parse("!r:hs").unwrap(),
            sender: UserId::parse("@alice:hs").unwrap(),
            token: InviteToken::from("t".to_owned()),
            public_key: None,
            created_at: at(0),
            expires_at: None,
            revoked_at: None,
            delivered_at: None,
            onbind_id: None,
        }
    }

    #[test]
    fn a_token_has_64_letters_and_digits_and_debug_hides_it() {
        let token = InviteToken::draw(Random);
        assert_eq!(token.as_str().len(), 64);
        assert!(token.as_str().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(token, InviteToken::draw(Random));
        assert_eq!(format!("{token:?}"), "***");
    }

    #[test]
    fn revoked_precedes_delivered_precedes_expired_precedes_queued() {
        let bound = Invite { onbind_id: Some("o".to_owned()), ..invite() };
        let ending = Invite { expires_at: Some(at(10)), ..bound.clone() };
        let arrived = Invite { delivered_at: Some(at(5)), ..ending.clone() };
        let revoked = Invite { revoked_at: Some(at(6)), ..arrived.clone() };
        for (invite, now, state, open) in [
            (&invite(), 10, InviteState::Pending, true),
            (&bound, 10, InviteState::Queued, true),
            (&ending, 9, InviteState::Queued, true),
            (&ending, 10, InviteState::Expired, false),
            (&arrived, 9, InviteState::Delivered, false),
            (&arrived, 11, InviteState::Delivered, false),
            (&revoked, 9, InviteState::Revoked, false),
        ] {
            assert_eq!((invite.state(at(now)), invite.is_open(at(now))), (state, open), "{invite:?}");
        }
    }

    #[test]
    fn an_expire_after_of_zero_never_expires() {
        assert_eq!(expires_at(at(5), Duration::ZERO), None);
        assert_eq!(expires_at(at(5), Duration::from_millis(7)), Some(at(12)));
    }
}
