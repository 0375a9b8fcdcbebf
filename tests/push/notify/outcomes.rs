//! Every response of the push services that the gateway knows, through the real binary: the response to the homeserver,
//! and the number of requests to the push service.
//!
//! Invariant: every row has its own device, and after every row a healthy device is served.

use harness::world::push::{
    ANDROID, IOS, NOTIFY, Settings, World, android_app, android_device, ios_device, message_body,
};
use std::time::Duration;

use harness::api::Answer;
use harness::{apns, fcm};
use serde_json::{Value, json};

/// Three attempts with short waits.
const WAITS: &str = "retry_waits = [\"10ms\", \"10ms\"]\n";

/// Without the mass-rejection guard, because every second device of a table is rejected.
const BELIEVING: &str = "[rejection_breaker]\nenabled = false\n";

/// The response to the homeserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// 200: delivered, or never can be.
    Done,
    /// 200, with the pushkey in `rejected`.
    Rejected,
    /// 502.
    Owed,
    /// 502 with a `Retry-After` of this many seconds, or one less.
    OwedFor(u64),
}

use Heard::{Done, Owed, OwedFor, Rejected};

/// How often the fault occurs: this number of times, or always.
const ALWAYS: usize = usize::MAX;

/// Name, fault, how often it occurs, the response to the homeserver, the number of requests to the push service.
type Row<F> = (&'static str, F, usize, Heard, usize);

fn apple_rows() -> Vec<Row<apns::Fault>> {
    let (error, text, gone) = (apns::Fault::error, apns::Fault::text, apns::Fault::gone);
    let mut rows = vec![
        ("200", text(200, ""), ALWAYS, Done, 1),
        ("200 without apns-id, with HTML", text(200, "<html>").without_id(), ALWAYS, Done, 1),
        ("200, body broken", text(200, "x").broken(), ALWAYS, Done, 1),
        ("200, body endless", text(200, "x").endless(), ALWAYS, Done, 1),
        ("410 Unregistered", gone("Unregistered", 1_700_000_000_000), ALWAYS, Rejected, 1),
        ("410 ExpiredToken", gone("ExpiredToken", 1_700_000_000_000), ALWAYS, Rejected, 1),
        ("410 without a body", text(410, ""), ALWAYS, Rejected, 1),
        ("410 with HTML", text(410, "<html>"), ALWAYS, Rejected, 1),
        // The pushkey was registered again at 42 s.
        ("410 from before", gone("Unregistered", 41_999), ALWAYS, Rejected, 2),
        ("410 from before, once", gone("Unregistered", 41_999), 1, Done, 2),
        ("400 BadDeviceToken", error(400, "BadDeviceToken"), ALWAYS, Rejected, 1),
        ("400 DeviceTokenNotForTopic", error(400, "DeviceTokenNotForTopic"), ALWAYS, Rejected, 1),
        ("403 ExpiredProviderToken", error(403, "ExpiredProviderToken"), ALWAYS, Owed, 1),
        ("413", error(413, "PayloadTooLarge"), ALWAYS, Done, 2),
        ("413 once", text(413, ""), 1, Done, 2),
        ("429 TooManyRequests", error(429, "TooManyRequests"), ALWAYS, OwedFor(30), 1),
        ("429 TooManyProviderTokenUpdates", error(429, "TooManyProviderTokenUpdates"), ALWAYS, Owed, 1),
        ("400 IdleTimeout", error(400, "IdleTimeout"), 2, Done, 3),
        ("500", error(500, "InternalServerError"), ALWAYS, Owed, 3),
        ("500 twice", error(500, "InternalServerError"), 2, Done, 3),
        ("502 with HTML", text(502, "<html>"), ALWAYS, Owed, 3),
        ("503 ServiceUnavailable", error(503, "ServiceUnavailable"), ALWAYS, Owed, 3),
        ("503 Shutdown", error(503, "Shutdown"), 2, Done, 3),
        ("503, come back in a second", error(503, "").with_header("retry-after", "1"), 1, Done, 2),
        ("503, come back much later", error(503, "").with_header("retry-after", "100"), ALWAYS, OwedFor(100), 1),
        ("503, come back years later", error(503, "").with_header("retry-after", "99999999"), ALWAYS, OwedFor(3600), 1),
        ("503, come back soon", error(503, "").with_header("retry-after", "soon"), ALWAYS, Owed, 3),
        ("a stream reset", apns::Fault::Reset(2), ALWAYS, Owed, 3),
        ("a stream reset once", apns::Fault::Reset(8), 1, Done, 2),
        // Not processed: resent at most twice for each attempt.
        ("a stream refused", apns::Fault::Reset(7), ALWAYS, Owed, 9),
        ("a stream refused twice", apns::Fault::Reset(7), 2, Done, 3),
        ("GOAWAY", apns::Fault::GoAway { reason: "Shutdown", two_phase: false }, 1, Done, 2),
        ("GOAWAY in two steps", apns::Fault::GoAway { reason: "Shutdown", two_phase: true }, 1, Done, 2),
        ("a connection cut", apns::Fault::Cut, 1, Done, 2),
        ("an answer lost", apns::Fault::Lose(apns::Loss::Reset(2)), 1, Done, 2),
    ];
    let ours = [
        (400, "TopicDisallowed"),
        (400, "BadTopic"),
        (400, "MissingTopic"),
        (400, "BadPriority"),
        (400, "BadExpirationDate"),
        (400, "BadCollapseId"),
        (400, "BadMessageId"),
        (400, "InvalidPushType"),
        (400, "DuplicateHeaders"),
        (400, "MissingDeviceToken"),
        (400, "PayloadEmpty"),
        (403, "InvalidProviderToken"),
        (403, "MissingProviderToken"),
        (403, "Forbidden"),
        (403, "BadCertificate"),
        (403, "BadCertificateEnvironment"),
        (403, "BadEnvironmentKeyIdInToken"),
        (403, "UnrelatedKeyIdInToken"),
        (404, "BadPath"),
        (405, "MethodNotAllowed"),
        (400, "SomethingNew"),
        (410, "SomethingNew"),
        (418, ""),
        (302, ""),
    ];
    rows.extend(ours.map(|(status, reason)| (reason, error(status, reason), ALWAYS, Owed, 1)));
    rows
}

fn google_rows() -> Vec<Row<fcm::Fault>> {
    let (error, html, reply) = (fcm::Fault::error, fcm::Fault::html, |status| fcm::Fault::reply(status, ""));
    let later = |after: &str| fcm::Fault::unavailable().with_header("retry-after", after);
    vec![
        ("200 with HTML", html(200), ALWAYS, Done, 1),
        ("200, body broken", fcm::Fault::reply(200, "{\"na").cut_off(), ALWAYS, Done, 1),
        ("204", reply(204), ALWAYS, Done, 1),
        ("404 UNREGISTERED", fcm::Fault::unregistered(), ALWAYS, Rejected, 1),
        ("404 UNREGISTERED, body broken", fcm::Fault::unregistered().cut_off(), ALWAYS, Rejected, 1),
        ("404 NOT_FOUND", error(404, "NOT_FOUND"), ALWAYS, Owed, 1),
        ("404 with HTML", html(404), ALWAYS, Owed, 1),
        ("403 SENDER_ID_MISMATCH", fcm::Fault::sender_id_mismatch(), ALWAYS, Rejected, 1),
        ("403 PERMISSION_DENIED", error(403, "PERMISSION_DENIED"), ALWAYS, Owed, 1),
        ("400 message.token", fcm::Fault::invalid_argument("message.token"), ALWAYS, Rejected, 1),
        ("400 message.fid", fcm::Fault::invalid_argument("message.fid"), ALWAYS, Rejected, 1),
        ("400 for the payload", fcm::Fault::invalid_argument("message.data[0].value"), ALWAYS, Done, 2),
        ("400 for the payload, once", fcm::Fault::invalid_argument("message.data[0].value"), 1, Done, 2),
        ("401 THIRD_PARTY_AUTH_ERROR", fcm::Fault::third_party_auth_error(), ALWAYS, Owed, 1),
        ("401", fcm::Fault::unauthenticated(), ALWAYS, Owed, 2),
        ("401 once", fcm::Fault::unauthenticated(), 1, Done, 2),
        ("500", fcm::Fault::internal(), ALWAYS, Owed, 3),
        ("500 twice", fcm::Fault::internal(), 2, Done, 3),
        ("502 with HTML", html(502), ALWAYS, Owed, 3),
        ("503", fcm::Fault::unavailable(), ALWAYS, Owed, 3),
        ("504 with HTML", html(504), ALWAYS, Owed, 3),
        ("503, come back in a second", later("1"), 1, Done, 2),
        ("503, come back much later", later("100"), ALWAYS, OwedFor(100), 1),
        ("503, come back years later", later("99999999"), ALWAYS, OwedFor(3600), 1),
        ("503, come back in 2015", later("Wed, 21 Oct 2015 07:28:00 GMT"), ALWAYS, Owed, 3),
        ("302", reply(302).with_header("location", "https://127.0.0.1:1/"), ALWAYS, Owed, 1),
        ("409", error(409, "ABORTED"), ALWAYS, Owed, 1),
        ("a stream reset", fcm::Fault::Reset(2), ALWAYS, Owed, 3),
        ("a stream refused", fcm::Fault::GoAway, 1, Done, 2),
        ("a connection cut", fcm::Fault::Close, 1, Done, 2),
        ("an answer lost", fcm::Fault::Lose(fcm::Loss::Reset(2)), 1, Done, 2),
        // A third device within ten seconds would count for the whole project.
        ("429, come back in a second", fcm::Fault::quota_exceeded().with_header("retry-after", "1"), 1, Done, 2),
        ("429", fcm::Fault::quota_exceeded(), ALWAYS, OwedFor(60), 1),
    ]
}

async fn world() -> World {
    World::with(Settings { ios: WAITS, android: WAITS, tables: BELIEVING, ..Settings::default() }).await
}

fn heard(answer: &Answer, pushkey: &str) -> Heard {
    let wait = answer.header("retry-after").map(|seconds| seconds.parse().expect("a number of seconds"));
    match (answer.code(), wait) {
        (200, None) if answer.json() == json!({ "rejected": [] }) => Done,
        (200, None) if answer.json() == json!({ "rejected": [pushkey] }) => Rejected,
        (502, wait) => {
            answer.refused(502, "M_UNKNOWN");
            wait.map_or(Owed, OwedFor)
        }
        _ => panic!("{answer}"),
    }
}

/// Whether the response is as expected; of a wait, one second may have passed.
fn fits(found: Heard, expected: Heard) -> bool {
    match (found, expected) {
        (OwedFor(found), OwedFor(expected)) => found == expected || found + 1 == expected,
        _ => found == expected,
    }
}

/// Pushes to the device of a row and then to a healthy one; returns the response for the first.
async fn push(world: &World, row: usize, device: &Value, healthy: &Value) -> Heard {
    let answer = world.notify_message(&format!("$row{row}"), json!([device])).await;
    let after = world.notify_message(&format!("$after{row}"), json!([healthy])).await;
    assert_eq!(after.expect(200), json!({ "rejected": [] }), "after row {row}");
    heard(&answer, device["pushkey"].as_str().expect("a text"))
}

/// The metrics count the responses.
async fn assert_counted(world: &World, app: &str, found: &[Heard]) {
    let count = |wanted: &dyn Fn(&Heard) -> bool| found.iter().filter(|heard| wanted(heard)).count() as u64;
    let done = world.deliveries(app, "delivered").await + world.deliveries(app, "dropped").await;
    assert_eq!(done, count(&|heard| *heard == Done) + found.len() as u64);
    assert_eq!(world.deliveries(app, "rejected").await, count(&|heard| *heard == Rejected));
    let owed = world.deliveries(app, "temporary").await + world.deliveries(app, "permanent").await;
    assert_eq!(owed, count(&|heard| matches!(heard, Owed | OwedFor(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_apples_has_its_outcome() {
    let world = world().await;
    let (mut wrong, mut all) = (Vec::new(), Vec::new());
    for (row, (name, fault, times, expected, attempts)) in apple_rows().into_iter().enumerate() {
        let pushkey = format!("{row:064x}");
        world.apple.fault_times(&pushkey, times, fault);
        let found = push(&world, row, &ios_device(&pushkey), &ios_device(&"f".repeat(64))).await;
        let asked = world.apple.requests_for(&pushkey).len();
        if !fits(found, expected) || asked != attempts {
            wrong.push(format!("{name}: {found:?} after {asked}, not {expected:?} after {attempts}"));
        }
        all.push(found);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_counted(&world, IOS, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_googles_has_its_outcome() {
    let world = world().await;
    let (mut wrong, mut all) = (Vec::new(), Vec::new());
    for (row, (name, fault, times, expected, attempts)) in google_rows().into_iter().enumerate() {
        let pushkey = format!("phone{row}");
        world.google.fault_times_for(&pushkey, times, fault);
        let found = push(&world, row, &android_device(&pushkey), &android_device("healthy")).await;
        let asked = world.google.messages_for(&pushkey).len();
        if !fits(found, expected) || asked != attempts {
            wrong.push(format!("{name}: {found:?} after {asked}, not {expected:?} after {attempts}"));
        }
        all.push(found);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_counted(&world, ANDROID, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_gets_too_much_is_answered_without_a_call() {
    let world = world().await;
    let iphone = "a".repeat(64);
    world.apple.fault_times(&iphone, 1, apns::Fault::error(429, "TooManyRequests"));
    world.google.fault_times_for("phone", 1, fcm::Fault::quota_exceeded());
    for event in ["$1", "$2"] {
        let answer = world.notify_message(event, json!([ios_device(&iphone), android_device("phone")])).await;
        assert!(fits(heard(&answer, ""), OwedFor(60)), "{answer}");
    }
    assert_eq!((world.apple.requests_for(&iphone).len(), world.google.messages_for("phone").len()), (1, 1));
    world.notify_message("$2", json!([ios_device(&"b".repeat(64)), android_device("other")])).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_three_devices_get_too_much_the_whole_project_rests() {
    let world = world().await;
    for (number, phone) in ["one", "two", "three"].into_iter().enumerate() {
        world.google.fault_for(phone, fcm::Fault::quota_exceeded());
        let answer = world.notify_message(&format!("${number}"), json!([android_device(phone)])).await;
        assert!(fits(heard(&answer, phone), OwedFor(60)), "{answer}");
    }
    let answer = world.notify_message("$4", json!([android_device("four")])).await;
    assert!(fits(heard(&answer, "four"), OwedFor(60)), "{answer}");
    assert!(world.google.messages_for("four").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_service_that_says_nothing_is_asked_three_times_within_the_deadline() {
    let world = world().await;
    let (iphone, slow) = ("a".repeat(64), "b".repeat(64));
    world.apple.fault(&iphone, apns::Fault::Silence);
    world.apple.fault(&slow, apns::Fault::text(503, "{").endless());
    world.google.fault_for("phone", fcm::Fault::Silence);
    let answers = tokio::join!(
        world.notify_message("$1", json!([ios_device(&iphone)])),
        world.notify_message("$2", json!([ios_device(&slow)])),
        world.notify_message("$3", json!([android_device("phone")])),
    );
    for answer in [answers.0, answers.1, answers.2] {
        assert_eq!(heard(&answer, ""), Owed);
    }
    // 8 s each for APNs; 10 s each for FCM, and 3 s must remain for a new attempt.
    assert_eq!(world.apple.requests_for(&iphone).len(), 3);
    assert_eq!(world.apple.requests_for(&slow).len(), 3);
    assert_eq!(world.google.messages_for("phone").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_failures_in_a_row_spare_the_push_service_and_one_probe_finds_it_well() {
    let world = world().await;
    world.google.fault(fcm::Fault::html(503));
    for number in 0..4 {
        let answer = world.notify_message(&format!("${number}"), json!([android_device("phone")])).await;
        assert!(matches!(heard(&answer, "phone"), Owed | OwedFor(_)), "{answer}");
    }
    // The tenth failure is the first attempt of the fourth event.
    assert_eq!(world.google.messages().len(), 10);
    let answer = world.notify_message("$5", json!([android_device("phone")])).await;
    assert!(matches!(heard(&answer, "phone"), OwedFor(1..=5)), "{answer}");
    assert_eq!(world.google.messages().len(), 10);
    world.google.mend();
    let probe = harness::wait::wait_for("the probe", Duration::from_secs(60), async || {
        let answer = world.notify_message("$5", json!([android_device("phone")])).await;
        (answer.code() == 200).then_some(answer)
    });
    assert_eq!(probe.await.json(), json!({ "rejected": [] }));
    assert_eq!(world.google.messages().len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_with_several_app_ids_is_one_phone_to_google() {
    let world = World::serving("", "", &[android_app("chat.*", "")]).await;
    world.google.fault_for("phone", fcm::Fault::quota_exceeded());
    let device = |account: u8| json!({ "app_id": format!("chat.account{account}"), "pushkey": "phone" });
    for account in 0..4 {
        let answer = world.notify_message(&format!("${account}"), json!([device(account)])).await;
        answer.refused(502, "M_UNKNOWN");
    }
    assert_eq!(world.google.messages_for("phone").len(), 1, "its pause is for all of them");
    let other = json!({ "app_id": "chat.other", "pushkey": "other" });
    assert_eq!(world.notify_message("$other", json!([other])).await.expect(200), json!({ "rejected": [] }));
}

/// A device with an account of its own: only its `default_payload` differs from that of the other one on the same phone.
fn account(mut device: Value, secret: &str) -> Value {
    device["data"] = json!({ "default_payload": { "cs": secret } });
    device
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_on_one_phone_both_get_the_event_and_a_repetition_sends_nothing() {
    let world = world().await;
    let iphone = "a".repeat(64);
    for device in [ios_device(&iphone), android_device("phone")] {
        for secret in ["one", "two", "one", "two"] {
            let answer = world.notify_message("$both", json!([account(device.clone(), secret)])).await;
            assert_eq!(answer.expect(200), json!({ "rejected": [] }));
        }
        let both = json!([account(device.clone(), "one"), account(device.clone(), "two"), account(device, "one")]);
        world.notify_message("$in-one-request", both).await.expect(200);
    }
    assert_eq!(world.apple.requests_for(&iphone).len(), 4);
    assert_eq!(world.google.messages_for("phone").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_token_is_the_same_device() {
    use base64::Engine;
    let world = world().await;
    let hex = "a1".repeat(32);
    let base64 = base64::engine::general_purpose::STANDARD.encode([0xa1; 32]);
    for pushkey in [hex.clone(), hex.to_uppercase(), base64.clone(), base64.trim_end_matches('=').to_owned()] {
        world.notify_message("$once", json!([ios_device(&pushkey)])).await.expect(200);
    }
    assert_eq!(world.apple.requests_for(&hex).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_with_the_event_id_of_another_one_suppresses_nothing() {
    let world = world().await;
    let mut forged = message_body("$event", json!([android_device("phone")]));
    forged["notification"]["content"]["body"] = json!("forged");
    world.api.post(NOTIFY, forged).send().await.expect(200);
    world.notify_message("$event", json!([android_device("phone")])).await.expect(200);
    assert_eq!(world.google.messages_for("phone").len(), 2);
    // The counts of a repetition may differ.
    let mut again = message_body("$event", json!([android_device("phone")]));
    again["notification"]["counts"] = json!({ "unread": 77 });
    world.api.post(NOTIFY, again).send().await.expect(200);
    assert_eq!(world.google.messages_for("phone").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apns_connection_that_only_fails_is_left_after_the_second_failure() {
    let world = world().await;
    let iphone = "a".repeat(64);
    world.notify_message("$1", json!([ios_device(&iphone)])).await.expect(200);
    // One bad connection: every push on it fails, a new connection works.
    let bad = world.apple.requests()[0].connection;
    let fault = || apns::Fault::error(500, "InternalServerError");
    world.apple.fault_by(move |request| (request.connection == bad).then(fault));
    for number in 2..5 {
        world.notify_message(&format!("${number}"), json!([ios_device(&iphone)])).await.expect(200);
    }
    assert_eq!(world.apple.connections(), 2);
}
