//! The outcome of a delivery after each response of APNs.

use std::time::Duration;

use harness::apns::Fault;
use harness::wait::wait_for;
use serde_json::{Value, json};

use super::{PATIENCE, World, deliver, deliver_event, ids, mistake, outage, rejected, token};
use crate::providers::apns::settings::PushType;
use crate::providers::outcome::Certainty::{Certain, Suspect};
use crate::providers::outcome::{Failure, Outcome};
use crate::upstream::options::Timing;

const WAIT: Option<Duration> = Some(Duration::from_secs(7));

fn pause(reason: &'static str, seconds: u64) -> Outcome {
    Failure::pause(reason, Duration::from_secs(seconds)).into()
}

/// A failure of this delivery alone that another attempt may avoid.
fn again(reason: &'static str) -> Outcome {
    Failure { retry_in_request: true, ..Failure::upstream(reason, None) }.into()
}

#[tokio::test]
async fn every_answer_has_its_outcome_after_one_request() {
    let world = World::new().await;
    let provider = world.provider();
    let outcomes = [
        (Fault::text(200, ""), Outcome::Delivered),
        (Fault::text(200, "<html>").without_id(), Outcome::Delivered),
        (Fault::gone("Unregistered", 1), rejected("Unregistered", Certain)),
        (Fault::gone("ExpiredToken", 1), rejected("ExpiredToken", Certain)),
        (Fault::error(410, "Unregistered"), rejected("Unregistered", Certain)),
        (Fault::text(410, "<html>"), rejected("none", Certain)),
        (Fault::text(410, ""), rejected("none", Certain)),
        (Fault::text(410, r#"{"reason":"Unregist"#).broken(), rejected("none", Certain)),
        (Fault::error(400, "BadDeviceToken"), rejected("BadDeviceToken", Suspect)),
        (Fault::error(400, "BadDeviceToken").without_id(), rejected("BadDeviceToken", Suspect)),
        (Fault::error(400, "DeviceTokenNotForTopic"), rejected("DeviceTokenNotForTopic", Suspect)),
        (Fault::error(429, "TooManyRequests"), pause("TooManyRequests", 30)),
        (Fault::text(429, "<html>"), pause("other", 30)),
        (Fault::error(400, "IdleTimeout"), again("IdleTimeout")),
        (Fault::error(500, "InternalServerError"), outage("InternalServerError", None)),
        (Fault::error(503, "ServiceUnavailable"), outage("ServiceUnavailable", None)),
        (Fault::error(503, "Shutdown"), outage("Shutdown", None)),
        (Fault::error(503, "Shutdown").with_header("retry-after", "7"), outage("Shutdown", WAIT)),
        (Fault::text(500, "").with_header("retry-after", "7"), outage("other", WAIT)),
        (Fault::text(500, "").with_header("retry-after", "soon"), outage("other", None)),
        (Fault::text(503, ""), outage("other", None)),
        (Fault::text(502, "<html>"), outage("other", None)),
        (Fault::text(500, "x").broken(), outage("other", None)),
        (Fault::Reset(2), outage("connection_lost", None)),
        (Fault::Reset(8), outage("connection_lost", None)),
        (Fault::Cut, outage("connection_lost", None)),
        (Fault::text(200, "x").endless(), Outcome::Delivered),
        (Fault::text(200, "x").broken(), Outcome::Delivered),
    ];
    for (number, (fault, expected)) in outcomes.into_iter().enumerate() {
        world.apple.fault(&token(number), fault.clone());
        assert_eq!(deliver(&provider, number).await, expected, "{fault:?}");
        assert_eq!(world.apple.requests_for(&token(number)).len(), 1, "{fault:?}");
        assert_eq!(deliver(&provider, 1000).await, Outcome::Delivered, "after {fault:?}");
    }
}

#[tokio::test]
async fn the_status_of_an_endless_answer_decides_and_silence_times_out() {
    let world = World::new().await;
    let provider = world.provider_with(|_| {}, Timing { attempt: Duration::from_secs(1), ..super::QUICK });
    let faults = [(Fault::Silence, "timeout"), (Fault::text(503, "x").endless(), "other")];
    for (number, (fault, reason)) in faults.into_iter().enumerate() {
        world.apple.fault(&token(number), fault.clone());
        assert_eq!(deliver(&provider, number).await, outage(reason, None), "{fault:?}");
        // On a busy machine a complete response may time out too.
        wait_for("a good answer", PATIENCE, async || {
            (deliver(&provider, 1000).await == Outcome::Delivered).then_some(())
        })
        .await;
    }
    // Nothing at all arrived during the silence, so its connection was left.
    assert!(world.apple.connections() > 1);
}

#[tokio::test]
async fn a_mistake_of_the_gateway_names_what_to_check() {
    let world = World::new().await;
    let provider = world.provider();
    for (number, (status, reason, hint)) in [
        (400, "TopicDisallowed", "check topic"),
        (400, "BadTopic", "check topic"),
        (400, "MissingTopic", "check topic"),
        (400, "BadPriority", "check push_type"),
        (400, "BadExpirationDate", "mistake of the gateway"),
        (400, "BadCollapseId", "mistake of the gateway"),
        (400, "BadMessageId", "mistake of the gateway"),
        (400, "InvalidPushType", "check push_type"),
        (400, "DuplicateHeaders", "mistake of the gateway"),
        (400, "MissingDeviceToken", "mistake of the gateway"),
        (400, "PayloadEmpty", "check payload"),
        (403, "InvalidProviderToken", "check key_file"),
        (403, "MissingProviderToken", "check cert_file"),
        (403, "ExpiredProviderToken", "check the clock"),
        (403, "Forbidden", "check the credentials"),
        (403, "BadCertificate", "check cert_file"),
        (403, "BadCertificateEnvironment", "check platform"),
        (403, "BadEnvironmentKeyIdInToken", "check platform"),
        (403, "UnrelatedKeyIdInToken", "check key_id"),
        (404, "BadPath", "check endpoint"),
        (405, "MethodNotAllowed", "check endpoint"),
        (400, "Something\n\u{1b}[31mNew", "no reason that is known"),
        (400, "", "without a reason"),
        (302, "", "without a reason"),
        (418, "", "without a reason"),
        (410, "SomethingNew", "no reason that is known"),
    ]
    .into_iter()
    .enumerate()
    {
        let fault = if reason.is_empty() { Fault::text(status, "") } else { Fault::error(status, reason) };
        world.apple.fault(&token(number), fault);
        let outcome = deliver(&provider, number).await;
        let (label, detail) = mistake(&outcome);
        assert!(detail.contains(hint) && detail.contains(&status.to_string()), "{detail}");
        assert!(!detail.contains(char::is_control), "{detail}");
        assert!(label == reason || label == "other", "{label}");
        assert_eq!(world.apple.requests_for(&token(number)).len(), 1);
    }
}

#[tokio::test]
async fn apns_accepts_every_kind_of_push() {
    let world = World::new().await;
    let encrypted = json!({"ciphertext": "c", "counts": {"unread": 1}});
    let mut long = json!({"type": "m.room.message", "sender": "@a:b", "event_id": "$e", "prio": "low"});
    long["content"] = json!({"msgtype": "m.text", "body": "é\n\u{1}".repeat(5000)});
    let silent = json!({"data": {"default_payload": {"aps": {"content-available": 1}}}});
    let call = json!({"type": "m.call.invite", "sender": "@a:b", "room_id": "!r:b", "event_id": "$c"});
    let plain = world.provider();
    for (event, fields) in [
        (ids(), json!({})),
        (json!({}), json!({})),
        (long, json!({"tweaks": {"sound": "default"}})),
        (call.clone(), json!({})),
        (encrypted, json!({})),
        (ids(), silent),
    ] {
        assert_eq!(deliver_event(&plain, &event, &token(1), &fields).await, Outcome::Delivered, "{event}");
    }
    let voip = world.provider_with(|settings| settings.push_type = Some(PushType::Voip), super::QUICK);
    assert_eq!(deliver_event(&voip, &call, &token(2), &json!({})).await, Outcome::Delivered);
    assert_eq!(deliver(&voip, 2).await, Outcome::Dropped("not_a_call"));
    let collapsing = |table: Value| {
        let settings: crate::providers::apns::Settings = serde_json::from_value(table).unwrap();
        world.provider_with(
            |own| (own.collapse, own.thread_id, own.expiration) = (settings.collapse, true, settings.expiration),
            super::QUICK,
        )
    };
    for table in [json!({"collapse": "room"}), json!({"collapse": "event", "expiration": "0"})] {
        assert_eq!(deliver(&collapsing(table), 3).await, Outcome::Delivered);
    }
    let requests = world.apple.requests();
    assert_eq!(requests.len(), 9);
    assert!(requests.iter().all(|request| request.status == Some(200) && request.body.len() <= 4096));
    assert_eq!(requests[0].body.as_ref(), br#"{"room_id": "!rm:a.example", "event_id": "$ev", "unread_count": 2}"#);
    assert_eq!(requests[5].header("apns-push-type"), Some("background"));
    assert_eq!(requests[6].header("apns-topic"), Some("org.example.app.voip"));
    assert_eq!(requests[7].header("apns-collapse-id").map(str::len), Some(43));
    assert_eq!(requests[8].header("apns-expiration"), Some("0"));
}

#[tokio::test]
async fn an_invalid_token_is_rejected_without_a_request() {
    let world = World::new().await;
    let provider = world.provider();
    for pushkey in ["", "abc", "é", "../../x?y=1", "a\r\napns-topic: evil", &"A".repeat(1_000_000)] {
        let outcome = deliver_event(&provider, &ids(), pushkey, &json!({})).await;
        assert_eq!(outcome, rejected("invalid_token", Suspect));
    }
    assert_eq!((world.apple.requests().len(), world.apple.connections()), (0, 0));
}

#[tokio::test]
async fn a_device_that_registered_again_gets_one_more_attempt() {
    let world = World::new().await;
    let provider = world.provider();
    let gone = 1_700_000_000_500;
    world.apple.fault(&token(1), Fault::gone("Unregistered", gone));
    let at = |pushkey_ts: i64| {
        let provider = &provider;
        async move { deliver_event(provider, &ids(), &token(1), &json!({"pushkey_ts": pushkey_ts})).await }
    };
    assert_eq!(at(1_700_000_000).await, rejected("Unregistered", Certain));
    for later in [1_700_000_001, 1_700_000_009] {
        assert_eq!(at(later).await, again("Unregistered"));
        assert_eq!(at(later).await, rejected("Unregistered", Certain));
        assert_eq!(at(later).await, rejected("Unregistered", Certain));
    }
}

#[tokio::test]
async fn a_payload_that_apns_refuses_as_too_large_is_reduced_once() {
    let world = World::new().await;
    let provider = world.provider();
    let mut event = json!({"type": "m.room.message", "event_id": "$e", "sender": "@a:b"});
    event["content"] = json!({"msgtype": "m.text", "body": "x".repeat(3000)});
    let send = |number: usize| {
        let (provider, event) = (&provider, &event);
        async move { deliver_event(provider, event, &token(number), &json!({})).await }
    };
    world.apple.fault_times(&token(1), 1, Fault::error(413, "PayloadTooLarge"));
    world.apple.fault(&token(2), Fault::text(413, "<html>"));
    assert_eq!(send(1).await, Outcome::Delivered);
    assert_eq!(send(2).await, Outcome::Dropped("too_large"));
    for number in [1, 2] {
        let requests = world.apple.requests_for(&token(number));
        let lengths: Vec<usize> = requests.iter().map(|request| request.body.len()).collect();
        assert!(lengths.len() == 2 && lengths[0] > 3000 && lengths[1] == 2048, "{lengths:?}");
        assert_eq!(requests[0].header("apns-id"), requests[1].header("apns-id"));
    }
}

#[tokio::test]
async fn a_429_pauses_the_device_for_half_a_minute() {
    let world = World::new().await;
    let provider = world.provider();
    world.apple.fault_times(&token(1), 1, Fault::error(429, "TooManyRequests"));
    assert_eq!(deliver(&provider, 1).await, pause("TooManyRequests", 30));
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(deliver(&provider, 1).await, pause("TooManyRequests", 20));
    assert_eq!(deliver(&provider, 2).await, Outcome::Delivered);
    assert_eq!(world.apple.requests_for(&token(1)).len(), 1);
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(deliver(&provider, 1).await, Outcome::Delivered);
}

#[tokio::test]
async fn sandbox_fallback_resends_an_unknown_device_to_the_other_environment() {
    let (production, sandbox) = (World::new().await, World::new().await);
    let without = production.provider();
    let change = |settings: &mut crate::providers::apns::Settings| {
        settings.sandbox_fallback = true;
        settings.fallback_endpoint = Some(sandbox.apple.endpoint());
    };
    // The client must trust both environments.
    let authorities = [&production, &sandbox].map(|world| world.apple.authority().pem()).concat();
    let file = production.folder.path().join("both.pem");
    std::fs::write(&file, authorities).unwrap();
    let mut settings = production.settings();
    change(&mut settings);
    let outbound = shared::outbound::settings::Outbound { extra_ca_file: Some(file), ..Default::default() };
    let with = production.try_provider(&settings, &outbound, super::QUICK).unwrap();
    for number in [1, 2, 3] {
        production.apple.forget(&token(number));
    }
    sandbox.apple.fault(&token(1), Fault::text(200, ""));
    sandbox.apple.fault(&token(2), Fault::error(400, "BadDeviceToken"));
    sandbox.apple.fault(&token(3), Fault::text(503, ""));
    assert_eq!(deliver(&without, 1).await, rejected("BadDeviceToken", Suspect));
    assert_eq!(sandbox.apple.requests().len(), 0);
    assert_eq!(deliver(&with, 1).await, Outcome::Delivered);
    assert_eq!(deliver(&with, 2).await, rejected("BadDeviceToken", Suspect));
    assert_eq!(deliver(&with, 3).await, outage("other", None));
    // The other environment knows another key: a mistake of the gateway, no evidence about the device.
    production.apple.forget(&token(4));
    assert_eq!(mistake(&deliver(&with, 4).await).0, "InvalidProviderToken");
    assert_eq!(deliver(&with, 5).await, Outcome::Delivered);
    assert_eq!((sandbox.apple.requests().len(), sandbox.apple.requests_for(&token(5)).len()), (4, 0));
    let ids = [&production, &sandbox].map(|world| {
        let requests = world.apple.requests_for(&token(2));
        requests[0].header("apns-id").unwrap().to_owned()
    });
    assert_eq!(ids[0], ids[1]);
}
