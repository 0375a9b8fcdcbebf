//! Paths and header fields, table by table.

use serde_json::{Value, json};
use shared::clock::Timestamp;

use super::{DeviceToken, PushHeaders, PushTemplate, uuid};
use crate::providers::Payload;
use crate::providers::apns::settings::{Settings, TokenEncoding};
use crate::providers::apns::testing::notification;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_999);

fn settings(table: &Value) -> Settings {
    let mut all = json!({"topic": "org.example.app"});
    all.as_object_mut().unwrap().extend(table.as_object().cloned().unwrap_or_default());
    Settings::of_table("apps.\"x\"", all).unwrap()
}

/// The value of one field of the push.
fn field(name: &str, event: &Value, table: &Value, background: bool) -> Option<String> {
    let settings = settings(table);
    let (token, notification) =
        (DeviceToken::parse(&"ab".repeat(32), TokenEncoding::Auto).unwrap(), notification(event, &Value::Null));
    let occasion = notification.occasion(&settings.delivery.call_types, NOW);
    let headers = PushHeaders { notification: &notification, id: [0x5a; 16], occasion, now: NOW };
    let payload = Payload { body: bytes::Bytes::from_static(b"{}"), is_background: background };
    let push = PushTemplate::new(&settings).unwrap().push(token, &headers, &settings, &payload);
    push.request().headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn a_token_is_read_in_every_encoding() {
    let (hex, bytes) = ("0a".repeat(32), [0x0a_u8; 32]);
    let path = |pushkey: &str, encoding| DeviceToken::parse(pushkey, encoding).map(|token| token.0.to_string());
    let expected = Some(format!("/3/device/{hex}"));
    let base64 = "CgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo=";
    for (pushkey, encoding) in [
        (hex.as_str(), TokenEncoding::Auto),
        (&hex.to_uppercase(), TokenEncoding::Auto),
        (&hex, TokenEncoding::Hex),
        (base64, TokenEncoding::Auto),
        (base64.trim_end_matches('='), TokenEncoding::Auto),
        (base64, TokenEncoding::Base64),
        // Trailing bits are ignored.
        ("CgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgp=", TokenEncoding::Auto),
    ] {
        assert_eq!(path(pushkey, encoding), expected, "{pushkey} {bytes:?}");
    }
    let all = "/3/device/fbefbe".to_owned() + &"ff".repeat(29);
    assert_eq!(
        path(&("++++".to_owned() + &"/".repeat(38) + "8="), TokenEncoding::Auto).as_deref().map(|path| &path[..16]),
        Some(&all[..16])
    );
    assert_eq!(
        path(&("----".to_owned() + &"_".repeat(38) + "8="), TokenEncoding::Auto).as_deref().map(|path| &path[..16]),
        Some(&all[..16])
    );
    assert_eq!(path(&"a".repeat(200), TokenEncoding::Auto), Some(format!("/3/device/{}", "a".repeat(200))));
    // 64 digits are base64 as well, of 48 bytes.
    assert_eq!(path(&"0".repeat(64), TokenEncoding::Base64).map(|path| path.len()), Some("/3/device/".len() + 96));
}

#[test]
fn an_invalid_token_is_refused() {
    for (pushkey, encoding) in [
        ("", TokenEncoding::Auto),
        ("abc", TokenEncoding::Auto),
        ("é", TokenEncoding::Auto),
        ("../../x?y=1", TokenEncoding::Auto),
        ("a\r\napns-topic: evil", TokenEncoding::Auto),
        (&"ab".repeat(31), TokenEncoding::Hex),
        (&"a".repeat(65), TokenEncoding::Hex),
        (&"a".repeat(202), TokenEncoding::Hex),
        (&"g".repeat(64), TokenEncoding::Hex),
        ("CgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo=", TokenEncoding::Hex),
        ("CgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCg", TokenEncoding::Auto),
        (&("C".repeat(135) + "g"), TokenEncoding::Auto),
        (&"A".repeat(1_000_000), TokenEncoding::Auto),
        ("CgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo= ", TokenEncoding::Auto),
        ("fMi0rYB1Q0uRz8:APA91bHPRgkF3JUikC4ENAHEeMrd41Zxv3hVZjC9KtT8OvPVGJ", TokenEncoding::Auto),
        (&("+-".to_owned() + &"A".repeat(42)), TokenEncoding::Auto),
    ] {
        assert!(DeviceToken::parse(pushkey, encoding).is_none(), "{}", &pushkey[..pushkey.len().min(80)]);
    }
}

#[test]
fn the_head_contains_the_device_and_the_app() {
    for (name, expected) in [
        ("apns-topic", "org.example.app"),
        ("apns-push-type", "alert"),
        ("apns-id", "5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a"),
        ("apns-expiration", "1750086400"),
        ("apns-priority", "10"),
    ] {
        assert_eq!(field(name, &json!({"event_id": "$e"}), &json!({}), false).as_deref(), Some(expected));
    }
    assert_eq!(field("apns-collapse-id", &json!({"event_id": "$e"}), &json!({}), false), None);
    assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    for topic in ["", "a\nb", "a\u{7f}"] {
        assert!(PushTemplate::new(&settings(&json!({"topic": topic}))).is_err());
    }
}

#[test]
fn type_and_priority_depend_on_the_settings_and_the_payload() {
    let (high, low, badge) = (json!({"event_id": "$e"}), json!({"event_id": "$e", "prio": "low"}), json!({}));
    for (event, table, background, push_type, priority) in [
        (&high, json!({}), false, "alert", "10"),
        (&low, json!({}), false, "alert", "5"),
        (&badge, json!({}), false, "alert", "5"),
        (&high, json!({}), true, "background", "5"),
        (&high, json!({"push_type": "background"}), false, "background", "5"),
        (&high, json!({"push_type": "alert"}), true, "alert", "10"),
        (&low, json!({"push_type": "voip"}), false, "voip", "10"),
        (&high, json!({"push_type": "location"}), false, "location", "10"),
    ] {
        assert_eq!(field("apns-push-type", event, &table, background).as_deref(), Some(push_type), "{event} {table}");
        assert_eq!(field("apns-priority", event, &table, background).as_deref(), Some(priority), "{event} {table}");
    }
    let voip = json!({"push_type": "voip"});
    assert_eq!(field("apns-topic", &high, &voip, false).as_deref(), Some("org.example.app.voip"));
}

#[test]
fn a_call_expires_soon_and_expiration_zero_stores_nothing() {
    let (message, call) = (json!({"type": "m.room.message"}), json!({"type": "m.call.invite"}));
    for (event, table, expected) in [
        (&message, json!({}), "1750086400"),
        (&call, json!({}), "1750000030"),
        (&message, json!({"expiration": "1h"}), "1750003600"),
        (&call, json!({"expiration": "1h"}), "1750000030"),
        (&message, json!({"expiration": "0"}), "0"),
        (&call, json!({"expiration": "0"}), "0"),
    ] {
        assert_eq!(field("apns-expiration", event, &table, false).as_deref(), Some(expected), "{event} {table}");
    }
}

#[test]
fn the_collapse_id_is_a_hash() {
    let event = json!({"event_id": "$ev", "room_id": "!rm:a.example"});
    for (collapse, expected) in [
        ("none", None),
        // SHA-256 of the id.
        ("room", Some("jVPLcDN_V2gLNl4N0QEgTRK5JNtBmv-Q6vXeVOTAFV4")),
        ("event", Some("3Fq0Gait9Yc5WoQVu0z3p6WuojpAwSTlKVDN9mQDNx4")),
    ] {
        let id = field("apns-collapse-id", &event, &json!({"collapse": collapse}), false);
        assert_eq!(id.as_deref(), expected);
    }
    assert_eq!(field("apns-collapse-id", &json!({}), &json!({"collapse": "room"}), false), None);
}
