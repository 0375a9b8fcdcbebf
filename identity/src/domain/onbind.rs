//! The onbind notification to a user's homeserver: the signed association with the invitations of its address
//! (specification, "Invitation storage"; server-server API, `3pid/onbind`), and the meaning of the homeserver's reply.
//!
//! Invariant: a notification carries invitations of its own address only, each signed for the association's user.

use std::fmt;

use serde_json::{Map, Value, json};

use super::association::Association;
use super::invite::InviteToken;
use super::mxid::UserId;
use super::room_id::RoomId;

/// Invitations in one request of the first attempt. The homeserver handles each of them before it replies, and each
/// takes up to a kilobyte.
const MOST_INVITES: usize = 50;

/// An invitation in an onbind notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The internal id.
    pub id: String,
    /// The room.
    pub room_id: RoomId,
    /// The inviting user.
    pub sender: UserId,
    /// The token that the homeserver received.
    pub token: InviteToken,
}

/// The HTTP method. Deployed homeservers send and accept POST; the specification's API description has PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Tried first.
    Post,
    /// Tried if the homeserver does not know POST.
    Put,
}

/// The reply of a homeserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The `errcode`, if the body is JSON that has one.
    pub errcode: Option<String>,
}

/// The next step after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Done: the homeserver has accepted the invitations.
    Delivered,
    /// Repeat the request with [`Method::Put`].
    RepeatWithPut,
    /// Send one request for each invitation: the rejection may concern one of them.
    Split,
    /// Permanent: the homeserver has rejected it.
    Reject,
    /// Retry after a backoff.
    Retry,
}

