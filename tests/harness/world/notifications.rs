//! Notifications and devices of the usual two apps.

use serde_json::{Value, json};

/// The app of APNs in a world with the usual two apps.
pub const IOS: &str = "com.example.ios";

/// The app of FCM in a world with the usual two apps.
pub const ANDROID: &str = "com.example.android";

/// The body of a request with a message for `devices`.
#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
pub fn message_body(event_id: &str, devices: Value) -> Value {
    json!({ "notification": {
        "event_id": event_id, "room_id": "!r:hs.example", "type": "m.room.message", "sender": "@a:hs.example",
        "sender_display_name": "Alice", "room_name": "Mission Control", "prio": "high",
        "content": { "msgtype": "m.text", "body": "I'm floating" }, "counts": { "unread": 2 }, "devices": devices,
    }})
}

/// A notification of a message, without devices.
pub fn message() -> Value {
    json!({
        "event_id": "$slate", "room_id": "!quarry:hs.example", "type": "m.room.message", "sender": "@wilma:hs.example",
        "sender_display_name": "Wilma", "room_name": "Quarry", "prio": "high",
        "content": { "msgtype": "m.text", "body": "Lunch?" },
    })
}

/// The same for an app that fetches the event itself (`event_id_only`).
pub fn ids() -> Value {
    json!({ "event_id": "$slate", "room_id": "!quarry:hs.example" })
}

/// A device token of APNs: 64 times this hexadecimal digit.
pub fn token(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// The device of [`IOS`] with that token.
pub fn iphone(digit: char) -> Value {
    ios_device(&token(digit))
}

/// A device of [`IOS`].
pub fn ios_device(pushkey: &str) -> Value {
    json!({ "app_id": IOS, "pushkey": pushkey, "pushkey_ts": 42 })
}

/// A device of [`ANDROID`].
pub fn android_device(pushkey: &str) -> Value {
    json!({ "app_id": ANDROID, "pushkey": pushkey, "pushkey_ts": 42 })
}
