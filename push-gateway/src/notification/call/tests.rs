//! Rings row by row: layouts, lifetimes, and the identifier that a decline shares.

use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::Timestamp;

use super::{CALL_TYPES, Occasion};
use crate::notification::Notification;
use crate::notification::parse::{Request, parse};

const NOW: i64 = 1_764_338_400_000;

fn event(event_type: &str, content: &Value) -> Notification {
    let body = json!({"notification": {
        "event_id": "$ring", "room_id": "!r:example.org", "type": event_type, "content": content,
        "devices": [{"app_id": "a", "pushkey": "k"}],
    }});
    let Request { notification, .. } = parse(body.to_string().as_bytes(), 1).unwrap();
    notification
}

fn occasion_of(event_type: &str, content: &Value, call_types: &[&str]) -> Occasion {
    let call_types: Vec<String> = call_types.iter().map(|call| (*call).to_owned()).collect();
    event(event_type, content).occasion(&call_types, Timestamp::from_millis(NOW))
}

fn occasion(event_type: &str, content: &Value) -> Occasion {
    occasion_of(event_type, content, &CALL_TYPES)
}

fn rings(event_type: &str, content: &Value) -> bool {
    occasion(event_type, content).ring().is_some()
}

#[test]
fn a_call_rings_in_each_layout_that_asks_for_it() {
    for event_type in ["m.rtc.notification", "org.matrix.msc4075.rtc.notification"] {
        for (content, expected) in [
            (json!({"notification_type": "ring", "sender_ts": NOW, "lifetime": 30000}), true),
            (json!({"notification_type": "ring"}), true),
            (json!({"notification_type": "notification", "slot_id": "m.call#", "lifetime": 30000}), false),
            (json!({"notification_type": "hum"}), false),
            (json!({"application": {"type": "m.call", "notification_type": "ring", "lifetime": 30000}}), true),
            (json!({"application": {"type": "m.call", "notification_type": "notification"}}), false),
            (json!({"notification_type": "notification", "application": {"notification_type": "ring"}}), false),
            (json!({"notification_type": 5, "application": {"notification_type": "ring"}}), true),
            (json!({"slot_id": "m.call#ROOM", "sender_ts": NOW, "lifetime": 30000}), true),
            (json!({"slot_id": "m.call#ROOM", "sender_ts": NOW, "lifetime": 0}), false),
            (json!({"slot_id": "m.call#ROOM", "sender_ts": NOW, "lifetime": -1}), false),
            (json!({"slot_id": "m.call#ROOM", "sender_ts": NOW}), false),
            (json!({"slot_id": 7, "lifetime": 30000}), false),
            (json!({"msc4354_sticky_key": "k"}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            assert_eq!(rings(event_type, &content), expected, "{event_type} {content}");
        }
    }
}

#[test]
fn other_types_of_calls_ring_if_the_app_takes_them_for_calls() {
    assert!(rings("m.call.invite", &Value::Null) && rings("m.call.invite", &json!({"lifetime": 60000})));
    for event_type in [
        "m.call.notify",
        "org.matrix.msc4075.call.notify",
        "org.matrix.msc3401.call.member",
        "m.rtc.decline",
        "m.call.hangup",
        "m.room.encrypted",
    ] {
        assert!(!rings(event_type, &json!({"notify_type": "ring", "lifetime": 30000})), "{event_type}");
    }
    assert!(occasion_of("org.example.ring", &json!({}), &["org.example.ring"]).ring().is_some());
    assert_eq!(occasion_of("m.call.invite", &json!({}), &["org.example.ring"]), Occasion::Ordinary);
}

#[test]
fn a_call_rings_for_what_is_left_of_its_life() {
    for (sent, life, left, seconds) in [
        (json!(NOW - 2000), json!(30000), 28000, 28),
        (json!(NOW - 29500), json!(30000), 500, 1),
        (json!(NOW + 10000), json!(30000), 40000, 40),
        (json!(NOW + 20000), json!(30000), 50000, 50),
        (json!(NOW + 20001), json!(30000), 30000, 30),
        (json!(NOW + 3_600_000), json!(30000), 30000, 30),
        (json!(NOW - 5000), json!(600_000), 115_000, 115),
        (json!(NOW + 15000), json!(600_000), 120_000, 120),
        (Value::Null, Value::Null, 30000, 30),
        (json!(-5), json!(1.5), 30000, 30),
        (json!("1"), json!("60000"), 30000, 30),
        (json!(NOW), json!(1), 1, 1),
        (json!(NOW), json!(u64::MAX), 120_000, 120),
        (json!(u64::MAX), json!(30000), 30000, 30),
    ] {
        let content = json!({"notification_type": "ring", "sender_ts": sent, "lifetime": life});
        let within = json!({"application": content.clone()});
        for content in [content, within] {
            let ring = occasion("m.rtc.notification", &content).ring().unwrap_or_else(|| panic!("{content}"));
            assert_eq!((ring.left, ring.seconds()), (Duration::from_millis(left), seconds), "{content}");
        }
    }
    for (sent, life) in [(NOW - 40000, json!(30000)), (NOW - 30000, json!(30000)), (0, Value::Null), (NOW, json!(0))] {
        let content = json!({"notification_type": "ring", "sender_ts": sent, "lifetime": life});
        assert_eq!(occasion("m.rtc.notification", &content), Occasion::ExpiredCall, "{content}");
    }
}

#[test]
fn an_invitation_rings_from_now_on() {
    let content = json!({"lifetime": 60000, "sender_ts": NOW - 50000, "offer": {}});
    assert_eq!(occasion("m.call.invite", &content).ring().unwrap().left, Duration::from_secs(60));
}

#[test]
fn a_ring_and_its_decline_share_an_identifier() {
    let expected = Some("g-98hC5dFt8RL3trrTZs0M6tv-ZFfVRfRPfjA3cdY2c".to_owned());
    let ring = event("m.rtc.notification", &json!({"notification_type": "ring"}));
    let call_types = CALL_TYPES.map(str::to_owned);
    assert_eq!(ring.call_collapse_id(ring.occasion(&call_types, Timestamp::from_millis(NOW))), expected);
    assert_eq!(ring.call_collapse_id(Occasion::ExpiredCall), None);
    let relation = json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$ring"}});
    for event_type in ["m.rtc.decline", "org.matrix.msc4310.rtc.decline"] {
        assert_eq!(event(event_type, &relation).call_collapse_id(Occasion::Ordinary), expected);
        for content in [json!({}), json!({"m.relates_to": 5}), json!({"m.relates_to": {"event_id": 5}}), Value::Null] {
            assert_eq!(event(event_type, &content).call_collapse_id(Occasion::Ordinary), None, "{content}");
        }
    }
    assert_eq!(event("m.room.message", &relation).call_collapse_id(Occasion::Ordinary), None);
}

#[test]
fn the_intent_of_a_call_is_in_either_place() {
    for (content, expected) in [
        (json!({"m.call.intent": "video"}), true),
        (json!({"application": {"m.call.intent": "video"}}), true),
        (json!({"m.call.intent": "audio", "application": {"m.call.intent": "video"}}), false),
        (json!({"m.call.intent": ["video"]}), false),
        (json!({}), false),
    ] {
        assert_eq!(event("m.rtc.notification", &content).has_video_intent(), expected, "{content}");
    }
}
