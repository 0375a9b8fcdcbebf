//! What reaches a Huawei phone, and with which header.

use harness::api::Api;
use harness::world::push::{World, huawei_app, ids, message, with};
use serde_json::{Value, json};
use shared::clock::Clock;

use super::{CALLS, HARMONY, HMS, world};

fn inner(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("text")).expect("JSON")
}

/// A notification of a call that rings for `life` milliseconds, sent `age` milliseconds ago.
fn call(age: i64, life: u64) -> Value {
    let sent = Clock::system().now().as_millis() - age;
    let content = json!({ "notification_type": "ring", "sender_ts": sent, "lifetime": life });
    with(message(), json!({ "type": "m.rtc.notification", "content": content }))
}

#[tokio::test(flavor = "multi_thread")]
async fn harmony_shows_a_notification_with_its_texts() {
    let world = world().await;
    let device = world.huawei_phone(HARMONY);
    world.deliver(with(message(), json!({ "counts": { "unread": 2, "missed_calls": 1 } })), &device).await;
    let request = world.huawei_message(&device);
    assert!(request.is_accepted && request.is_http2);
    assert_eq!((request.header("push-type"), request.header("content-type")), (Some("0"), Some("application/json")));
    let click = json!({ "actionType": 0, "data": { "event_id": "$slate", "room_id": "!quarry:hs.example" } });
    let expected = json!({
        "payload": { "notification": {
            "category": "IM", "title": "Wilma (Quarry)", "body": "Lunch?", "clickAction": click, "badge": { "setNum": 3 },
        } },
        "target": { "token": [device["pushkey"]] },
        "pushOptions": { "ttl": 86_400, "collapseKey": -1 },
    });
    assert_eq!(request.json(), expected);

    let device = world.huawei_phone(HARMONY);
    world.deliver(ids(), &device).await;
    let shown = &world.huawei_message(&device).json()["payload"]["notification"];
    assert_eq!((&shown["title"], &shown["body"]), (&json!("New message"), &json!("Open the app to read it")));
}

#[tokio::test(flavor = "multi_thread")]
async fn harmony_hides_encrypted_events_and_names_what_replaces_what() {
    let keys = "notify_id = \"room\"\napp_message_id = true\nprofile_id = \"account\"\n";
    let world = World::serving("", "", &[huawei_app(3, HARMONY, keys)]).await;
    let device = with(world.huawei_phone(HARMONY), json!({ "data": { "account": "wilma" } }));
    let event = json!({ "type": "m.room.encrypted", "content": { "ciphertext": "x", "body": "Lunch?" } });
    world.deliver(with(message(), event), &device).await;
    let request = world.huawei_message(&device);
    assert!(request.is_accepted);
    let shown = &request.json()["payload"]["notification"];
    assert_eq!([&shown["title"], &shown["body"]], ["New message", "Open the app to read it"]);
    assert_eq!([&shown["appMessageId"], &shown["profileId"]], ["$slate", "wilma"]);
    // The first 31 bits of SHA-256 of the room's ID.
    assert_eq!(shown["notifyId"], 448_620_281);
}

#[tokio::test(flavor = "multi_thread")]
async fn hms_gets_the_flat_data_as_text() {
    let world = world().await;
    let device = with(world.huawei_phone(HMS), json!({ "data": { "default_payload": { "cs": "mine" } } }));
    world.deliver(message(), &device).await;
    let request = world.huawei_message(&device);
    assert_eq!((request.header("push-type"), request.is_accepted), (None, true));
    assert_eq!(request.header("content-type"), Some("application/json; charset=UTF-8"));
    let body = request.json();
    assert_eq!(
        inner(&body["message"]["data"]),
        json!({
            "event_id": "$slate", "room_id": "!quarry:hs.example", "type": "m.room.message", "sender": "@wilma:hs.example",
            "sender_display_name": "Wilma", "room_name": "Quarry", "prio": "high", "content_msgtype": "m.text",
            "content_body": "Lunch?", "cs": "mine",
        })
    );
    assert_eq!(body["message"]["android"], json!({ "urgency": "HIGH", "ttl": "86400s", "collapse_key": -1 }));

    let keys = "push_type = \"notification\"\nclass = \"com.example.Main\"\ntitle_template = \"{room}: {sender}\"\nttl = \"1h\"\n";
    let world = World::serving("", "", &[huawei_app(1, HMS, keys)]).await;
    let device = world.huawei_phone(HMS);
    world.deliver(with(message(), json!({ "counts": { "unread": 150 }, "prio": "low" })), &device).await;
    let body = world.huawei_message(&device).json();
    let android = json!({ "urgency": "NORMAL", "ttl": "3600s", "collapse_key": -1, "notification": {
        "title": "Quarry: Wilma", "body": "Lunch?", "click_action": { "type": 3 },
        "badge": { "set_num": 99, "class": "com.example.Main" },
    } });
    assert_eq!(body["message"]["android"], android);
    assert_eq!(inner(&body["message"]["data"])["unread"], "150");
}

