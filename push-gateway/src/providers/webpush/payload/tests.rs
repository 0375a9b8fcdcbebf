//! Payloads of both kinds, and what is left of them when they do not fit.

use std::path::Path;

use serde_json::{Value, json};

use super::super::settings::declarative::Declarative;
use super::super::settings::{Form, Settings};
use super::{Fitted, MAX_BODY, browser, unified};
use crate::notification::parse::{Request, parse};
use crate::notification::{Device, Notification};
use crate::providers::outcome::Reason;

const MAX: usize = super::encryption::MAX_PLAINTEXT;

fn parsed(mut notification: Value, data: &Value) -> (Notification, Device) {
    notification["devices"] = json!([{ "app_id": "a", "pushkey": "https://x.example/", "data": data }]);
    let body = json!({ "notification": notification }).to_string();
    let Request { notification, mut devices } = parse(body.as_bytes(), 1).unwrap();
    (notification, devices.remove(0))
}

fn value(result: Result<Fitted, Reason>) -> Value {
    serde_json::from_slice(&result.unwrap().json).unwrap()
}

fn browser(notification: Value, data: &Value) -> Value {
    let (notification, device) = parsed(notification, data);
    value(browser::payload(&notification, &device, None, MAX))
}

fn unified(notification: Value, data: &Value) -> Value {
    let (notification, device) = parsed(notification, data);
    value(unified::payload(&notification, &device, false, MAX_BODY))
}

#[test]
fn a_browser_gets_a_flat_object_over_the_default_payload() {
    let notification = json!({
        "event_id": "$e", "room_id": "!r:x", "type": "m.room.message", "sender": "@a:x", "sender_display_name": "",
        "room_name": "Room", "user_is_target": false, "counts": { "unread": 0 }, "other": 1,
        "content": { "body": "é".repeat(1001), "formatted_body": "<b>", "ciphertext": "c".repeat(2001), "extra": 1 },
    });
    let data = json!({ "default_payload": { "event_id": "evil", "session": [1] } });
    let expected = json!({
        "event_id": "$e", "room_id": "!r:x", "type": "m.room.message", "sender": "@a:x", "room_name": "Room", "unread": 0,
        "session": [1], "content": { "body": format!("{}…", "é".repeat(999)), "extra": 1 },
    });
    assert_eq!(browser(notification, &data), expected);
    assert_eq!(browser(json!({}), &json!({})), json!({ "unread": 0 }));
    let (badge, device) = parsed(json!({ "counts": { "unread": 2 } }), &json!({ "events_only": true }));
    assert_eq!(browser::payload(&badge, &device, None, MAX), Err("events_only"));
}

#[test]
fn an_endpoint_gets_the_notification_as_received_without_devices() {
    let notification =
        json!({ "event_id": "$e", "unknown": { "a": [null] }, "prio": "low", "counts": { "unread": 2 } });
    assert_eq!(unified(notification.clone(), &json!({})), json!({ "notification": notification }));
    assert_eq!(unified(json!({}), &json!({})), json!({ "notification": { "counts": { "unread": 0 } } }));
    let disabled = json!({ "disable_badge_count": true });
    let without = json!({ "notification": { "event_id": "$e", "unknown": { "a": [null] }, "prio": "low" } });
    assert_eq!(unified(notification.clone(), &disabled), without);
    let data = json!({ "client_name": "c", "auth": "x", "p256dh": "y", "default_payload": { "cs": 1 } });
    let (notification, device) = parsed(notification, &data);
    let found = value(unified::payload(&notification, &device, true, MAX_BODY));
    let device = json!([{ "app_id": "a", "data": { "client_name": "c" }, "tweaks": {} }]);
    assert_eq!(found["notification"]["devices"], device);
}

#[test]
fn what_does_not_fit_is_dropped_in_order_and_fills_the_limit() {
    let message = |body: String, extra: String| {
        json!({
            "event_id": "$e", "room_id": "!r:x", "type": "m", "room_name": "Room", "counts": { "unread": 1 },
            "content": { "msgtype": "m.text", "body": body, "extra": extra },
        })
    };
    let size = |notification: Value, data: Value| {
        let (notification, device) = parsed(notification, &data);
        let browser = browser::payload(&notification, &device, None, MAX).unwrap();
        let unified = unified::payload(&notification, &device, false, MAX_BODY).unwrap();
        (browser.json.len(), unified.json.len(), browser.is_shortened)
    };
    assert!(!size(message("x".into(), "y".into()), json!({})).2);
    let (browser, unified, is_shortened) = size(message("\"".repeat(900), "y".repeat(5000)), json!({}));
    assert!(browser < 2200 && unified < 2200 && is_shortened);
    let (found, _, _) =
        size(message("x".repeat(900), "y".into()), json!({ "default_payload": { "a": "b".repeat(3700) } }));
    assert!((MAX - 4..=MAX).contains(&found), "{found}");
    let (_, found, _) = size(message("x".repeat(9000), "y".into()), json!({}));
    assert!((MAX_BODY - 4..=MAX_BODY).contains(&found), "{found}");
    let huge = json!({ "event_id": "$e", "type": "m", "unknown": "z".repeat(9000), "counts": { "unread": 1 } });
    let (notification, device) = parsed(huge, &json!({}));
    let bare = json!({ "notification": { "event_id": "$e", "counts": { "unread": 1 } } });
    assert_eq!(value(unified::payload(&notification, &device, false, MAX_BODY)), bare);
    let (notification, device) = parsed(json!({ "ciphertext": "c".repeat(5000) }), &json!({}));
    assert_eq!(browser::payload(&notification, &device, None, MAX), Err("too_large"));
    assert_eq!(unified::payload(&notification, &device, false, MAX_BODY), Err("too_large"));
}

