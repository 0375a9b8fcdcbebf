//! A notification from a homeserver to APNs and FCM, through the real binary.

use harness::world::push::{DEADLINE, NOTIFY, World, android_device, iphone, token};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_both_push_services_and_a_dead_pushkey_comes_back() {
    let world = World::start("").await;
    world.google.unregister("gone");
    let answer =
        world.notify_message("$one", json!([iphone('a'), android_device("phone"), android_device("gone")])).await;
    assert_eq!(answer.expect(200), json!({ "rejected": ["gone"] }));
    let pushed = world.apple.requests_for(&token('a'));
    assert_eq!(pushed.len(), 1);
    assert_eq!(pushed[0].header("apns-topic"), Some("com.example.app"));
    assert_eq!(pushed[0].json()["aps"]["badge"], 2);
    assert_eq!(pushed[0].json()["aps"]["alert"]["loc-key"], "MSG_FROM_USER_IN_ROOM_WITH_CONTENT");
    let messages = world.google.messages_for("phone");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["message"]["data"]["event_id"], "$one");
    world.server.wait_for_log("devices=3 delivered=2 dropped=0 rejected=1", DEADLINE).await;
    assert!(!world.server.logs().contains(&token('a')));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_push_service_did_not_take_is_all_that_the_retry_sends() {
    let world = World::start("").await;
    let busy = harness::apns::Fault::error(503, "ServiceUnavailable");
    world.apple.fault(&token('a'), busy);
    let devices = json!([iphone('a'), android_device("phone")]);
    world.notify_message("$two", devices.clone()).await.refused(502, "M_UNKNOWN");
    world.notify_message("$two", devices.clone()).await.refused(502, "M_UNKNOWN");
    world.apple.mend();
    let before = world.apple.requests_for(&token('a')).len();
    assert_eq!(world.notify_message("$two", devices.clone()).await.expect(200), json!({ "rejected": [] }));
    assert_eq!(world.notify_message("$two", devices).await.expect(200), json!({ "rejected": [] }));
    assert_eq!(world.apple.requests_for(&token('a')).len(), before + 1);
    assert_eq!(world.google.messages_for("phone").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mass_rejection_guard_stops_further_rejections() {
    let world = World::start("").await;
    let answer = |number: usize| {
        let device = json!({ "app_id": "com.example.unknown", "pushkey": format!("key{number}") });
        world.notify_message("$three", json!([device]))
    };
    for number in 0..19 {
        assert_eq!(answer(number).await.expect(200), json!({ "rejected": [format!("key{number}")] }));
    }
    answer(19).await.refused(502, "M_UNKNOWN");
    answer(20).await.refused(502, "M_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_device_twice_is_one_push_and_a_badge_update_is_never_suppressed() {
    let world = World::start("").await;
    world.notify_message("$four", json!([iphone('b'), iphone('b')])).await.expect(200);
    assert_eq!(world.apple.requests_for(&token('b')).len(), 1);
    for _ in 0..2 {
        let badge = json!({ "notification": { "counts": { "unread": 0 }, "devices": [iphone('b')] } });
        world.api.post(NOTIFY, badge).send().await.expect(200);
    }
    assert_eq!(world.apple.requests_for(&token('b')).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_not_be_pushed_to_without_end() {
    let world = World::start("[limits]\nper_pushkey = \"2/h\"").await;
    for event in ["$5", "$6"] {
        world.notify_message(event, json!([iphone('c')])).await.expect(200);
    }
    world.notify_message("$7", json!([iphone('c')])).await.refused(429, "M_LIMIT_EXCEEDED");
    world.notify_message("$7", json!([iphone('d')])).await.expect(200);
}