#[tokio::test(flavor = "multi_thread")]
async fn badge_updates_are_numbers_and_nudges_are_silent() {
    let world = world().await;
    for unread in [7, 0] {
        let (harmony, hms) = (world.huawei_phone(HARMONY), world.huawei_phone(HMS));
        let update = json!({ "counts": { "unread": unread } });
        world.deliver(update.clone(), &harmony).await;
        world.deliver(update.clone(), &hms).await;
        world.drops(update, &world.huawei_phone(CALLS)).await;
        let request = world.huawei_message(&harmony);
        let badge = json!({ "notification": { "badge": { "setNum": unread } } });
        assert_eq!(request.json(), json!({ "payload": badge, "target": { "token": [harmony["pushkey"]] } }));
        assert_eq!((request.header("push-type"), request.is_accepted), (Some("0"), true));
        let body = world.huawei_message(&hms).json();
        assert_eq!(inner(&body["message"]["data"]), json!({ "unread": unread.to_string(), "prio": "normal" }));
        assert_eq!(body["message"]["android"]["urgency"], "NORMAL");
    }
    let nudge = "badge_updates = \"nudge\"\n";
    let world = World::serving("", "", &[huawei_app(3, HARMONY, nudge), huawei_app(1, HMS, nudge)]).await;
    let (harmony, hms) = (world.huawei_phone(HARMONY), world.huawei_phone(HMS));
    for device in [&harmony, &hms] {
        world.deliver(json!({ "counts": { "unread": 1 } }), device).await;
        world.deliver(json!({ "counts": { "unread": 2 } }), device).await;
    }
    let request = world.huawei_message(&harmony);
    assert_eq!(inner(&request.json()["payload"]["extraData"]), json!({ "nudge": "1" }));
    assert_eq!((request.header("push-type"), request.is_accepted), (Some("6"), true));
    let request = world.huawei_message(&hms);
    assert_eq!(inner(&request.json()["message"]["data"]), json!({ "nudge": "1" }));
    assert!(request.is_accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_live_as_long_as_they_ring() {
    let world = world().await;
    let devices = [HARMONY, HMS, CALLS].map(|app| world.huawei_phone(app));
    for device in &devices {
        world.deliver(call(5_000, 45_000), device).await;
    }
    let [harmony, hms, voip] = devices.map(|device| world.huawei_message(&device));
    assert!(harmony.is_accepted && hms.is_accepted && voip.is_accepted);
    assert_eq!(harmony.json()["payload"]["notification"]["category"], "VOIP");
    let seconds = harmony.json()["pushOptions"]["ttl"].as_u64().expect("seconds");
    assert!((37..=40).contains(&seconds), "{seconds}");
    let android = &hms.json()["message"]["android"];
    let ttl = android["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse::<u64>().ok()).expect("seconds");
    assert!((37..=40).contains(&ttl) && android["urgency"] == "HIGH", "{android}");
    assert_eq!(voip.header("push-type"), Some("10"));
    assert_eq!(inner(&voip.json()["payload"]["extraData"])["type"], "m.rtc.notification");

    let device = world.huawei_phone(CALLS);
    world.deliver(call(0, 2_000), &device).await;
    assert_eq!(world.huawei_message(&device).json()["pushOptions"], json!({ "ttl": 30 }));
    let device = world.huawei_phone(HARMONY);
    world.deliver(call(40_000, 30_000), &device).await;
    let missed = world.huawei_message(&device).json();
    assert_eq!(
        (&missed["payload"]["notification"]["category"], &missed["pushOptions"]["ttl"]),
        (&json!("MISS_CALL"), &json!(86_400))
    );
    world.drops(call(40_000, 30_000), &world.huawei_phone(CALLS)).await;
    world.drops(message(), &world.huawei_phone(CALLS)).await;
    let metrics = Api::new(&world.server.admin_url()).get("/metrics").send().await.text();
    for reason in ["call_expired", "not_a_call"] {
        assert!(metrics.contains(&format!("type=\"huawei\",outcome=\"dropped\",reason=\"{reason}\"")), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_fits() {
    let keys = ["push_type = \"data\"\n", "push_type = \"extension\"\n", "push_type = \"notification\"\n"];
    let apps = [
        huawei_app(3, "data", keys[0]),
        huawei_app(3, "extension", keys[1]),
        huawei_app(3, "shown", keys[2]),
        huawei_app(1, "hms data", keys[0]),
        huawei_app(1, "hms shown", keys[2]),
    ];
    let world = World::serving("", "", &apps).await;
    for body in ["é\"\\\n".repeat(3000), "x".repeat(200_000)] {
        for app in ["data", "extension", "shown", "hms data", "hms shown"] {
            let device = world.huawei_phone(app);
            let device =
                with(device, json!({ "data": { "default_payload": { "small": "1", "large": "y".repeat(90_000) } } }));
            let content = json!({ "msgtype": "m.text", "body": body, "extra": "z".repeat(50_000) });
            world.deliver(with(message(), json!({ "content": content })), &device).await;
            let request = world.huawei_message(&device);
            assert!(request.is_accepted && request.body.len() > 3000, "{app}: {}", request.body.len());
        }
    }
    let long = with(message(), json!({ "room_id": "!".repeat(5000) }));
    let device = world.huawei_phone("shown");
    world.drops(long, &device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_rejected_and_not_sent() {
    let world = world().await;
    let long = "a".repeat(513);
    let subscription = json!({ "endpoint": "https://push.example.net/x" });
    let key = harness::push_service::VAPID_PUBLIC;
    for app in [HARMONY, HMS] {
        for (pushkey, data) in [
            ("to ken", json!({})),
            ("é", json!({})),
            ("a\nb", json!({})),
            (&*long, json!({})),
            ("https://ntfy.sh/up", json!({})),
            ("ftp://x/y", json!({})),
            ("{}", json!({})),
            (key, subscription.clone()),
        ] {
            let device = json!({ "app_id": app, "pushkey": pushkey, "data": data });
            let answer = world.notify(&with(ids(), json!({ "devices": [device] }))).await;
            assert_eq!(answer.expect(200)["rejected"], json!([pushkey]), "{app}");
        }
    }
    assert!(world.huawei.messages().is_empty());
    let device = json!({ "app_id": HMS, "pushkey": "a/b+c==" });
    world.deliver(ids(), &device).await;
    world.huawei_message(&device);
}
