//! Every answer of a push service: the response to the homeserver, and the number of requests.
//!
//! Invariant: every row has its own device, and the push service stays in use after every row.

use harness::push_service::{Fault, PushService, Reply};
use harness::world::push::{DEADLINE, World, ids, with};
use serde_json::{Value, json};

use super::{PHONES, UNIFIED, WEB, world};

/// The response to the homeserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Done,
    Rejected,
    Owed,
    /// 502 with a `Retry-After` of this many seconds, or one less.
    OwedFor(u64),
}

use Heard::{Done, Owed, OwedFor, Rejected};

/// The answer, how often (always with `None`), the response to the homeserver, the number of requests.
type Row = (&'static str, Reply, Option<usize>, Heard, usize);

fn rows() -> Vec<Row> {
    let reply = |status: u16, body: &str| Reply::new(status, body.to_owned());
    let other_key = r#"{"reason":"VapidPkHashMismatch"}"#;
    let google = "the VAPID credentials in the authorization header do not correspond to the credentials used to create \
                  the subscriptions.";
    vec![
        ("200", reply(200, "{}"), None, Done, 1),
        ("204", reply(204, ""), None, Done, 1),
        ("404", reply(404, ""), None, Rejected, 1),
        ("410", reply(410, "<html>"), None, Rejected, 1),
        ("400 with another key", reply(400, other_key), None, Rejected, 1),
        ("403 with another key", reply(403, google), None, Rejected, 1),
        ("400", reply(400, r#"{"errno":108}"#), None, Owed, 1),
        ("401", reply(401, r#"{"errno":109}"#), None, Owed, 1),
        ("403", reply(403, r#"{"reason":"BadJwtToken"}"#), None, Owed, 1),
        ("406", reply(406, ""), None, Owed, 1),
        ("302", reply(302, "").with_header("location", "https://127.0.0.1:1/"), None, Owed, 1),
        ("413", reply(413, ""), None, Done, 2),
        ("413 once", reply(413, ""), Some(1), Done, 2),
        ("500", reply(500, ""), None, Owed, 3),
        ("503 twice", reply(503, "<html>"), Some(2), Done, 3),
        ("503, later", reply(503, "").with_header("retry-after", "100"), None, OwedFor(100), 1),
        ("503, years later", reply(503, "").with_header("retry-after", "99999999"), None, OwedFor(3600), 1),
        ("503, soon", reply(503, "").with_header("retry-after", "soon"), None, Owed, 3),
        ("507", reply(507, ""), None, Owed, 3),
        ("201, a body without an end", Reply::new(201, "x".repeat(5000)).endless(), None, Done, 1),
    ]
}

async fn heard(gateway: &World, device: &Value, event: &str) -> Heard {
    let event = with(ids(), json!({ "event_id": event, "devices": [device] }));
    let answer = gateway.notify(&event).await;
    match (answer.code(), answer.header("retry-after")) {
        (200, _) if answer.json()["rejected"] == json!([]) => Done,
        (200, _) => {
            assert_eq!(answer.json()["rejected"], json!([device["pushkey"]]));
            Rejected
        }
        (502, None) => Owed,
        (502, Some(seconds)) => OwedFor(seconds.parse().expect("a number of seconds")),
        _ => panic!("{answer}"),
    }
}

#[track_caller]
fn is_as_expected(name: &str, found: Heard, expected: Heard) {
    let is_nearly = match (found, expected) {
        (OwedFor(found), OwedFor(expected)) => found == expected || found + 1 == expected,
        _ => false,
    };
    assert!(found == expected || is_nearly, "{name}: {found:?} instead of {expected:?}");
}

fn devices(service: &PushService) -> [Value; 3] {
    [service.browser(WEB), service.phone(UNIFIED), service.encrypting_phone(PHONES)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_spelling_says_nothing_about_the_endpoint() {
    let (gateway, service) = world().await;
    let phone = service.phone(UNIFIED);
    gateway.deliver(with(ids(), json!({ "event_id": "$1" })), &phone).await;
    for blank in [" ", "\n", "\t "] {
        let mut other = phone.clone();
        other["pushkey"] = json!(format!("{}{blank}", phone["pushkey"].as_str().unwrap()));
        let answer = gateway.notify(&with(ids(), json!({ "devices": [other] }))).await;
        assert_eq!(answer.expect(200)["rejected"], json!([other["pushkey"]]));
    }
    gateway.deliver(with(ids(), json!({ "event_id": "$2" })), &phone).await;
    assert_eq!(service.messages_for(&phone).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_outcome_for_both_kinds() {
    let (gateway, service) = world().await;
    for (name, reply, times, expected, requests) in rows() {
        for device in devices(&service) {
            service.answer(&device, times, reply.clone());
            is_as_expected(name, heard(&gateway, &device, &format!("${name}")).await, expected);
            assert_eq!(service.requests_for(&device).len(), requests, "{name}");
            service.mend();
            // One success keeps the circuit of the host closed.
            assert_eq!(heard(&gateway, &service.phone(UNIFIED), "$healthy").await, Done, "{name}");
        }
    }
    for device in devices(&service) {
        service.fault(&device, Some(1), Fault::Close);
        is_as_expected("closed once", heard(&gateway, &device, "$closed").await, Done);
        assert_eq!(service.requests_for(&device).len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_pauses_its_endpoint_and_three_pause_the_host() {
    let (gateway, service) = world().await;
    let phones: Vec<Value> = (0..5).map(|_| service.phone(UNIFIED)).collect();
    let limited = || Reply::new(429, "").with_header("retry-after", "120");
    service.answer(&phones[0], None, limited());
    is_as_expected("429", heard(&gateway, &phones[0], "$1").await, OwedFor(120));
    is_as_expected("paused", heard(&gateway, &phones[0], "$2").await, OwedFor(120));
    assert_eq!(service.requests_for(&phones[0]).len(), 1);
    for phone in &phones[1..4] {
        service.answer(phone, None, Reply::new(429, ""));
        is_as_expected("429 without a time", heard(&gateway, phone, "$3").await, OwedFor(30));
    }
    is_as_expected("the host pauses", heard(&gateway, &phones[4], "$4").await, OwedFor(30));
    assert!(service.requests_for(&phones[4]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_browser_is_answered_from_memory_and_a_wrong_certificate_is_no_rejection() {
    let (gateway, service) = world().await;
    let browser = service.browser(WEB);
    service.answer(&browser, None, Reply::new(410, ""));
    assert_eq!(heard(&gateway, &browser, "$1").await, Rejected);
    assert_eq!(heard(&gateway, &browser, "$2").await, Rejected);
    assert_eq!(service.requests_for(&browser).len(), 1);
    let (expired, google) = (gateway.google.authority().issue_expired(&["127.0.0.1"]), gateway.google.authority());
    let service = PushService::start(google, &[]).await;
    service.set_certificate(&expired);
    assert_eq!(heard(&gateway, &service.phone(UNIFIED), "$3").await, Owed);
    assert!(service.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_host_opens_its_own_circuit_alone() {
    let (gateway, service) = world().await;
    let dead = json!({ "app_id": UNIFIED, "pushkey": "https://127.0.0.2:1/up", "pushkey_ts": 42 });
    for number in 0..4 {
        let found = heard(&gateway, &dead, &format!("${number}")).await;
        assert!(matches!(found, Owed | OwedFor(_)), "{found:?}");
    }
    gateway.server.wait_for_log("circuit breaker opened", DEADLINE).await;
    assert_eq!(heard(&gateway, &service.phone(UNIFIED), "$alive").await, Done);
}
