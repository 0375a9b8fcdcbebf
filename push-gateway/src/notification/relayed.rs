//! A notification that a homeserver has encrypted for the app (Web Push, RFC 8291), and that the gateway relays.
//!
//! Invariant: pure. The gateway cannot read the body and never changes it.

use bytes::Bytes;
use serde::Deserialize;

use super::{Kind, Notification, Priority};

/// The content coding of every body (RFC 8188).
pub(crate) const CODING: &str = "aes128gcm";

/// The reason of a push that the app refuses because its body does not fit: `relay_oversize = "reject"`.
pub(crate) const TOO_LARGE: &str = "relay_too_large";

/// A relayed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    /// Encrypted. An empty one only wakes the app.
    pub(crate) body: Bytes,
    /// The client's own name for the account; may be empty.
    pub(crate) chid: String,
    /// How long the push service stores the message, in seconds.
    pub(crate) ttl: u32,
    /// Whether APNs wakes the app without showing anything.
    pub(crate) is_background: bool,
    /// Names the messages that replace each other.
    pub(crate) collapse_id: Option<String>,
    pub(crate) layout: Layout,
    pub(crate) oversize: Oversize,
}

/// `relay_layout`: the members of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// Those of Mozilla's autopush.
    #[default]
    Autopush,
    /// Those of toot-relay, for APNs.
    Toot,
}

/// `relay_oversize`: what becomes of a body that does not fit into a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Oversize {
    /// A push without it wakes the app.
    #[default]
    Wake,
    /// The homeserver gets an error.
    Reject,
}

/// What a payload carries of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// All of it.
    Body,
    /// Its length.
    Length,
}

impl Relayed {
    /// The first payload of `compose` that fits; `may_fit` is false after the push service has refused the body.
    ///
    /// # Errors
    /// The reason why nothing is sent.
    pub(crate) fn fit<T>(
        &self,
        may_fit: bool,
        compose: impl Fn(Carried) -> Option<T>,
    ) -> Result<(T, Carried), &'static str> {
        if may_fit && let Some(payload) = compose(Carried::Body) {
            return Ok((payload, Carried::Body));
        }
        match self.oversize {
            Oversize::Reject => Err(TOO_LARGE),
            Oversize::Wake => compose(Carried::Length).map(|payload| (payload, Carried::Length)).ok_or("too_large"),
        }
    }
}

impl Notification {
    /// The notification of a relayed message.
    pub(crate) fn of_relayed(relayed: Relayed, priority: Priority) -> Self {
        Self {
            kind: Kind::Relayed,
            event_id: None,
            room_id: None,
            event_type: None,
            sender: None,
            sender_display_name: None,
            room_name: None,
            room_alias: None,
            membership: None,
            user_is_target: None,
            priority,
            counts: None,
            content: None,
            encrypted: None,
            received: None,
            relayed: Some(relayed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Carried, Layout, Oversize, Relayed, TOO_LARGE};

    fn relayed(oversize: Oversize) -> Relayed {
        let (body, chid) = (Bytes::from_static(b"x"), String::new());
        Relayed { body, chid, ttl: 0, is_background: false, collapse_id: None, layout: Layout::Autopush, oversize }
    }

    #[test]
    fn a_body_that_does_not_fit_is_replaced_by_its_length_or_refused() {
        let (wake, reject) = (relayed(Oversize::Wake), relayed(Oversize::Reject));
        let fits = |carried| (carried == Carried::Length).then_some(carried);
        assert_eq!(wake.fit(true, Some), Ok((Carried::Body, Carried::Body)));
        assert_eq!(wake.fit(false, Some), Ok((Carried::Length, Carried::Length)));
        assert_eq!(wake.fit(true, fits), Ok((Carried::Length, Carried::Length)));
        assert_eq!(wake.fit(true, |_| None::<()>), Err("too_large"));
        assert_eq!(reject.fit(true, Some), Ok((Carried::Body, Carried::Body)));
        assert_eq!((reject.fit(true, fits), reject.fit(false, Some)), (Err(TOO_LARGE), Err(TOO_LARGE)));
    }
}
