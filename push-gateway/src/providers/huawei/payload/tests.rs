//! What Push Kit is asked to deliver, for every kind of notification and every form of message.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{LIMIT, MessageTemplate};
use crate::notification::call::{Occasion, Ring};
use crate::notification::parse::{Request, parse};
use crate::providers::ProviderSettings;
use crate::providers::huawei::settings::{Settings, read};

const TOKEN: &str = "IQAAAACy0aYTAAAx";

#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
fn template(more: Value) -> MessageTemplate {
    let mut table = match more.get("version") {
        Some(_) => json!({ "app_id_number": 1, "client_secret": "x" }),
        None => json!({ "service_account_file": "x" }),
    };
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings = read("apps.\"x\"", table, Path::new("")).unwrap();
    let settings: &dyn std::any::Any = &*settings as &dyn ProviderSettings;
    MessageTemplate::new(settings.downcast_ref::<Settings>().unwrap()).unwrap()
}

fn request(notification: &Value, data: &Value) -> Request {
    let mut notification = notification.clone();
    notification["devices"] = json!([{ "app_id": "a", "pushkey": TOKEN, "data": data }]);
    parse(json!({ "notification": notification }).to_string().as_bytes(), 1).unwrap()
}

fn compose(
    template: &MessageTemplate,
    notification: &Value,
    data: &Value,
    occasion: Occasion,
    limit: usize,
) -> Result<Value, &'static str> {
    let Request { notification, devices } = request(notification, data);
    let message = template.message(&notification, &devices[0], occasion, limit)?;
    assert!(message.body.len() <= limit + TOKEN.len());
    Ok(serde_json::from_slice(&message.body).unwrap())
}

fn ordinary(template: &MessageTemplate, notification: &Value) -> Value {
    compose(template, notification, &json!({}), Occasion::Ordinary, LIMIT).unwrap()
}

