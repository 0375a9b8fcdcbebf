//! What the responses of APNs and FCM mean for the homeserver.

use std::time::{Duration, Instant};

use harness::world::push::DEADLINE;
use harness::{apns, fcm};
use serde_json::json;

use super::{ONCE, RELAY, Relay, THRICE, assert_status, body, example, pushkey};

/// Without the mass-rejection guard.
const UNGUARDED: &str = "[rejection_breaker]\nenabled = false\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_apples_has_its_status() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}{UNGUARDED}")).await;
    let (error, gone) = (apns::Fault::error, apns::Fault::gone);
    let later = i64::MAX / 1000;
    for (fault, status, wait, calls) in [
        (gone("Unregistered", later), 410, None, 1),
        (gone("ExpiredToken", later), 410, None, 1),
        (apns::Fault::text(410, ""), 410, None, 1),
        (error(400, "BadDeviceToken"), 404, None, 1),
        (error(400, "DeviceTokenNotForTopic"), 404, None, 1),
        (error(403, "InvalidProviderToken"), 503, Some("300"), 1),
        (error(400, "BadTopic"), 503, Some("300"), 1),
        (error(400, "Something"), 503, Some("300"), 1),
        (error(429, "TooManyRequests"), 429, Some("30"), 1),
        (error(429, "TooManyProviderTokenUpdates"), 429, Some("30"), 1),
        (error(500, "InternalServerError"), 503, Some("30"), 1),
        (error(503, "").with_header("retry-after", "7"), 503, Some("7"), 1),
        (error(503, "").with_header("retry-after", "99999"), 503, Some("3600"), 1),
        // Once more without the body; a retry cannot help.
        (error(413, "PayloadTooLarge"), 201, None, 2),
        (apns::Fault::Reset(2), 503, Some("30"), 1),
    ] {
        let (device, path) = relay.iphone().await;
        let what = format!("{fault:?}");
        relay.world.apple.fault(pushkey(&device), fault);
        let answer = relay.push(&path, example()).send().await;
        assert_status(&answer, status, &what);
        assert_eq!((answer.header("retry-after"), relay.pushes(&device).len()), (wait, calls), "{what}");
        if status == 429 {
            assert_eq!(answer.json()["retry_after_ms"], 30_000);
        }
        // A dead device is known without a call.
        if matches!(status, 404 | 410) {
            assert_status(&relay.push(&path, body(130, 1)).send().await, status, "from memory");
            assert_eq!(relay.pushes(&device).len(), calls, "{what}");
            // A URL that was made later is a new registration.
            relay.world.apple.mend();
            let new = relay.path(&device, "").await;
            assert_status(&relay.push(&new, body(130, 2)).send().await, 201, "a new URL");
            assert_status(&relay.push(&path, body(130, 3)).send().await, status, "the former URL");
        }
    }
    let (device, path) = relay.iphone().await;
    relay.world.apple.fault_times(pushkey(&device), 1, error(413, ""));
    assert_status(&relay.push(&path, example()).send().await, 201, "413 once");
    assert_eq!(relay.pushes(&device)[1].json()["oversize"], "144");
    relay.world.server.wait_for_log("a relayed push is undeliverable", DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_googles_has_its_status() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}{UNGUARDED}")).await;
    for (fault, status, wait, calls) in [
        (fcm::Fault::unregistered(), 410, None, 1),
        (fcm::Fault::sender_id_mismatch(), 404, None, 1),
        (fcm::Fault::invalid_argument("message.token"), 404, None, 1),
        (fcm::Fault::invalid_argument("message.data[0].value"), 201, None, 2),
        (fcm::Fault::error(404, "NOT_FOUND"), 503, Some("300"), 1),
        (fcm::Fault::error(403, "PERMISSION_DENIED"), 503, Some("300"), 1),
        (fcm::Fault::third_party_auth_error(), 503, Some("300"), 1),
        (fcm::Fault::quota_exceeded(), 429, Some("60"), 1),
        (fcm::Fault::unavailable(), 503, Some("30"), 1),
        (fcm::Fault::html(502), 503, Some("30"), 1),
    ] {
        let (device, path) = relay.phone().await;
        let what = format!("{fault:?}");
        relay.world.google.fault_for(pushkey(&device), fault);
        let answer = relay.push(&path, example()).send().await;
        assert_status(&answer, status, &what);
        assert_eq!((answer.header("retry-after"), relay.messages(&device).len()), (wait, calls), "{what}");
        if calls == 2 {
            assert_eq!(relay.messages(&device)[1]["message"]["data"], json!({ "oversize": "144" }));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_gone_since_before_the_url_gets_one_more_try() {
    let relay = Relay::with(THRICE, THRICE, RELAY).await;
    let (device, path) = relay.iphone().await;
    relay.world.apple.fault(pushkey(&device), apns::Fault::gone("Unregistered", 1_453_500_000_000));
    assert_status(&relay.push(&path, example()).send().await, 503, "registered since");
    assert_status(&relay.push(&path, example()).send().await, 410, "still gone");
    assert_eq!(relay.pushes(&device).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rejected_memory_is_that_of_notify() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    relay.world.apple.fault(pushkey(&device), apns::Fault::error(400, "BadDeviceToken"));
    let answer = relay.world.notify_message("$e", json!([device])).await;
    assert_eq!(answer.expect(200)["rejected"], json!([device["pushkey"]]));
    assert_status(&relay.push(&path, example()).send().await, 404, "from memory");
    assert_eq!(relay.pushes(&device).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_environment_costs_no_pusher_in_bulk() {
    let relay = Relay::start().await;
    relay.world.apple.fault("", apns::Fault::error(400, "BadDeviceToken"));
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let (_, path) = relay.iphone().await;
        let answer = relay.push(&path, example()).send().await;
        if answer.code() == 503 {
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((800..=900).contains(&wait), "{wait}");
        }
        statuses.push(answer.code());
    }
    let expected: Vec<u16> = (0..30).map(|number| if number < 19 { 404 } else { 503 }).collect();
    assert_eq!(statuses, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_service_that_hangs_or_fails_is_503_in_time() {
    let relay = Relay::with(ONCE, "relay = true\n", RELAY).await;
    let (device, path) = relay.iphone().await;
    let (phone, of_phone) = relay.phone().await;
    relay.world.apple.fault(pushkey(&device), apns::Fault::Silence);
    relay.world.google.fault_for(pushkey(&phone), fcm::Fault::Silence);
    let began = Instant::now();
    let (apple, google) = tokio::join!(relay.push(&path, example()).send(), relay.push(&of_phone, example()).send());
    assert_status(&apple, 503, "one attempt");
    assert_status(&google, 503, "attempts until the deadline");
    assert!(began.elapsed() < Duration::from_secs(27), "{:?}", began.elapsed());
    relay.world.apple.mend();
    // A GOAWAY is resent.
    let (device, path) = relay.iphone().await;
    relay.world.apple.fault_times(pushkey(&device), 1, apns::Fault::GoAway { reason: "Shutdown", two_phase: false });
    assert_status(&relay.push(&path, example()).send().await, 201, "GOAWAY");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_is_503_with_the_rest_of_its_pause() {
    let relay = Relay::start().await;
    relay.world.apple.fault("", apns::Fault::error(500, "InternalServerError"));
    let mut last = None;
    for number in 0..11 {
        let (_, path) = relay.iphone().await;
        let answer = relay.push(&path, body(120, number)).send().await;
        assert_status(&answer, 503, "500");
        last = answer.header("retry-after").map(str::to_owned);
    }
    let wait: u64 = last.unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(relay.upstream(), 10);
    let ready = crate::push::admin::ready(&relay.world).await;
    assert!(ready.to_string().contains("circuit breaker"), "{ready}");
}
