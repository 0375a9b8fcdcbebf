//! Steps of the clock: pauses, limits and open circuits of a clock that was ahead end in their own length.
//!
//! Invariant: the binary itself runs under the stepped clock. It steps back from the right time, because the push
//! services accept no credentials from the future.

use std::time::Duration;

use harness::apns;
use harness::clock::SteppedClock;
use harness::fcm::Fault;
use harness::wait::wait_for;
use harness::world::push::{DEADLINE, Settings, World, android_device, ios_device, token};
use serde_json::{Value, json};

/// Less than the life of the provider token, which stays valid for the push service.
const BACK: i64 = -25 * 60;

async fn world(clock: &SteppedClock, tables: &str) -> World {
    World::with(Settings { tables, environment: &clock.environment(), ..Settings::default() }).await
}

/// Posts events for the device until one is accepted.
async fn wait_for_delivery(world: &World, what: &str, device: Value) {
    let mut number = 0;
    wait_for(what, DEADLINE, async || {
        number += 1;
        let answer = world.notify_message(&format!("$wait for {what} {number}"), json!([device])).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        (answer.code() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_of_a_device_and_of_a_project_ends() {
    let Some(clock) = SteppedClock::ahead_by(0) else { return };
    let world = world(&clock, "").await;
    for phone in ["one", "two", "three"] {
        world.google.fault_times_for(phone, 1, Fault::quota_exceeded().with_header("retry-after", "4"));
        let answer = world.notify_message("$paused", json!([android_device(phone)])).await;
        assert_ne!(answer.code(), 200, "{answer}");
    }
    let paused = world.notify_message("$project", json!([android_device("other")])).await;
    assert_ne!(paused.code(), 200, "three paused devices pause the project: {paused}");
    clock.set(BACK);
    wait_for_delivery(&world, "the end of the project's pause", android_device("other")).await;
    wait_for_delivery(&world, "the end of the device's pause", android_device("one")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_of_an_iphone_ends() {
    let Some(clock) = SteppedClock::ahead_by(0) else { return };
    let world = world(&clock, "").await;
    world.apple.allow_token_updates();
    let iphone = ios_device(&token('a'));
    world.apple.fault_times(&token('a'), 1, apns::Fault::error(429, "TooManyRequests"));
    for event in ["$refused", "$paused"] {
        let answer = world.notify_message(event, json!([iphone])).await;
        assert_ne!(answer.code(), 200, "{answer}");
    }
    assert_eq!(world.apple.requests().len(), 1, "the device is paused");
    clock.set(BACK);
    // Well before the pause would end on a clock that never stepped.
    let delivery = wait_for_delivery(&world, "the end of the pause", iphone);
    tokio::time::timeout(Duration::from_secs(15), delivery).await.expect("a delivery");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_a_device_and_of_a_client_do_not_shut() {
    let Some(clock) = SteppedClock::ahead_by(0) else { return };
    let world = world(&clock, "[limits]\nper_pushkey = \"20/min\"\n").await;
    // The gateway cannot know that its clock was right before, and makes a new provider token.
    world.apple.allow_token_updates();
    let iphone = ios_device(&token('a'));
    let mut codes = Vec::new();
    for number in 0..30 {
        codes.push(world.notify_message(&format!("${number}"), json!([iphone])).await.code());
    }
    assert!(codes[..20] == [200; 20] && codes.contains(&429), "{codes:?}");
    clock.set(BACK);
    wait_for_delivery(&world, "the device's limit", iphone.clone()).await;
    let before = world.apple.requests_for(&token('a')).len();
    wait_for_delivery(&world, "its next push", iphone).await;
    assert_eq!(world.apple.requests_for(&token('a')).len(), before + 1);
    drop(world);

    clock.set(0);
    let world = self::world(&clock, "[limits]\nper_ip = \"20/min\"\n").await;
    world.apple.allow_token_updates();
    let mut codes = Vec::new();
    for number in 0..30 {
        codes.push(world.notify_message(&format!("${number}"), json!([ios_device(&token('b'))])).await.code());
    }
    assert!(codes.contains(&429), "{codes:?}");
    clock.set(BACK);
    wait_for_delivery(&world, "the client's limit", ios_device(&token('b'))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_is_tried_again_and_a_repetition_is_still_known() {
    let Some(clock) = SteppedClock::ahead_by(0) else { return };
    let world = world(&clock, "").await;
    world.notify_message("$known", json!([android_device("phone")])).await.expect(200);
    world.google.fault(Fault::html(502));
    for number in 0..10 {
        world.notify_message(&format!("${number}"), json!([android_device("phone")])).await.refused(502, "M_UNKNOWN");
    }
    world.server.wait_for_log("circuit breaker opened", DEADLINE).await;
    clock.set(BACK);
    world.google.mend();
    wait_for_delivery(&world, "the probe", android_device("phone")).await;
    let before = world.google.messages_for("phone").len();
    world.notify_message("$known", json!([android_device("phone")])).await.expect(200);
    assert_eq!(world.google.messages_for("phone").len(), before, "it was delivered before the step");
    // Its own clock calls the access token good for 25 more minutes than Google does.
    world.google.expire_tokens();
    wait_for_delivery(&world, "a new access token", android_device("phone")).await;
}
