//! Calls: how long they live at a push service, that they never wait behind messages, and that one device gets only so many.

use std::time::{Duration, Instant};

use harness::apns;
use harness::wait::wait_until;
use harness::world::push::{DEADLINE, NOTIFY, World, android_app, ios_app, message, message_body, with};
use serde_json::{Value, json};
use shared::clock::Clock;

const APP: &str = "org.example.app";
const VOIP: &str = "org.example.voip";

fn now() -> i64 {
    Clock::system().now().as_millis()
}

/// A notification of a call that rings for `life` milliseconds, sent `age` milliseconds ago.
fn call(event_id: &str, age: i64, life: u64) -> Value {
    let content = json!({ "notification_type": "ring", "sender_ts": now() - age, "lifetime": life });
    with(message(), json!({ "type": "m.rtc.notification", "event_id": event_id, "content": content, "prio": "low" }))
}

fn header<'a>(push: &'a apns::Request, name: &str) -> &'a str {
    push.header(name).unwrap_or_default()
}

/// How many seconds the push is stored.
fn stored(push: &apns::Request) -> i64 {
    header(push, "apns-expiration").parse::<i64>().expect("a time") - now() / 1000
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_stored_while_it_rings_and_its_decline_replaces_it() {
    let world = World::serving("", "", &[ios_app(APP, ""), ios_app(VOIP, "push_type = \"voip\"")]).await;
    let device = world.iphone(APP);
    world.deliver(call("$ring", 5_000, 60_000), &device).await;
    let ring = world.push(&device);
    assert!((53..=55).contains(&stored(&ring)), "{ring:?}");
    assert_eq!((header(&ring, "apns-priority"), header(&ring, "apns-push-type")), ("10", "alert"));
    assert_eq!(ring.json()["aps"]["alert"]["loc-key"], "VOICE_CALL_FROM_USER");

    let device = world.iphone(APP);
    let relation = json!({ "m.relates_to": { "rel_type": "m.reference", "event_id": "$ring" } });
    let decline = json!({ "type": "org.matrix.msc4310.rtc.decline", "event_id": "$no", "content": relation });
    world.deliver(with(message(), decline), &device).await;
    let decline = world.push(&device);
    let id = header(&ring, "apns-collapse-id");
    assert!(id.len() == 43 && header(&decline, "apns-collapse-id") == id && stored(&decline) > 86_000, "{decline:?}");

    // Too late for a call, but not for a missed one.
    let device = world.iphone(APP);
    world.deliver(call("$late", 40_000, 30_000), &device).await;
    let missed = world.push(&device);
    assert!(stored(&missed) > 86_000 && missed.header("apns-collapse-id").is_none(), "{missed:?}");
    assert_eq!(
        (header(&missed, "apns-priority"), &missed.json()["aps"]["alert"]["loc-key"]),
        ("5", &json!("MSG_FROM_USER"))
    );

    let device = world.iphone(VOIP);
    world.deliver(call("$ring", 0, 30_000), &device).await;
    let voip = world.push(&device);
    assert!((28..=30).contains(&stored(&voip)) && voip.header("apns-collapse-id").is_none(), "{voip:?}");
    world.drops(call("$late", 40_000, 30_000), &world.iphone(VOIP)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_is_made_after_the_end_of_the_call() {
    let world = World::serving("", "", &[ios_app(APP, "")]).await;
    world.apple.fault("", apns::Fault::error(503, "ServiceUnavailable"));
    for (life, attempts) in [(2_500, 1), (60_000, 3)] {
        let device = world.iphone(APP);
        let notification = with(call(&format!("${life}"), 0, life), json!({ "devices": [device] }));
        world.notify(&notification).await.refused(502, "M_UNKNOWN");
        let token = device["pushkey"].as_str().expect("a pushkey");
        assert_eq!(world.apple.requests_for(token).len(), attempts, "{life}");
    }
    world.apple.fault("", apns::Fault::Silence);
    let began = Instant::now();
    let notification = with(call("$silent", 0, 2_000), json!({ "devices": [world.iphone(APP)] }));
    world.notify(&notification).await.refused(502, "M_UNKNOWN");
    assert!(began.elapsed() < Duration::from_secs(7), "the caller waits no longer than the call rings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_never_waits_behind_messages() {
    let tables = "[limits]\nqueue_wait = \"20s\"\n";
    let world = World::serving("", tables, &[ios_app(APP, "max_concurrent = 4")]).await;
    world.apple.fault(&"f".repeat(64), apns::Fault::Silence);
    let stuck = |event: &str| {
        let device = json!({ "app_id": APP, "pushkey": "f".repeat(64) });
        world.api.post(NOTIFY, message_body(event, json!([device]))).send()
    };
    let mut waiting = tokio::task::JoinSet::new();
    (0..8).for_each(|number| drop(waiting.spawn(stuck(&format!("$stuck{number}")))));
    // The device never had a delivery, so it gets a quarter of the permits; so would every other one.
    wait_until("the silent push", DEADLINE, || !world.apple.requests_for(&"f".repeat(64)).is_empty()).await;
    for number in 0..8 {
        let device = world.iphone(APP);
        world.deliver(call(&format!("$ring{number}"), 0, 30_000), &device).await;
        world.push(&device);
    }
    assert!(waiting.try_join_next().is_none(), "a message was answered before the calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_call_of_a_minute_is_dropped_and_messages_are_not() {
    let world = World::serving("", "", &[android_app(APP, "")]).await;
    let device = world.phone(APP);
    let pushkey = device["pushkey"].as_str().expect("a pushkey").to_owned();
    let began = Instant::now();
    for number in 0..12 {
        world.deliver(call(&format!("$ring{number}"), 0, 30_000), &device).await;
    }
    let refilled = usize::try_from(began.elapsed().as_secs() / 6).expect("a small number");
    let sent = world.google.messages_for(&pushkey).len();
    assert!((10..=10 + refilled).contains(&sent), "{sent} calls, {refilled} refilled");
    assert_eq!(world.deliveries(APP, "dropped").await, 12 - sent as u64);
    world.deliver(message(), &device).await;
    assert_eq!(world.google.messages_for(&pushkey).len(), sent + 1);
}
