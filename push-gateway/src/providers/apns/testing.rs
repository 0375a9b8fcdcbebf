//! Notifications and devices for the tests, from JSON.
//!
//! Invariant: a field that a test omits is missing.

use serde_json::{Map, Value};

use crate::notification::{Counts, Device, Encrypted, Kind, Notification, Priority};

/// The notification with the members of `base`, overridden by `fields`; `null` removes a member.
pub(super) fn notification(base: &Value, fields: &Value) -> Notification {
    let mut all = base.as_object().cloned().unwrap_or_default();
    all.extend(fields.as_object().cloned().unwrap_or_default());
    let text = |key: &str| all.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let count = |key: &str| all.get("counts")?.get(key)?.as_u64().and_then(|count| u32::try_from(count).ok());
    let encrypted =
        text("ciphertext").map(|ciphertext| Encrypted { ciphertext, ephemeral: text("ephemeral"), mac: text("mac") });
    Notification {
        kind: match (&encrypted, text("type"), text("event_id")) {
            (Some(_), _, _) => Kind::Encrypted,
            (None, Some(_), _) => Kind::Full,
            (None, None, Some(_)) => Kind::Ids,
            (None, None, None) => Kind::Badge,
        },
        event_id: text("event_id"),
        room_id: text("room_id"),
        event_type: text("type"),
        sender: text("sender"),
        sender_display_name: text("sender_display_name"),
        room_name: text("room_name"),
        room_alias: text("room_alias"),
        membership: text("membership"),
        user_is_target: all.get("user_is_target").and_then(Value::as_bool),
        priority: if text("prio").as_deref() == Some("low") { Priority::Low } else { Priority::High },
        counts: all
            .get("counts")
            .filter(|counts| counts.is_object())
            .map(|_| Counts { unread: count("unread"), missed_calls: count("missed_calls") }),
        content: all.get("content").and_then(Value::as_object).cloned(),
        encrypted,
        received: None,
        relayed: None,
    }
}

/// The device with `pushkey` and the members of `fields`.
pub(super) fn device(pushkey: &str, fields: &Value) -> Device {
    let object = |key: &str| fields.get(key).and_then(Value::as_object).cloned();
    let data: Map<String, Value> = object("data").unwrap_or_default();
    Device {
        app_id: String::from("org.example.app.ios"),
        pushkey: pushkey.to_owned(),
        pushkey_ts: fields.get("pushkey_ts").and_then(Value::as_i64),
        counts_disabled: data.get("org.matrix.msc4076.disable_badge_count") == Some(&Value::Bool(true)),
        data,
        tweaks: object("tweaks").unwrap_or_default(),
    }
}
