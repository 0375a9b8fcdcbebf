//! Calls: whether an event rings, for how long, and what replaces it.
//!
//! Invariant: pure; the time is an argument. A value of room members in the wrong form counts as missing.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared::clock::Timestamp;

use super::{Kind, Notification};

/// The event types that ring by default. An app may have others; those ring in every form.
pub(crate) const CALL_TYPES: [&str; 3] = [INVITE, RTC_NOTIFICATIONS[0], RTC_NOTIFICATIONS[1]];

const INVITE: &str = "m.call.invite";

/// MSC4075, stable and unstable.
const RTC_NOTIFICATIONS: [&str; 2] = ["m.rtc.notification", "org.matrix.msc4075.rtc.notification"];

/// MSC4310, stable and unstable.
const DECLINES: [&str; 2] = ["m.rtc.decline", "org.matrix.msc4310.rtc.decline"];

/// The life of a call that names none.
const DEFAULT_LIFE: u64 = 30_000;

/// The longest life of a call, in milliseconds.
const MAX_LIFE: u64 = 120_000;

/// How far the clock of a sender may be ahead.
const MAX_AHEAD: Duration = Duration::from_secs(20);

/// What a push is for, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// An event, or counts.
    Ordinary,
    /// A call that rings.
    Ring(Ring),
    /// A call that rings no more.
    ExpiredCall,
    /// A badge update without its counts: the app counts itself.
    Nudge,
}

/// A call that rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    /// How long it rings from now on; more than zero.
    pub(crate) left: Duration,
}

impl Ring {
    /// The whole seconds for a push service, 1 to 120.
    pub(crate) fn seconds(self) -> u64 {
        u64::try_from(self.left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).clamp(1, MAX_LIFE / 1000)
    }
}

impl Occasion {
    /// The call, if it rings.
    pub(crate) fn ring(self) -> Option<Ring> {
        match self {
            Self::Ring(ring) => Some(ring),
            Self::Ordinary | Self::ExpiredCall | Self::Nudge => None,
        }
    }
}

impl Notification {
    /// Whether the event is a call that rings at `now`. `call_types` are the event types that an app takes for calls.
    pub(crate) fn occasion(&self, call_types: &[String], now: Timestamp) -> Occasion {
        let Some(event_type) = self.event_type.as_deref().filter(|_| self.kind == Kind::Full) else {
            return Occasion::Ordinary;
        };
        let is_rtc = RTC_NOTIFICATIONS.contains(&event_type);
        if !call_types.iter().any(|call| call == event_type) || is_rtc && !self.rings() {
            return Occasion::Ordinary;
        }
        let content = self.content.as_ref();
        let life = number(content, "lifetime").unwrap_or(DEFAULT_LIFE).min(MAX_LIFE);
        let sent = number(content, "sender_ts").filter(|_| event_type != INVITE);
        let sent = sent.and_then(|sent| i64::try_from(sent).ok()).map(Timestamp::from_millis);
        let start = sent.filter(|sent| *sent <= now.plus(MAX_AHEAD)).unwrap_or(now);
        let left = start.plus(Duration::from_millis(life)).since(now).min(Duration::from_millis(MAX_LIFE));
        if left.is_zero() { Occasion::ExpiredCall } else { Occasion::Ring(Ring { left }) }
    }

    /// Whether a notification of MSC4075 asks to ring, in any of its layouts.
    fn rings(&self) -> bool {
        let content = self.content.as_ref();
        match text(content, "notification_type") {
            Some(kind) => kind == "ring",
            None => {
                let has_slot = content.and_then(|content| content.get("slot_id")).is_some_and(Value::is_string);
                has_slot && number(content, "lifetime").is_some_and(|life| life > 0)
            }
        }
    }

    /// Whether a call of MSC4075 is one with video.
    pub(crate) fn has_video_intent(&self) -> bool {
        text(self.content.as_ref(), "m.call.intent") == Some("video")
    }

    /// The identifier that a ringing event and its decline share at a push service, so that the decline replaces the ring;
    /// 43 characters of base64url.
    pub(crate) fn call_collapse_id(&self, occasion: Occasion) -> Option<String> {
        let event_id = match occasion {
            Occasion::Ring(_) => self.event_id.as_deref(),
            Occasion::Ordinary => self.declined_event_id(),
            Occasion::ExpiredCall | Occasion::Nudge => None,
        };
        let parts = ["call", self.room_id.as_deref()?, event_id?];
        Some(URL_SAFE_NO_PAD.encode(Sha256::digest(parts.join("\0"))))
    }

    /// The event that a decline refers to.
    fn declined_event_id(&self) -> Option<&str> {
        self.event_type.as_deref().filter(|own| self.kind == Kind::Full && DECLINES.contains(own))?;
        self.content.as_ref()?.get("m.relates_to")?.get("event_id")?.as_str().filter(|id| !id.is_empty())
    }
}

/// A string at the top level of `content`, else in `application` (MSC4075 has it in either).
fn text<'a>(content: Option<&'a Map<String, Value>>, key: &str) -> Option<&'a str> {
    let content = content?;
    content.get(key).and_then(Value::as_str).or_else(|| content.get("application")?.get(key)?.as_str())
}

/// An integer that is not negative, in the same places; every other value counts as missing.
fn number(content: Option<&Map<String, Value>>, key: &str) -> Option<u64> {
    let integer = |value: &Value| value.as_u64();
    let content = content?;
    content.get(key).and_then(integer).or_else(|| content.get("application")?.get(key).and_then(integer))
}

#[cfg(test)]
mod tests;