fn inner(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

fn event() -> Value {
    json!({
        "event_id": "$tea", "room_id": "!kitchen:x", "type": "m.room.message", "sender": "@ann:x",
        "sender_display_name": "Ann", "room_name": "Kitchen", "prio": "high",
        "content": { "msgtype": "m.text", "body": "Tea?" }, "counts": { "unread": 4, "missed_calls": 2 },
    })
}

#[test]
fn version_1_sends_the_flat_data_as_text() {
    let message = ordinary(&template(json!({ "version": 1 })), &event());
    assert_eq!(
        inner(&message["message"]["data"]),
        json!({
            "event_id": "$tea", "room_id": "!kitchen:x", "type": "m.room.message", "sender": "@ann:x", "prio": "high",
            "sender_display_name": "Ann", "room_name": "Kitchen", "content_msgtype": "m.text", "content_body": "Tea?",
            "unread": "4", "missed_calls": "2",
        })
    );
    assert_eq!(message["validate_only"], false);
    assert_eq!(message["message"]["token"], json!([TOKEN]));
    assert_eq!(message["message"]["android"], json!({ "urgency": "HIGH", "ttl": "86400s", "collapse_key": -1 }));
    let low = json!({ "event_id": "$e", "prio": "low" });
    let settings = json!({ "version": 1, "ttl": "1h", "collapse_key": 7 });
    let message = ordinary(&template(settings), &low);
    assert_eq!(message["message"]["android"], json!({ "urgency": "NORMAL", "ttl": "3600s", "collapse_key": 7 }));
}

#[test]
fn version_1_shows_a_notification_with_a_badge_of_its_class() {
    let settings = json!({ "version": 1, "push_type": "notification", "class": "com.example.Main" });
    let message = ordinary(&template(settings), &event());
    let expected = json!({ "title": "Ann (Kitchen)", "body": "Tea?", "click_action": { "type": 3 },
        "badge": { "set_num": 6, "class": "com.example.Main" } });
    assert_eq!(message["message"]["android"]["notification"], expected);
    assert_eq!(inner(&message["message"]["data"])["event_id"], "$tea");
    let message = ordinary(&template(json!({ "version": 1, "push_type": "notification" })), &event());
    assert_eq!(message["message"]["android"]["notification"].get("badge"), None);
}

#[test]
fn version_3_shows_a_notification() {
    let expected = |category: &str, title: &str, body: &str| {
        json!({ "category": category, "title": title, "body": body, "badge": { "setNum": 6 },
            "clickAction": { "actionType": 0, "data": { "event_id": "$tea", "room_id": "!kitchen:x" } } })
    };
    let template_3 = template(json!({}));
    assert_eq!(
        ordinary(&template_3, &event()),
        json!({
            "payload": { "notification": expected("IM", "Ann (Kitchen)", "Tea?") }, "target": { "token": [TOKEN] },
            "pushOptions": { "ttl": 86_400, "collapseKey": -1 },
        })
    );
    let ring = Occasion::Ring(Ring { left: Duration::from_millis(27_200) });
    let call = compose(&template_3, &event(), &json!({}), ring, LIMIT).unwrap();
    assert_eq!(
        (&call["payload"]["notification"]["category"], &call["pushOptions"]["ttl"]),
        (&json!("VOIP"), &json!(28))
    );
    let missed = compose(&template_3, &event(), &json!({}), Occasion::ExpiredCall, LIMIT).unwrap();
    assert_eq!(missed["payload"]["notification"]["category"], "MISS_CALL");
    let ids = ordinary(&template_3, &json!({ "event_id": "$e", "room_id": "!r:x", "sender_display_name": "Ann" }));
    let expected = json!({ "category": "IM", "title": "New message", "body": "Open the app to read it",
        "clickAction": { "actionType": 0, "data": { "event_id": "$e", "room_id": "!r:x" } } });
    assert_eq!(ids["payload"]["notification"], expected);
    let page = template(json!({ "click_action": "open.room", "foreground_show": false, "category": "WORK" }));
    let shown = &ordinary(&page, &event())["payload"]["notification"];
    assert_eq!(
        (&shown["clickAction"]["actionType"], &shown["clickAction"]["action"]),
        (&json!(1), &json!("open.room"))
    );
    assert_eq!((&shown["foregroundShow"], &shown["category"]), (&json!(false), &json!("WORK")));
}

#[test]
fn version_3_names_what_replaces_what_and_who_sees_it() {
    let settings = json!({ "notify_id": "room", "app_message_id": true, "profile_id": "account" });
    let shown = |settings: &Value, data: Value| {
        let template = template(settings.clone());
        compose(&template, &event(), &data, Occasion::Ordinary, LIMIT).unwrap()["payload"]["notification"].take()
    };
    let members = |shown: &Value| ["notifyId", "appMessageId", "profileId"].map(|key| shown.get(key).cloned());
    let named = shown(&settings, json!({ "account": "ann" }));
    // The first 31 bits of SHA-256 of the room's ID.
    assert_eq!(members(&named), [Some(json!(1_520_721_460)), Some(json!("$tea")), Some(json!("ann"))]);
    for data in [json!({}), json!({ "account": 5 }), json!({ "account": "" })] {
        assert_eq!(members(&shown(&settings, data.clone()))[2], None, "{data}");
    }
    assert_eq!(members(&shown(&json!({ "notify_id": 7 }), json!({}))), [Some(json!(7)), None, None]);
    assert_eq!(members(&shown(&json!({}), json!({ "account": "ann" }))), [None, None, None]);
}

#[test]
fn texts_say_nothing_about_an_encrypted_event() {
    let mut event = event();
    event["type"] = json!("m.room.encrypted");
    for settings in [json!({}), json!({ "push_type": "extension" })] {
        let shown = &ordinary(&template(settings), &event)["payload"]["notification"];
        assert_eq!([&shown["title"], &shown["body"]], ["New message", "Open the app to read it"]);
    }
    let version_1 = template(json!({ "version": 1, "push_type": "notification" }));
    let shown = &ordinary(&version_1, &event)["message"]["android"]["notification"];
    assert_eq!([&shown["title"], &shown["body"]], ["New message", "Open the app to read it"]);
}

#[test]
fn version_3_has_data_calls_and_an_extension() {
    let push_type = |template: &MessageTemplate, notification: &Value, occasion| {
        template.push_type(&request(notification, &json!({})).notification, occasion)
    };
    let data = template(json!({ "push_type": "data" }));
    let message = ordinary(&data, &event());
    assert_eq!(inner(&message["payload"]["extraData"])["content_body"], "Tea?");
    assert_eq!((message["payload"].get("notification"), &message["pushOptions"]), (None, &json!({ "ttl": 86_400 })));
    assert_eq!(push_type(&data, &event(), Occasion::Ordinary), Some(6));

    let voip = template(json!({ "push_type": "voip" }));
    for (left, ttl) in [(5, 30), (45, 45), (110, 60)] {
        let ring = Occasion::Ring(Ring { left: Duration::from_secs(left) });
        let message = compose(&voip, &event(), &json!({}), ring, LIMIT).unwrap();
        assert_eq!(message["pushOptions"], json!({ "ttl": ttl }));
        assert_eq!(inner(&message["payload"]["extraData"])["event_id"], "$tea");
        assert_eq!(push_type(&voip, &event(), ring), Some(10));
    }
    for (occasion, reason) in
        [(Occasion::Ordinary, "not_a_call"), (Occasion::ExpiredCall, "call_expired"), (Occasion::Nudge, "not_a_call")]
    {
        let found = compose(&voip, &event(), &json!({}), occasion, LIMIT);
        assert_eq!(found, Err(reason), "{occasion:?}");
    }
    assert_eq!(compose(&voip, &json!({}), &json!({}), Occasion::Ordinary, LIMIT), Err("not_a_call"));

    let extension = template(json!({ "push_type": "extension" }));
    let message = ordinary(&extension, &event());
    assert_eq!(message["payload"]["notification"]["category"], "PLAY_VOICE");
    assert_eq!(inner(&message["payload"]["extraData"])["event_id"], "$tea");
    assert_eq!(push_type(&extension, &event(), Occasion::Ordinary), Some(2));
}

#[test]
fn a_badge_update_is_a_number_alone() {
    for (counts, number) in [(json!({ "unread": 3 }), 3), (json!({ "unread": 0 }), 0), (json!({}), 0)] {
        let update = json!({ "counts": counts });
        let message = ordinary(&template(json!({})), &update);
        let expected =
            json!({ "payload": { "notification": { "badge": { "setNum": number } } }, "target": { "token": [TOKEN] } });
        assert_eq!(message, expected);
        let message = ordinary(&template(json!({ "version": 1, "push_type": "notification" })), &update);
        assert_eq!(inner(&message["message"]["data"])["unread"], number.to_string());
        assert_eq!(message["message"]["android"].get("notification"), None);
        assert_eq!(message["message"]["android"]["urgency"], "NORMAL");
    }
    let template = template(json!({ "push_type": "extension" }));
    let badge = request(&json!({}), &json!({}));
    assert_eq!(template.push_type(&badge.notification, Occasion::Ordinary), Some(0));
    let disabled = json!({ "disable_badge_count": true });
    assert_eq!(compose(&template, &json!({}), &disabled, Occasion::Ordinary, LIMIT), Err("badge_disabled"));
    let message = compose(&template, &event(), &disabled, Occasion::Ordinary, LIMIT).unwrap();
    assert_eq!(message["payload"]["notification"].get("badge"), None);
}

#[test]
fn a_nudge_is_silent() {
    let data = json!({ "default_payload": { "cs": "mine" } });
    let nudge = |template: &MessageTemplate| compose(template, &json!({}), &data, Occasion::Nudge, LIMIT).unwrap();
    let message = nudge(&template(json!({ "version": 1 })));
    assert_eq!(inner(&message["message"]["data"]), json!({ "cs": "mine", "nudge": "1" }));
    assert_eq!(message["message"]["android"], json!({ "urgency": "NORMAL", "ttl": "3600s", "collapse_key": -1 }));
    let message = nudge(&template(json!({})));
    assert_eq!(inner(&message["payload"]["extraData"]), json!({ "cs": "mine", "nudge": "1" }));
    assert_eq!(message["payload"].get("notification"), None);
}

#[test]
fn every_message_fits() {
    let bodies = ["x".repeat(9000), "\u{1}\"\\é\n".repeat(900), "😀".repeat(2000)];
    for body in bodies {
        let mut event = event();
        event["content"] =
            json!({ "msgtype": "m.text", "body": body, "extra": "z".repeat(3000), "more": "\"".repeat(900) });
        event["room_name"] = json!("r".repeat(3000));
        let data = json!({ "default_payload": { "cs": "mine", "large": "y".repeat(8000) } });
        for settings in [
            json!({ "version": 1 }),
            json!({ "version": 1, "push_type": "notification" }),
            json!({}),
            json!({ "push_type": "data" }),
            json!({ "push_type": "extension" }),
        ] {
            for limit in [LIMIT, 2048] {
                let message = compose(&template(settings.clone()), &event, &data, Occasion::Ordinary, limit).unwrap();
                let size = message.to_string().len() - TOKEN.len();
                assert!(size <= limit && size > limit - 800, "{settings}: {size} of {limit}");
            }
        }
    }
    let long = json!({ "event_id": "e".repeat(5000), "type": "m" });
    assert_eq!(compose(&template(json!({})), &long, &json!({}), Occasion::Ordinary, LIMIT), Err("too_large"));
    let ciphertext = json!({ "ciphertext": "c".repeat(5000) });
    let version_1 = template(json!({ "version": 1 }));
    assert_eq!(compose(&version_1, &ciphertext, &json!({}), Occasion::Ordinary, LIMIT), Err("too_large"));
}

#[test]
fn the_reduced_message_has_identifiers_alone() {
    let data = json!({ "default_payload": { "cs": "mine" } });
    let reduced = |template: &MessageTemplate, notification: &Value| {
        let Request { notification, devices } = request(notification, &data);
        let message = template.reduced(&notification, &devices[0], Occasion::Ordinary)?;
        Some(serde_json::from_slice::<Value>(&message.body).unwrap())
    };
    let ids = json!({ "event_id": "$tea", "room_id": "!kitchen:x" });
    let message = reduced(&template(json!({ "version": 1 })), &event()).unwrap();
    assert_eq!(inner(&message["message"]["data"]), ids);
    let message = reduced(&template(json!({})), &event()).unwrap();
    let expected = json!({ "category": "IM", "title": "New message", "body": "Open the app to read it",
        "clickAction": { "actionType": 0, "data": ids } });
    assert_eq!(message["payload"]["notification"], expected);
    for without in [json!({}), json!({ "ciphertext": "x", "event_id": "$e" })] {
        assert_eq!(reduced(&template(json!({})), &without), None);
    }
}
