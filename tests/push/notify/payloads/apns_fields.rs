//! Single fields of payloads for Apple: the device's and the operator's defaults, badge, sound, level, thread.
//!
//! Invariant: the gateway's values override the device's, and the device's override the operator's.

use harness::world::push::{World, ids, ios_app, message, with};
use serde_json::{Value, json};

const APP: &str = "org.example.ios";

fn says() -> Value {
    json!({ "loc-key": "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", "loc-args": ["Wilma", "Quarry", "Lunch?"] })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_devices_default_payload_is_kept_but_for_what_is_ours() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    for (defaults, aps, others) in [
        (json!({}), json!({ "alert": says() }), json!({})),
        (
            json!({ "aps": { "mutable-content": 1, "alert": { "title": "T", "loc-key": "x", "loc-args": [1] } }, "a": [] }),
            json!({ "mutable-content": 1, "alert": with(says(), json!({ "title": "T" })) }),
            json!({ "a": [] }),
        ),
        (
            json!({ "aps": { "alert": "Hello" } }),
            json!({ "alert": with(says(), json!({ "body": "Hello" })) }),
            json!({}),
        ),
        (json!({ "aps": { "alert": 5, "sound": "s" } }), json!({ "alert": says(), "sound": "s" }), json!({})),
        (json!({ "aps": "x", "k": { "deep": null } }), json!({ "alert": says() }), json!({ "k": { "deep": null } })),
        (json!({ "aps": null }), json!({ "alert": says() }), json!({})),
        (json!({ "room_id": "!evil", "event_id": { "evil": 1 } }), json!({ "alert": says() }), json!({})),
        (json!(null), json!({ "alert": says() }), json!({})),
        (json!(["aps"]), json!({ "alert": says() }), json!({})),
        (json!("aps"), json!({ "alert": says() }), json!({})),
        (json!(5), json!({ "alert": says() }), json!({})),
    ] {
        let device = with(gateway.iphone(APP), json!({ "data": { "default_payload": defaults } }));
        gateway.deliver(message(), &device).await;
        let ours = json!({ "aps": aps, "room_id": "!quarry:hs.example", "event_id": "$slate" });
        assert_eq!(gateway.push(&device).json(), with(others, ours), "{defaults}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_payload_lies_under_the_devices() {
    let keys =
        "payload = { aps = { mutable-content = 1, category = \"C\", alert = { title = \"T\" } }, from = \"op\" }";
    let gateway = World::serving("", "", &[ios_app(APP, keys)]).await;
    let device = gateway.iphone(APP);
    gateway.deliver(message(), &device).await;
    let aps = json!({ "mutable-content": 1, "category": "C", "alert": with(says(), json!({ "title": "T" })) });
    let expected = json!({ "aps": aps, "from": "op", "room_id": "!quarry:hs.example", "event_id": "$slate" });
    assert_eq!(gateway.push(&device).json(), expected);

    let defaults =
        json!({ "default_payload": { "aps": { "category": "D", "alert": { "subtitle": "S" } }, "from": 1 } });
    let device = with(gateway.iphone(APP), json!({ "data": defaults }));
    gateway.deliver(ids(), &device).await;
    let aps = json!({ "mutable-content": 1, "category": "D", "alert": { "title": "T", "subtitle": "S" } });
    assert_eq!(gateway.push(&device).json(), with(ids(), json!({ "aps": aps, "from": 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_badge_is_what_is_unread_and_missed_together() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    for (counts, badge) in [
        (json!(null), json!(null)),
        (json!({ "unread": 0 }), json!(0)),
        (json!({ "unread": 2 }), json!(2)),
        (json!({ "missed_calls": 1 }), json!(1)),
        (json!({ "unread": 2, "missed_calls": 1 }), json!(3)),
        (json!({ "unread": 2_147_483_647, "missed_calls": 2_147_483_647 }), json!(2_147_483_647)),
        (json!({ "unread": -5, "missed_calls": 1 }), json!(1)),
    ] {
        let data = json!({ "data": { "default_payload": { "aps": { "badge": 99 } } } });
        let device = with(gateway.iphone(APP), if counts.is_object() { data } else { json!({}) });
        gateway.deliver(with(message(), json!({ "counts": counts })), &device).await;
        assert_eq!(gateway.push(&device).json()["aps"]["badge"], badge, "{counts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sound_of_a_push_rule_is_passed_on_if_it_can_be_a_files_name() {
    let gateway =
        World::serving("", "", &[ios_app(APP, ""), ios_app("org.example.quiet", "tweak_sound = false")]).await;
    let longest = "a".repeat(64);
    for (app, sound, expected) in [
        (APP, json!("default"), json!("default")),
        (APP, json!("Ring-2_b.caf"), json!("Ring-2_b.caf")),
        (APP, json!(longest), json!(longest)),
        (APP, json!(format!("{longest}a")), json!("own.caf")),
        (APP, json!(""), json!("own.caf")),
        (APP, json!("../own"), json!("own.caf")),
        (APP, json!("a b"), json!("own.caf")),
        (APP, json!("ré"), json!("own.caf")),
        (APP, json!("a\nb"), json!("own.caf")),
        (APP, json!({ "name": "default" }), json!("own.caf")),
        (APP, json!(true), json!("own.caf")),
        (APP, json!(null), json!("own.caf")),
        ("org.example.quiet", json!("default"), json!("own.caf")),
    ] {
        let data = json!({ "default_payload": { "aps": { "sound": "own.caf" } } });
        let device = with(gateway.iphone(app), json!({ "tweaks": { "sound": sound }, "data": data }));
        gateway.deliver(message(), &device).await;
        assert_eq!(gateway.push(&device).json()["aps"]["sound"], expected, "{sound}");
    }
    let device = with(gateway.iphone(APP), json!({ "tweaks": { "sound": "default" } }));
    gateway.deliver(ids(), &device).await;
    assert_eq!(gateway.push(&device).json(), ids(), "an app that fetches the event decides for itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn highlights_and_threads_are_marked_if_the_operator_wants_it() {
    let marking = "highlight_level = \"time-sensitive\"\nthread_id = true";
    let gateway = World::serving("", "", &[ios_app(APP, ""), ios_app("org.example.marking", marking)]).await;
    let marked = json!("time-sensitive");
    for (app, highlight, level) in [
        ("org.example.marking", json!(true), marked.clone()),
        ("org.example.marking", json!(""), marked.clone()),
        ("org.example.marking", json!(0), marked.clone()),
        ("org.example.marking", json!({}), marked),
        ("org.example.marking", json!(false), json!(null)),
        ("org.example.marking", json!(null), json!(null)),
        (APP, json!(true), json!(null)),
    ] {
        let device = with(gateway.iphone(app), json!({ "tweaks": { "highlight": highlight } }));
        gateway.deliver(message(), &device).await;
        let aps = &gateway.push(&device).json()["aps"];
        assert_eq!(aps["interruption-level"], level, "{highlight}");
        let thread = if app == APP { json!(null) } else { json!("!quarry:hs.example") };
        assert_eq!(aps["thread-id"], thread);
    }
}
