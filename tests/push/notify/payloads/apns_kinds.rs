//! Payloads for APNs by the kind of notification: whole events, identifiers alone, badges, ciphertexts, calls.
//!
//! Invariant: the notification decides the kind, never the device's data.

use harness::world::push::{World, ids, ios_app, message, with, without};
use serde_json::{Value, json};

const APP: &str = "org.example.ios";

/// A default payload that must not appear in other kinds.
fn defaults() -> Value {
    json!({ "default_payload": { "aps": { "mutable-content": 1, "alert": { "loc-key": "N" } }, "cs": "mine" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_and_counts_go_beside_the_default_payload() {
    let apps = [ios_app(APP, ""), ios_app("org.example.badge", "event_id_only_badge = true")];
    let gateway = World::serving("", "", &apps).await;
    let aps = json!({ "mutable-content": 1, "alert": { "loc-key": "N" } });
    let (room, event) = ("!quarry:hs.example", "$slate");
    for (app, changes, data, expected) in [
        (APP, json!({}), json!({}), json!({ "room_id": room, "event_id": event })),
        (
            APP,
            json!({ "counts": { "unread": 0, "missed_calls": 0 } }),
            defaults(),
            json!({
                "aps": aps, "cs": "mine", "room_id": room, "event_id": event, "unread_count": 0, "missed_calls": 0,
            }),
        ),
        (
            APP,
            json!({ "counts": { "missed_calls": 4 }, "room_id": null }),
            json!({}),
            json!({ "event_id": event, "missed_calls": 4 }),
        ),
        (
            APP,
            json!({ "counts": { "unread": 7 } }),
            json!({ "default_payload": { "event_id": "evil", "room_id": 5, "unread_count": "many", "n": [1, null] } }),
            json!({ "room_id": room, "event_id": event, "unread_count": 7, "n": [1, null] }),
        ),
        (
            APP,
            json!({ "sender": "@wilma:hs.example", "content": { "msgtype": "m.text", "body": "b" } }),
            json!({ "format": "full" }),
            json!({ "room_id": room, "event_id": event }),
        ),
        (
            "org.example.badge",
            json!({ "counts": { "unread": 7, "missed_calls": 1 } }),
            json!({}),
            json!({ "aps": { "badge": 8 }, "room_id": room, "event_id": event, "unread_count": 7, "missed_calls": 1 }),
        ),
    ] {
        let device = with(gateway.iphone(app), json!({ "data": data }));
        gateway.deliver(with(ids(), changes), &device).await;
        assert_eq!(gateway.push(&device).json(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_a_type_has_an_alert_in_every_format() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    let device = with(gateway.iphone(APP), json!({ "data": { "format": "event_id_only" } }));
    gateway.deliver(message(), &device).await;
    assert_eq!(gateway.push(&device).json()["aps"]["alert"]["loc-key"], "MSG_FROM_USER_IN_ROOM_WITH_CONTENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_without_an_event_is_a_badge_and_nothing_else() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    for (notification, badge) in [
        (json!({ "counts": { "unread": 0 } }), 0),
        (json!({ "counts": {} }), 0),
        (json!({}), 0),
        (json!({ "counts": null, "event_id": "", "type": "" }), 0),
        (json!({ "id": "", "type": null, "sender": "", "counts": { "unread": 3 } }), 3),
        (json!({ "id": "$old", "counts": { "missed_calls": 2 } }), 2),
        (json!({ "room_id": "!quarry:hs.example", "counts": { "unread": 3, "missed_calls": 2 } }), 5),
    ] {
        let device = with(gateway.iphone(APP), json!({ "data": defaults() }));
        gateway.deliver(notification.clone(), &device).await;
        assert_eq!(gateway.push(&device).json(), json!({ "aps": { "badge": badge } }), "{notification}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_badge_counts_gets_none_in_any_kind_of_payload() {
    let apps =
        [ios_app(APP, ""), ios_app("org.example.silent", "send_badge_counts = false\nevent_id_only_badge = true")];
    let gateway = World::serving("", "", &apps).await;
    let counts = json!({ "counts": { "unread": 3, "missed_calls": 1 } });
    let off = |name: &str| json!({ name: true });
    for (app, data) in [
        ("org.example.silent", json!({})),
        (APP, off("org.matrix.msc4076.disable_badge_count")),
        (APP, off("disable_badge_count")),
    ] {
        let device = |gateway: &World| with(gateway.iphone(app), json!({ "data": data }));
        let full = device(&gateway);
        gateway.deliver(with(message(), counts.clone()), &full).await;
        assert_eq!(gateway.push(&full).json()["aps"].as_object().unwrap().keys().collect::<Vec<_>>(), ["alert"]);
        let only_ids = device(&gateway);
        gateway.deliver(with(ids(), counts.clone()), &only_ids).await;
        assert_eq!(gateway.push(&only_ids).json(), ids());
        gateway.drops(counts.clone(), &device(&gateway)).await;
        gateway
            .drops(with(message(), json!({ "type": "m.room.member", "counts": { "unread": 3 } })), &device(&gateway))
            .await;
    }
    for not_true in [json!("true"), json!(1), json!(null), json!(false)] {
        let device = with(gateway.iphone(APP), json!({ "data": { "disable_badge_count": not_true } }));
        gateway.deliver(counts.clone(), &device).await;
        assert_eq!(gateway.push(&device).json(), json!({ "aps": { "badge": 4 } }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ciphertext_is_passed_on_whole_or_not_at_all() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    let sealed = json!({ "ciphertext": "c2VhbGVk", "ephemeral": "ZXBo", "mac": "bWFj", "counts": { "unread": 2 } });
    let device = with(gateway.iphone(APP), json!({ "data": defaults() }));
    gateway.deliver(sealed.clone(), &device).await;
    let aps = json!({ "mutable-content": 1, "alert": { "loc-key": "N" } });
    let expected = json!({
        "aps": aps, "cs": "mine", "ciphertext": "c2VhbGVk", "ephemeral": "ZXBo", "mac": "bWFj", "unread_count": 2,
    });
    assert_eq!(gateway.push(&device).json(), expected);

    // `{"ciphertext": ""}` takes 18 bytes.
    let exact = "x".repeat(4096 - 18);
    let device = gateway.iphone(APP);
    gateway.deliver(json!({ "ciphertext": exact }), &device).await;
    assert_eq!(gateway.push(&device).body.len(), 4096);
    gateway.drops(json!({ "ciphertext": format!("{exact}x") }), &gateway.iphone(APP)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_for_calls_is_woken_for_calls_alone() {
    let apps = [
        ios_app("org.example.voip", "push_type = \"voip\""),
        ios_app("org.example.ring", "push_type = \"voip\"\ncall_types = [\"org.example.ring\"]"),
        ios_app("org.example.all", "push_type = \"voip\"\nvoip_events = \"all\""),
    ];
    let gateway = World::serving("", "", &apps).await;
    let default_types = ["m.call.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification"];
    let taken = default_types.map(|call| ("org.example.voip", call)).into_iter().chain([
        ("org.example.ring", "org.example.ring"),
        ("org.example.all", "m.call.invite"),
        ("org.example.all", "m.room.message"),
    ]);
    for (app, event_type) in taken {
        let device = gateway.iphone(app);
        let ring = json!({ "notification_type": "ring", "lifetime": 30_000 });
        gateway.deliver(with(message(), json!({ "type": event_type, "content": ring })), &device).await;
        let push = gateway.push(&device);
        assert_eq!(push.json()["type"], event_type);
        assert_eq!(push.json()["room_id"], "!quarry:hs.example");
        assert_eq!(push.header("apns-topic"), Some("com.example.app.voip"));
    }
    for (app, notification) in [
        ("org.example.voip", message()),
        ("org.example.voip", with(message(), json!({ "type": "m.call.hangup" }))),
        ("org.example.voip", with(message(), json!({ "type": "org.matrix.msc3401.call.member" }))),
        ("org.example.voip", with(message(), json!({ "type": "m.rtc.notification", "content": null }))),
        ("org.example.voip", ids()),
        ("org.example.voip", json!({ "counts": { "unread": 1 } })),
        ("org.example.voip", without(message(), &["type"])),
        ("org.example.ring", with(message(), json!({ "type": "m.call.invite" }))),
    ] {
        gateway.drops(notification, &gateway.iphone(app)).await;
    }
}
