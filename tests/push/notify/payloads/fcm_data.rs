//! The `data` that Android apps receive: flat strings made from the notification and the device's defaults.
//!
//! Invariant: the fake rejects what FCM rejects (values that are not strings, reserved keys, more than 4096 bytes), so
//! an accepted message is valid.

use harness::world::push::{World, android_app, ids, message, with, without};
use serde_json::{Value, json};

const APP: &str = "org.example.android";
const ALL: &str = "org.example.scalars";

/// The `data` of [`message`].
fn whole() -> Value {
    json!({
        "event_id": "$slate", "room_id": "!quarry:hs.example", "type": "m.room.message", "sender": "@wilma:hs.example",
        "sender_display_name": "Wilma", "room_name": "Quarry", "prio": "high",
        "content_msgtype": "m.text", "content_body": "Lunch?",
    })
}

/// The `data` of [`ids`].
fn few() -> Value {
    json!({ "event_id": "$slate", "room_id": "!quarry:hs.example", "prio": "high" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_becomes_flat_strings() {
    let gateway = World::serving("", "", &[android_app(APP, ""), android_app(ALL, "flatten = \"scalars\"")]).await;
    let content = json!({ "content": {
        "msgtype": "m.text", "body": "b", "n": -1.5, "t": true, "f": false, "null": null, "list": ["x"],
        "object": { "a": "x" }, "": "nameless", "empty": "", "ä/\n": "ö",
    }});
    let flat = json!({ "content_body": "b", "content_ä/\n": "ö", "content_": "nameless" });
    let scalars = with(flat.clone(), json!({ "content_n": "-1.5", "content_t": "true", "content_f": "false" }));
    for (app, notification, data) in [
        (APP, message(), whole()),
        (
            APP,
            with(message(), json!({ "room_alias": "#q:hs.example" })),
            with(whole(), json!({ "room_alias": "#q:hs.example" })),
        ),
        (
            APP,
            with(message(), json!({ "room_name": "", "sender_display_name": 7, "content": [], "sender": null })),
            without(whole(), &["room_name", "sender_display_name", "sender", "content_msgtype", "content_body"]),
        ),
        (APP, with(message(), content.clone()), with(whole(), flat)),
        (ALL, with(message(), content), with(whole(), scalars)),
        (
            APP,
            with(message(), json!({ "type": "m.room.member", "membership": "ban", "user_is_target": false })),
            with(whole(), json!({ "type": "m.room.member", "membership": "ban", "user_is_target": "false" })),
        ),
        (
            APP,
            with(
                message(),
                json!({
                    "type": "m.room.member", "user_is_target": true, "content": { "membership": "invite" },
                }),
            ),
            with(
                without(whole(), &["content_msgtype", "content_body"]),
                json!({
                    "type": "m.room.member", "membership": "invite", "user_is_target": "true",
                    "content_membership": "invite",
                }),
            ),
        ),
        (APP, with(message(), json!({ "prio": "low" })), with(whole(), json!({ "prio": "normal" }))),
        (APP, ids(), few()),
        (APP, with(ids(), json!({ "content": { "body": "b" }, "sender": "@a:b", "room_name": "r" })), few()),
        (APP, without(ids(), &["room_id"]), without(few(), &["room_id"])),
    ] {
        let device = gateway.phone(app);
        gateway.deliver(notification.clone(), &device).await;
        assert_eq!(gateway.message(&device)["data"], data, "{notification}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_decimal_and_a_zero_is_left_out_but_in_a_badge_update() {
    let gateway =
        World::serving("", "", &[android_app(APP, ""), android_app("silent", "send_badge_counts = false")]).await;
    let normal = json!({ "prio": "normal" });
    for (app, notification, data) in [
        (APP, with(ids(), json!({ "counts": { "unread": 0, "missed_calls": 0 } })), few()),
        (APP, with(ids(), json!({ "counts": { "unread": 12 } })), with(few(), json!({ "unread": "12" }))),
        (
            APP,
            with(ids(), json!({ "counts": { "unread": 0, "missed_calls": 3 } })),
            with(few(), json!({ "missed_calls": "3" })),
        ),
        (APP, json!({ "counts": { "unread": 0 } }), with(normal.clone(), json!({ "unread": "0" }))),
        (APP, json!({}), with(normal.clone(), json!({ "unread": "0" }))),
        (
            APP,
            json!({ "prio": "high", "counts": { "missed_calls": 1 } }),
            with(normal.clone(), json!({ "unread": "0", "missed_calls": "1" })),
        ),
        (
            APP,
            json!({ "room_id": "!quarry:hs.example", "counts": { "unread": 4 } }),
            with(normal, json!({ "unread": "4" })),
        ),
        ("silent", with(ids(), json!({ "counts": { "unread": 12 } })), few()),
    ] {
        let device = gateway.phone(app);
        gateway.deliver(notification.clone(), &device).await;
        assert_eq!(gateway.message(&device)["data"], data, "{notification}");
    }
    gateway.drops(json!({ "counts": { "unread": 4 } }), &gateway.phone("silent")).await;
    let unwilling = with(gateway.phone(APP), json!({ "data": { "org.matrix.msc4076.disable_badge_count": true } }));
    gateway.drops(json!({ "counts": { "unread": 4 } }), &unwilling).await;
    let nothing = json!({ "type": "m.room.message", "content": { "msgtype": "m.text", "body": "b" } });
    gateway.drops(nothing, &gateway.phone(APP)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_devices_defaults_become_strings_and_ours_win() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    for (defaults, data) in [
        (
            json!({ "cs": "s", "n": 1, "f": -0.5, "t": true, "l": [1, "ä"], "o": { "b": null }, "null": null, "e": "" }),
            json!({ "cs": "s", "n": "1", "f": "-0.5", "t": "true", "l": "[1,\"ä\"]", "o": "{\"b\":null}" }),
        ),
        (
            json!({ "from": "x", "message_type": "x", "gcm": "x", "google": "x", "google.c.a": "x", "googlex": "x", "gcm.n": "x",
                 "From": "kept", "gcmx": "kept", "goog": "kept" }),
            json!({ "From": "kept", "gcmx": "kept", "goog": "kept" }),
        ),
        (
            json!({ "event_id": "evil", "prio": "evil", "unread": "99", "sound": "evil.caf", "type": "own" }),
            json!({ "unread": "2", "sound": "ring.caf", "type": "own" }),
        ),
        (json!({ "": "nameless", "ok": "x" }), json!({ "ok": "x" })),
        (json!(null), json!({})),
        (json!([]), json!({})),
        (json!("x"), json!({})),
    ] {
        let device = with(
            gateway.phone(APP),
            json!({ "data": { "default_payload": defaults }, "tweaks": { "sound": "ring.caf" } }),
        );
        gateway.deliver(with(ids(), json!({ "counts": { "unread": 2 } })), &device).await;
        let ours = with(few(), json!({ "unread": "2", "sound": "ring.caf" }));
        assert_eq!(gateway.message(&device)["data"], with(ours, data), "{defaults}");
    }
    let device =
        with(gateway.phone(APP), json!({ "data": { "default_payload": { "cs": "s", "aps": { "alert": "x" } } } }));
    gateway.deliver(json!({ "counts": { "unread": 2 } }), &device).await;
    let message = gateway.message(&device);
    assert_eq!(message["data"], json!({ "cs": "s", "unread": "2", "prio": "normal" }));
    assert_eq!(message.get("apns"), None, "an alert would show");
}

#[tokio::test(flavor = "multi_thread")]
async fn tweaks_are_sent_if_they_are_set() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let highlight = json!({ "highlight": "true" });
    for (tweaks, data) in [
        (json!({ "sound": "default", "highlight": true }), json!({ "sound": "default", "highlight": "true" })),
        (json!({ "highlight": "" }), highlight.clone()),
        (json!({ "highlight": 0 }), highlight.clone()),
        (json!({ "highlight": [] }), highlight),
        (json!({ "highlight": false, "sound": "" }), json!({})),
        (json!({ "highlight": null, "sound": true, "other": "x" }), json!({})),
        (json!({ "sound": ["x"] }), json!({})),
        (json!([]), json!({})),
        (json!("sound"), json!({})),
        (json!(null), json!({})),
    ] {
        let device = with(gateway.phone(APP), json!({ "tweaks": tweaks }));
        gateway.deliver(ids(), &device).await;
        assert_eq!(gateway.message(&device)["data"], with(few(), data), "{tweaks}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_is_sent_whole_or_not_at_all() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let sealed =
        json!({ "ciphertext": "x".repeat(3000), "ephemeral": "ZXBo", "mac": "bWFj", "counts": { "unread": 2 } });
    let device = with(gateway.phone(APP), json!({ "data": { "default_payload": { "cs": "s" } } }));
    gateway.deliver(sealed, &device).await;
    let data = json!({
        "cs": "s", "ciphertext": "x".repeat(3000), "ephemeral": "ZXBo", "mac": "bWFj", "unread": "2", "prio": "high",
    });
    assert_eq!(gateway.message(&device)["data"], data);
    gateway.drops(json!({ "ciphertext": "x".repeat(4096) }), &gateway.phone(APP)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_of_the_dart_sdk_get_their_layout_as_json_texts() {
    let gateway = World::serving("", "", &[android_app(APP, "data_layout = \"json\"")]).await;
    let tweaks = json!({ "sound": "default" });
    let own = json!({ "data_message": "android", "default_payload": { "cs": "s", "room_id": "evil" } });
    let device = with(gateway.phone(APP), json!({ "data": own, "tweaks": tweaks }));
    let content = json!({ "msgtype": "m.text", "body": "Lunch?", "n": 1 });
    gateway
        .deliver(with(message(), json!({ "content": content, "counts": { "unread": 0, "missed_calls": 0 } })), &device)
        .await;
    let mut data = gateway.message(&device)["data"].take();
    for (key, expected) in [
        ("counts", json!({ "unread": 0, "missed_calls": 0 })),
        ("content", content),
        ("devices", json!([with(without(device.clone(), &["pushkey"]), json!({}))])),
    ] {
        let text = data[key].take();
        let value: Value = serde_json::from_str(text.as_str().expect("a text")).expect("JSON");
        assert_eq!(value, expected);
    }
    let plain = with(without(whole(), &["content_msgtype", "content_body"]), json!({ "cs": "s" }));
    assert_eq!(without(data, &["counts", "content", "devices"]), plain);

    // `{"msgtype":"m.text","body":""}` takes 30 bytes.
    for (bytes, stays) in [(1024 - 30, true), (1025 - 30, false)] {
        let device = gateway.phone(APP);
        let content = json!({ "content": { "msgtype": "m.text", "body": "b".repeat(bytes) } });
        assert_eq!(content["content"].to_string().len(), bytes + 30);
        gateway.deliver(with(message(), content), &device).await;
        assert_eq!(gateway.message(&device)["data"].get("content").is_some(), stays, "{bytes}");
    }
}