/// Builds the signed body of a request. `sign` adds this server's signatures to an object.
///
/// # Errors
/// Those of `sign`.
pub fn body<E>(
    association: &Association,
    invitations: &[Invitation],
    sign: impl Fn(&mut Map<String, Value>) -> Result<(), E>,
) -> Result<Map<String, Value>, E> {
    let mxid = json!(association.mxid.as_str());
    let mut invites = Vec::with_capacity(invitations.len());
    for invitation in invitations {
        let token = json!(invitation.token.as_str());
        let mut signed = object([("mxid", mxid.clone()), ("token", token.clone())]);
        sign(&mut signed)?;
        invites.push(Value::Object(object([
            ("medium", json!(association.threepid.medium().as_str())),
            ("address", json!(association.threepid.address().as_str())),
            ("room_id", json!(invitation.room_id.as_str())),
            ("sender", json!(invitation.sender.as_str())),
            ("token", token),
            ("mxid", mxid.clone()),
            ("signed", Value::Object(signed)),
        ])));
    }
    let mut body = association.to_json();
    body.insert("invites".to_owned(), Value::Array(invites));
    sign(&mut body)?;
    Ok(body)
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Splits the invitations of one attempt into requests. Each attempt halves the length of a request: a homeserver that
/// timed out on many invitations may manage fewer. Each attempt starts at another request, so that one that always fails
/// does not block the rest.
pub fn requests(invitations: &[String], attempts: i32) -> Vec<Vec<String>> {
    let attempts = usize::try_from(attempts).unwrap_or(0);
    let most = (MOST_INVITES >> attempts.min(16)).max(1);
    let mut requests: Vec<Vec<String>> = invitations.chunks(most).map(<[String]>::to_vec).collect();
    if !requests.is_empty() {
        let first = attempts % requests.len();
        requests.rotate_left(first);
    }
    requests
}

impl Reply {
    /// Decides the next step after this reply to a request with that number of invitations.
    pub fn next(&self, method: Method, invitations: usize) -> Next {
        let is_unknown = matches!(self.status, 404 | 405) && self.errcode.as_deref() == Some("M_UNRECOGNIZED");
        match self.status {
            200..=299 => Next::Delivered,
            _ if is_unknown && method == Method::Post => Next::RepeatWithPut,
            // An upgrade of the homeserver may add the endpoint.
            _ if is_unknown => Next::Retry,
            408 | 429 => Next::Retry,
            400..=499 if self.errcode.is_some() && invitations > 1 => Next::Split,
            400..=499 if self.errcode.is_some() => Next::Reject,
            // Not a Matrix error: a proxy replied, or the homeserver fails.
            _ => Next::Retry,
        }
    }
}

/// Shows the status, and the errcode only if it has the form of one.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it replied {}", self.status)?;
        let in_errcode = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        match &self.errcode {
            Some(errcode) if errcode.len() <= 64 && errcode.chars().all(in_errcode) => write!(f, " {errcode}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::Value;
    use shared::clock::Timestamp;

    use super::{Invitation, Method, Next, Reply, body, requests};
    use crate::domain::association::Association;
    use crate::domain::invite::InviteToken;
    use crate::domain::mxid::UserId;
    use crate::domain::room_id::RoomId;
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::signing::{SigningError, SigningKey, decode_key};

    fn association() -> Association {
        Association::new(
            ThreePid::canonical(Medium::Email, "Bob@Example.com").unwrap(),
            UserId::parse("@bob:hs.example").unwrap(),
            Timestamp::from_millis(1_750_000_000_000),
            Duration::from_secs(36_500 * 86_400),
        )
    }

    fn signed(invitations: &[Invitation]) -> Value {
        let seed = decode_key("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
        let key = SigningKey::from_seed("0", &seed).unwrap();
        let body = body(&association(), invitations, |object| key.sign("id.example.org", object));
        Value::Object(body.unwrap())
    }

    #[test]
    fn a_signed_notification_equals_the_known_vector() {
        let invitation = Invitation {
            id: "i".to_owned(),
            room_id: RoomId::parse("!r:hs.example").unwrap(),
            sender: UserId::parse("@alice:hs.example").unwrap(),
            token: InviteToken::from("abc123".to_owned()),
        };
        let expected = r#"{"medium":"email","address":"bob@example.com","mxid":"@bob:hs.example","ts":1750000000000,
            "not_before":1750000000000,"not_after":4903600000000,"invites":[{"medium":"email",
            "address":"bob@example.com","room_id":"!r:hs.example","sender":"@alice:hs.example","token":"abc123",
            "mxid":"@bob:hs.example","signed":{"mxid":"@bob:hs.example","token":"abc123","signatures":{"id.example.org":
            {"ed25519:0":
            "yqLO5cq5r8wB9clcAVr0sDbr4z/KeibCk76W0dDb82LEX32duWeR/GKO/4N/73wmb6FA8RlXeOf3/aSUdfHWDg"}}}}],
            "signatures":{"id.example.org":{"ed25519:0":
            "EAfV/HdLGwqMD2qXl/h5USSsDlI3bU3TtVyWqqVI0RkDBrLUtyF6clZAmIPbmEPMrQmAQgZDcT7RdQ1IqVgFDA"}}}"#;
        assert_eq!(signed(&[invitation]), serde_json::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn a_notification_without_invitations_has_an_empty_list() {
        assert_eq!(signed(&[])["invites"], Value::Array(Vec::new()));
    }

    #[test]
    fn a_signing_error_is_returned() {
        let refused = body(&association(), &[], |_| Err(SigningError::Signatures));
        assert_eq!(refused, Err(SigningError::Signatures));
    }

    #[test]
    fn each_reply_has_one_next_step() {
        use Method::{Post, Put};
        let unknown = Some("M_UNRECOGNIZED");
        let forbidden = Some("M_FORBIDDEN");
        for (status, errcode, method, invitations, expected) in [
            (200, None, Post, 2, Next::Delivered),
            (204, None, Post, 0, Next::Delivered),
            (200, forbidden, Put, 1, Next::Delivered),
            (404, unknown, Post, 1, Next::RepeatWithPut),
            (405, unknown, Post, 2, Next::RepeatWithPut),
            (404, unknown, Put, 1, Next::Retry),
            (405, unknown, Put, 2, Next::Retry),
            (400, unknown, Post, 2, Next::Split),
            (400, unknown, Post, 1, Next::Reject),
            (404, Some("M_NOT_FOUND"), Post, 1, Next::Reject),
            (404, None, Post, 1, Next::Retry),
            (405, None, Post, 1, Next::Retry),
            (403, forbidden, Post, 3, Next::Split),
            (403, forbidden, Put, 3, Next::Split),
            (403, forbidden, Post, 1, Next::Reject),
            (403, forbidden, Post, 0, Next::Reject),
            (401, Some("M_UNKNOWN"), Put, 1, Next::Reject),
            (403, None, Post, 3, Next::Retry),
            (408, forbidden, Post, 1, Next::Retry),
            (429, Some("M_LIMIT_EXCEEDED"), Post, 2, Next::Retry),
            (301, None, Post, 1, Next::Retry),
            (302, forbidden, Post, 2, Next::Retry),
            (500, Some("M_UNKNOWN"), Post, 2, Next::Retry),
            (502, None, Post, 1, Next::Retry),
            (503, unknown, Post, 1, Next::Retry),
            (600, forbidden, Post, 1, Next::Retry),
        ] {
            let reply = Reply { status, errcode: errcode.map(str::to_owned) };
            assert_eq!(reply.next(method, invitations), expected, "{reply:?} {method:?} {invitations}");
        }
    }

    #[test]
    fn display_shows_the_status_and_only_a_well_formed_errcode() {
        let shown = |errcode: &str| Reply { status: 403, errcode: Some(errcode.to_owned()) }.to_string();
        assert_eq!(shown("M_FORBIDDEN"), "it replied 403 M_FORBIDDEN");
        for errcode in ["bob@example.com", "a b", "\u{1b}[2J", &"M".repeat(65)] {
            assert_eq!(shown(errcode), "it replied 403");
        }
    }

    #[test]
    fn each_attempt_shortens_and_rotates_the_requests_and_contains_every_invitation_once() {
        let all: Vec<String> = (0..120).map(|number| format!("i{number:03}")).collect();
        for attempts in [-1, 0, 1, 2, 5, 6, 7, 1000, i32::MAX] {
            let requests = requests(&all, attempts);
            let held: Vec<&String> = requests.iter().flatten().collect();
            assert_eq!(held.len(), all.len());
            assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), all.iter().collect(), "{attempts}");
        }
        let longest = |attempts| requests(&all, attempts).iter().map(Vec::len).max();
        assert_eq!([0, 1, 2, 6, 90].map(longest), [50, 25, 12, 1, 1].map(Some));
        let first = |attempts| requests(&all, attempts)[0][0].clone();
        assert_eq!([0, 1, 100, 101, 120].map(first), ["i000", "i025", "i100", "i101", "i000"]);
        assert!(requests(&[], 3).is_empty());
    }
}