#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
fn declarative(more: Value) -> Declarative {
    let mut table = json!({ "vapid_private_key": "x", "vapid_contact": "a@example.com", "declarative": true,
        "navigate_template": "https://app.example.org/#/room/{room_id}/{event_id}" });
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings = Settings::read("apps.\"x\"", table, Path::new(""), Form::Subscription).unwrap();
    settings.declarative().unwrap().unwrap()
}

fn shown(declarative: &Declarative, notification: Value, data: &Value) -> Value {
    let (notification, device) = parsed(notification, data);
    value(browser::payload(&notification, &device, Some(declarative), MAX))
}

#[test]
fn a_declarative_message_has_its_members_beside_those_of_the_service_worker() {
    let event = json!({
        "event_id": "$e", "room_id": "!r:example.org", "type": "m.room.message", "sender_display_name": "Alice",
        "room_name": "Room", "counts": { "unread": 3 }, "content": { "body": "Hello" },
    });
    let data = json!({ "default_payload": { "web_push": 1, "notification": "x", "session": 1 } });
    let expected = json!({
        "web_push": 8030, "app_badge": 3, "mutable": true,
        "notification": { "title": "Alice (Room)", "body": "Hello", "tag": "!r:example.org", "lang": "en", "silent": false,
            "navigate": "https://app.example.org/#/room/!r:example.org/$e", "app_badge": "3" },
        "event_id": "$e", "room_id": "!r:example.org", "type": "m.room.message", "sender_display_name": "Alice",
        "room_name": "Room", "unread": 3, "content": { "body": "Hello" }, "session": 1,
    });
    assert_eq!(shown(&declarative(json!({})), event.clone(), &data), expected);
    let other =
        declarative(json!({ "lang": "de", "icon": "https://app.example.org/i.png", "body_template": "{type}" }));
    let found = shown(&other, event, &json!({ "disable_badge_count": true }));
    assert_eq!((found.get("app_badge"), found["notification"].get("app_badge")), (None, None));
    let notification = &found["notification"];
    assert_eq!(
        [&notification["lang"], &notification["icon"], &notification["body"]],
        ["de", "https://app.example.org/i.png", "m.room.message"]
    );
}

#[test]
fn identifiers_and_ciphertexts_show_the_fallbacks_and_a_badge_update_shows_nothing() {
    let declarative = declarative(json!({ "title_fallback": "Neu", "body_fallback": "Auf" }));
    for (notification, url, tag) in [
        (json!({ "event_id": "$e", "room_id": "!r:x" }), "!r:x/$e", json!("!r:x")),
        (json!({ "ciphertext": "x", "ephemeral": "e", "mac": "m" }), "/", Value::Null),
    ] {
        let found = shown(&declarative, notification, &json!({}));
        let shown = &found["notification"];
        assert_eq!((&shown["title"], &shown["body"], &shown["tag"]), (&json!("Neu"), &json!("Auf"), &tag));
        assert_eq!(shown["navigate"], format!("https://app.example.org/#/room/{url}"));
        assert_eq!((&found["web_push"], found.get("app_badge")), (&json!(8030), None));
    }
    assert_eq!(shown(&declarative, json!({ "counts": { "unread": 0 } }), &json!({})), json!({ "unread": 0 }));
}

#[test]
fn a_declarative_message_that_does_not_fit_is_cut_and_then_shows_the_fallbacks() {
    let declarative = declarative(json!({}));
    let mut event = json!({ "event_id": "$e", "room_id": "!r:x", "type": "m.room.message", "sender": "@a:x",
        "room_name": "r".repeat(3000), "content": { "msgtype": "m.text", "body": "é".repeat(3000) } });
    let found = shown(&declarative, event.clone(), &json!({}));
    let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap();
    for pointer in ["/notification/title", "/notification/body", "/content/body", "/room_name"] {
        assert!(text(pointer).ends_with('…') && text(pointer).len() > 500, "{pointer}: {}", text(pointer));
    }
    let size = found.to_string().len();
    assert!(size <= MAX && size > MAX - 40, "{size}");
    event["sender"] = json!("s".repeat(4000));
    let found = shown(&declarative, event, &json!({}));
    assert_eq!((&found["notification"]["title"], found.get("sender")), (&json!("New message"), None));
    assert_eq!((&found["event_id"], &found["notification"]["body"]), (&json!("$e"), &json!("Open the app to read it")));
}
