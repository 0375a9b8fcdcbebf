//! The notification of one request, and its devices.
//!
//! Invariant: pure. A field that room members write never causes an error: in the wrong form it counts as missing.

pub(crate) mod badge_update;
pub(crate) mod call;
pub(crate) mod cut;
pub(crate) mod fit;
pub(crate) mod memory;
pub(crate) mod parse;
mod raw;
pub(crate) mod relayed;

use std::hash::Hash;

use serde_json::{Map, Value};

use self::relayed::Relayed;

/// The largest count; a larger one is capped.
pub(crate) const MAX_COUNT: u32 = i32::MAX.unsigned_abs();

/// One request's notification, without its devices. Empty identifiers and texts are `None`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notification {
    /// The kind of the payload.
    pub(crate) kind: Kind,
    /// `event_id`
    pub(crate) event_id: Option<String>,
    /// `room_id`
    pub(crate) room_id: Option<String>,
    /// `type`
    pub(crate) event_type: Option<String>,
    /// `sender`
    pub(crate) sender: Option<String>,
    /// `sender_display_name`
    pub(crate) sender_display_name: Option<String>,
    /// `room_name`
    pub(crate) room_name: Option<String>,
    /// `room_alias`
    pub(crate) room_alias: Option<String>,
    /// `membership`; for `m.room.member` by default the one in `content`.
    pub(crate) membership: Option<String>,
    /// `user_is_target`
    pub(crate) user_is_target: Option<bool>,
    /// `prio`
    pub(crate) priority: Priority,
    /// `counts` as received.
    pub(crate) counts: Option<Counts>,
    /// `content`, unless it is nested too deeply.
    pub(crate) content: Option<Map<String, Value>>,
    /// The members of an encrypted notification (MSC3013).
    pub(crate) encrypted: Option<Encrypted>,
    /// All members as received, without `devices`; only if a device gets them: by UnifiedPush, or over a bridge.
    pub(crate) received: Option<Map<String, Value>>,
    /// A message that the homeserver has encrypted for the app.
    pub(crate) relayed: Option<Relayed>,
}

/// The kind of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A `ciphertext` (MSC3013): the payload has no text.
    Encrypted,
    /// An event with its type and its fields.
    Full,
    /// The identifiers of an event.
    Ids,
    /// Counts without an event.
    Badge,
    /// A message that the homeserver has encrypted for the app; nothing else is known of it.
    Relayed,
}

/// The urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Priority {
    High,
    Low,
}

/// Counts for the badge; each in `0..=MAX_COUNT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Unread messages.
    pub(crate) unread: Option<u32>,
    /// Missed calls.
    pub(crate) missed_calls: Option<u32>,
}

/// A notification that only the device can decrypt (MSC3013).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Encrypted {
    /// `ciphertext`
    pub(crate) ciphertext: String,
    /// `ephemeral`
    pub(crate) ephemeral: Option<String>,
    /// `mac`
    pub(crate) mac: Option<String>,
}

/// A device to deliver to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Device {
    pub(crate) app_id: String,
    /// Identifies the device to the push service, exactly as received.
    pub(crate) pushkey: String,
    /// When the pushkey was last registered, in seconds since the Unix epoch.
    pub(crate) pushkey_ts: Option<i64>,
    /// `data`
    pub(crate) data: Map<String, Value>,
    /// The tweaks of the push rules, such as `sound` and `highlight`.
    pub(crate) tweaks: Map<String, Value>,
    /// Whether payloads for this device carry no counts (MSC4076).
    pub(crate) counts_disabled: bool,
}

impl Device {
    /// The device of a relayed message.
    pub(crate) fn relayed(app_id: &str, pushkey: String, registered: Option<i64>) -> Self {
        Self {
            app_id: app_id.to_owned(),
            pushkey,
            pushkey_ts: registered,
            data: Map::new(),
            tweaks: Map::new(),
            counts_disabled: false,
        }
    }

    /// What `data` and `tweaks` add to the payload.
    pub(crate) fn shown(&self) -> impl Hash + '_ {
        (&self.data, &self.tweaks)
    }

    /// `data.default_payload` if it is an object: the app's members of every payload (MSC2631).
    pub(crate) fn default_payload(&self) -> Option<&Map<String, Value>> {
        self.data.get("default_payload").and_then(Value::as_object)
    }
}

impl Notification {
    /// Whether it is about an event whose content the homeserver cannot read.
    pub(crate) fn is_encrypted_event(&self) -> bool {
        self.event_type.as_deref() == Some("m.room.encrypted")
    }

    /// What a device shows of the notification: everything but the counts, which change between an attempt and its repetition.
    pub(crate) fn shown(&self) -> impl Hash + '_ {
        let Self {
            kind,
            event_id,
            room_id,
            event_type,
            sender,
            sender_display_name,
            room_name,
            room_alias,
            membership,
            user_is_target,
            priority,
            counts: _,
            content,
            encrypted,
            received: _,
            relayed: _,
        } = self;
        let event = (kind, event_id, room_id, event_type, sender, membership, user_is_target, priority);
        (event, sender_display_name, room_name, room_alias, content, encrypted)
    }

    /// The counts for `device`: those received, and for a badge update zero by default. `None` if the device disables counts,
    /// or there are none.
    pub(crate) fn counts_for(&self, device: &Device) -> Option<Counts> {
        if device.counts_disabled {
            return None;
        }
        let counts = self.counts.filter(|counts| *counts != Counts::default());
        match self.kind {
            Kind::Badge => Some(counts.unwrap_or(Counts { unread: Some(0), missed_calls: None })),
            Kind::Encrypted | Kind::Full | Kind::Ids => counts,
            Kind::Relayed => None,
        }
    }
}

impl Counts {
    /// Both together, at most [`MAX_COUNT`].
    pub(crate) fn total(self) -> u32 {
        self.unread.unwrap_or(0).saturating_add(self.missed_calls.unwrap_or(0)).min(MAX_COUNT)
    }
}
