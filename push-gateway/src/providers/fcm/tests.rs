//! The provider over real HTTP/2, against a fake FCM that checks every request.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use harness::certificates::Certificate;
use harness::fcm::{Fault, Google};
use harness::wait::wait_until;
use serde_json::{Value, json};
use shared::clock::{Clock, Timestamp};
use shared::outbound::settings::Outbound;
use shared::random::Random;
use tempfile::TempDir;

use super::{Fcm, ProviderContext, Settings, SetupError};
use crate::notification::parse::{Request, parse};
use crate::providers::device_key::DeviceKeys;
use crate::providers::outcome::Certainty::{self, Certain, Suspect};
use crate::providers::outcome::{Cause, Failure, Outcome};
use crate::providers::{Delivery, Provider};

const SOON: Duration = Duration::from_secs(20);

/// A fake FCM, and what an app needs for it.
struct World {
    google: Google,
    folder: TempDir,
    context: ProviderContext,
}

impl World {
    async fn new() -> Self {
        Self::at(Clock::system()).await
    }

    async fn at(clock: Clock) -> Self {
        let google = Google::start_at(clock.clone()).await;
        let context = ProviderContext::new(clock);
        Self { google, folder: tempfile::tempdir().unwrap(), context }
    }

    fn outbound(&self) -> Outbound {
        Outbound { extra_ca_file: Some(self.google.authority().write_pem(self.folder.path())), ..Outbound::default() }
    }

    fn try_app(&self, mut settings: Value) -> Result<Fcm, SetupError> {
        if settings.get("credentials").is_none() {
            settings["service_account_file"] = json!(self.google.write_service_account(self.folder.path()));
        }
        settings["base_url"] = json!(self.google.base_url());
        let settings: Settings = serde_json::from_value(settings).unwrap();
        Fcm::new("org.example.*", &settings, &self.context.with_outbound(&self.outbound(), true))
    }

    fn app(&self) -> Fcm {
        self.try_app(json!({})).unwrap()
    }
}

async fn deliver(app: &Fcm, pushkey: &str) -> Outcome {
    deliver_within(app, pushkey, Duration::from_secs(25)).await
}

async fn deliver_within(app: &Fcm, pushkey: &str, time: Duration) -> Outcome {
    let body = json!({"notification": {
        "event_id": "$tea", "room_id": "!kitchen:example.org", "type": "m.room.message",
        "content": {"msgtype": "m.text", "body": "Tea?"}, "counts": {"unread": 2},
        "devices": [{"app_id": "org.example.android", "pushkey": pushkey}],
    }});
    let Request { notification, devices } = parse(body.to_string().as_bytes(), 1).unwrap();
    static KEYS: LazyLock<DeviceKeys> = LazyLock::new(|| DeviceKeys::new(Random));
    let deadline = Instant::now() + time;
    let delivery = Delivery::new(&notification, &devices[0], KEYS.pushkey(&devices[0].pushkey), [7; 16], deadline);
    app.deliver(&delivery).await
}

fn rejected(reason: &'static str, certainty: Certainty) -> Outcome {
    Outcome::rejected(reason, certainty)
}

fn outage(reason: &'static str, retry_after: Option<u64>) -> Outcome {
    Failure::outage(reason, retry_after.map(Duration::from_secs)).into()
}

/// A pause after a 429, which another attempt within the request waits for if `is_short`.
fn pause(reason: &'static str, seconds: u64, is_short: bool) -> Outcome {
    let retry_after = Some(Duration::from_secs(seconds));
    Failure { retry_in_request: is_short, ..Failure::upstream(reason, retry_after) }.into()
}

#[track_caller]
fn assert_mistake(found: &Outcome, reason: &str) {
    match found {
        Outcome::Failed(Failure { reason: found, cause: Cause::Ours { detail }, .. }) => {
            assert_eq!(*found, reason);
            assert!(detail.chars().count() <= 200 && !detail.contains(['\n', '\r']), "{detail}");
        }
        other => panic!("{other:?} is not a mistake of the gateway"),
    }
}

#[tokio::test]
async fn a_message_arrives_over_http2_with_the_required_headers() {
    let world = World::new().await;
    let app = world.app();
    assert!(app.readiness().is_err());
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert!(app.readiness().is_ok());
    let messages = world.google.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].is_http2);
    assert_eq!(messages[0].target, "/v1/projects/demo-project/messages:send");
    assert_eq!(messages[0].header("content-type"), Some("application/json"));
    assert_eq!(messages[0].json()["message"]["token"], "tok-1");
}

#[tokio::test]
async fn every_answer_has_its_outcome() {
    let world = World::new().await;
    let app = world.app();
    for (name, fault, expected) in [
        ("unregistered", Fault::unregistered(), rejected("UNREGISTERED", Certain)),
        ("sender", Fault::sender_id_mismatch(), rejected("SENDER_ID_MISMATCH", Suspect)),
        ("token", Fault::invalid_argument("message.token"), rejected("INVALID_ARGUMENT", Suspect)),
        ("fid", Fault::invalid_argument("message.fid"), rejected("INVALID_ARGUMENT", Suspect)),
        ("internal", Fault::internal(), outage("INTERNAL", None)),
        ("unavailable", Fault::unavailable(), outage("UNAVAILABLE", None)),
        ("wait", Fault::unavailable().with_header("retry-after", "7"), outage("UNAVAILABLE", Some(7))),
        (
            "past",
            Fault::unavailable().with_header("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            outage("UNAVAILABLE", None),
        ),
        ("soon", Fault::unavailable().with_header("retry-after", "soon"), outage("UNAVAILABLE", None)),
        ("html-500", Fault::html(500), outage("INTERNAL", None)),
        ("html-502", Fault::html(502), outage("gateway", None)),
        ("html-503", Fault::html(503), outage("UNAVAILABLE", None)),
        ("html-504", Fault::html(504), outage("gateway", None)),
        ("empty-200", Fault::reply(200, ""), Outcome::Delivered),
        ("junk-200", Fault::html(200), Outcome::Delivered),
        ("cut-200", Fault::reply(200, "{\"na").cut_off(), Outcome::Delivered),
        ("cut-404", Fault::unregistered().cut_off(), rejected("UNREGISTERED", Certain)),
        ("204", Fault::reply(204, ""), Outcome::Delivered),
        ("reset", Fault::Reset, outage("connection_lost", None)),
    ] {
        world.google.fault_for(name, fault);
        assert_eq!(deliver(&app, name).await, expected, "{name}");
        assert_eq!(world.google.messages_for(name).len(), 1, "{name}");
    }
    for (name, fault, reason) in [
        ("404", Fault::error(404, "NOT_FOUND"), "NOT_FOUND"),
        ("html-404", Fault::html(404), "NOT_FOUND"),
        ("403", Fault::error(403, "PERMISSION_DENIED"), "PERMISSION_DENIED"),
        ("third", Fault::third_party_auth_error(), "THIRD_PARTY_AUTH_ERROR"),
        ("redirect", Fault::reply(302, "").with_header("location", "https://127.0.0.1:1/"), "redirect"),
        ("409", Fault::error(409, "ABORTED"), "unexpected_status"),
        ("501", Fault::html(501), "unexpected_status"),
    ] {
        world.google.fault_for(name, fault);
        assert_mistake(&deliver(&app, name).await, reason);
        assert_eq!(world.google.messages_for(name).len(), 1, "{name}");
    }
    assert_eq!(world.google.token_requests().len(), 1);
}

#[tokio::test]
async fn a_wrong_project_is_no_reason_to_reject_anyone() {
    let world = World::new().await;
    let app = world.try_app(json!({"project_id": "other-project"})).unwrap();
    assert_mistake(&deliver(&app, "tok-1").await, "NOT_FOUND");
    world.google.add_project("other-project");
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.unregister("tok-1");
    assert_eq!(deliver(&app, "tok-1").await, rejected("UNREGISTERED", Certain));
}

#[tokio::test]
async fn two_hundred_concurrent_messages_need_one_token_and_few_connections() {
    let world = World::new().await;
    let (one, other) = (Arc::new(world.app()), Arc::new(world.try_app(json!({"target": "token"})).unwrap()));
    let mut deliveries = tokio::task::JoinSet::new();
    for n in 0..200 {
        let app = Arc::clone(if n % 2 == 0 { &one } else { &other });
        deliveries.spawn(async move { deliver(&app, &format!("tok-{n}")).await });
    }
    for outcome in deliveries.join_all().await {
        assert_eq!(outcome, Outcome::Delivered);
    }
    assert_eq!(world.google.messages().len(), 200);
    assert_eq!(world.google.token_requests().len(), 1);
    // One for the token, and one or two for each app.
    assert!(world.google.connections() <= 5, "{}", world.google.connections());
}

#[tokio::test]
async fn a_rejected_payload_is_resent_once_in_the_reduced_form() {
    let world = World::new().await;
    let app = world.app();
    world.google.fault_times_for("tok-1", 1, Fault::invalid_argument("message.data[0].key"));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    let messages = world.google.messages_for("tok-1");
    assert_eq!(messages[0]["message"]["data"]["content_body"], "Tea?");
    let least = json!({"event_id": "$tea", "room_id": "!kitchen:example.org", "prio": "high", "unread": "2"});
    assert_eq!(messages[1]["message"]["data"], least);

    world.google.fault_for("tok-2", Fault::html(400));
    assert_eq!(deliver(&app, "tok-2").await, Outcome::Dropped("bad_payload"));
    assert_eq!(world.google.messages_for("tok-2").len(), 2);

    world.google.fault_for("tok-3", Fault::invalid_argument("message.token"));
    world.google.fault_times_for("tok-3", 1, Fault::invalid_argument("message.android.ttl"));
    assert_eq!(deliver(&app, "tok-3").await, rejected("INVALID_ARGUMENT", Suspect));

    // Both forms contain the operator's options.
    world.google.fault_for("tok-4", Fault::invalid_argument("message.android.ttl"));
    assert_mistake(&deliver(&app, "tok-4").await, "INVALID_ARGUMENT");
    assert_eq!(world.google.messages_for("tok-4").len(), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let world = World::new().await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    for round in 2..4 {
        world.google.expire_tokens();
        assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
        assert_eq!(world.google.token_requests().len(), round);
    }
    world.google.fault_for("tok-2", Fault::unauthenticated());
    assert_mistake(&deliver(&app, "tok-2").await, "UNAUTHENTICATED");
    assert_eq!((world.google.messages_for("tok-2").len(), world.google.token_requests().len()), (2, 4));
    // A project that refuses the new token too requests no other one each time.
    assert_mistake(&deliver(&app, "tok-2").await, "UNAUTHENTICATED");
    assert_eq!((world.google.messages_for("tok-2").len(), world.google.token_requests().len()), (4, 4));
}

#[tokio::test]
async fn a_message_may_need_both_a_new_token_and_the_reduced_form() {
    let world = World::new().await;
    let app = world.app();
    world.google.fault_times_for("tok-1", 1, Fault::invalid_argument("message.data"));
    world.google.fault_times_for("tok-1", 1, Fault::unauthenticated());
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert_eq!(world.google.messages_for("tok-1").len(), 3);
}

#[tokio::test]
async fn without_time_left_nothing_is_resent() {
    let world = World::new().await;
    let app = world.app();
    app.warm_up().await.unwrap();
    world.google.fault_for("tok-1", Fault::html(400));
    let found = deliver_within(&app, "tok-1", Duration::from_secs(2)).await;
    assert_eq!(found, Failure::upstream("no_time", None).into());
    assert_eq!(world.google.messages_for("tok-1").len(), 1);
}

#[tokio::test]
async fn a_quota_pauses_the_device_and_then_the_project() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    let paused = |seconds, is_short| pause("paused", seconds, is_short);
    let quota = |seconds, is_short| pause("QUOTA_EXCEEDED", seconds, is_short);
    let over = |value: &str| Fault::quota_exceeded().with_header("retry-after", value);
    world.google.fault_times_for("a", 1, over("4"));
    assert_eq!(deliver(&app, "a").await, quota(4, true));
    clock.advance(Duration::from_secs(3));
    assert_eq!(deliver(&app, "a").await, paused(1, true));
    assert_eq!(world.google.messages_for("a").len(), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(deliver(&app, "a").await, Outcome::Delivered);

    world.google.fault_times_for("b", 1, Fault::quota_exceeded());
    assert_eq!(deliver(&app, "b").await, quota(60, false));
    assert_eq!(deliver(&app, "b").await, paused(60, false));
    assert_eq!(deliver(&app, "other").await, Outcome::Delivered);

    world.google.fault_times_for("c", 1, over("99999999"));
    assert_eq!(deliver(&app, "c").await, quota(3600, false));
    // Another app of the same project pauses with it.
    let neighbour = world.app();
    assert_eq!(deliver(&neighbour, "other").await, paused(3600, false));
    let elsewhere = world.try_app(json!({"project_id": "second"})).unwrap();
    world.google.add_project("second");
    assert_eq!(deliver(&elsewhere, "other").await, Outcome::Delivered);
}

#[tokio::test]
async fn a_date_in_retry_after_counts_from_now() {
    let clock = Clock::manual(Timestamp::from_millis(784_111_777_000));
    let world = World::at(clock).await;
    let app = world.app();
    for date in ["Sun, 06 Nov 1994 09:49:37 GMT", "Sunday, 06-Nov-94 09:49:37 GMT", "Sun Nov  6 09:49:37 1994"] {
        world.google.fault_times(1, Fault::unavailable().with_header("retry-after", date));
        assert_eq!(deliver(&app, "tok-1").await, outage("UNAVAILABLE", Some(3600)), "{date}");
    }
}

#[tokio::test]
async fn a_token_is_renewed_early_while_the_old_one_serves() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    clock.advance(Duration::from_secs(3599 - 301));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert_eq!(world.google.token_requests().len(), 1);
    clock.advance(Duration::from_secs(2));
    // No delivery waits for the endpoint, even if it hangs.
    world.google.token_fault_times(1, Fault::Delay(Duration::from_millis(300)));
    let old = |request: &harness::fcm::Request| request.header("authorization").unwrap().to_owned();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    let messages = world.google.messages();
    assert_eq!(old(&messages[0]), old(&messages[2]));
    wait_until("the renewal", SOON, || world.google.token_requests().len() == 2).await;
    let first = old(&messages[0]);
    harness::wait::wait_for("the new token", SOON, async || {
        assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
        (old(world.google.messages().last().unwrap()) != first).then_some(())
    })
    .await;
    assert_eq!(world.google.token_requests().len(), 2);
}

#[tokio::test]
async fn failures_of_the_token_endpoint_back_off() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    let no_token = |seconds| pause("no_token", seconds, true);
    let faults = [
        Fault::html(500),
        Fault::json(400, json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."})),
        Fault::reply(200, "{}"),
        Fault::json(200, json!({"access_token": "a\nb", "expires_in": 3599})),
        Fault::json(200, json!({"access_token": "x", "expires_in": 0})),
        Fault::Reset,
        Fault::reply(302, "").with_header("location", "https://127.0.0.1:1/"),
        Fault::html(503),
    ];
    for (fault, wait) in faults.into_iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        world.google.token_fault_times(1, fault);
        let before = world.google.token_requests().len();
        assert_eq!(deliver(&app, "tok-1").await, no_token(wait));
        assert_eq!(deliver(&app, "tok-1").await, no_token(wait));
        assert_eq!(world.google.token_requests().len(), before + 1);
        clock.advance(Duration::from_secs(wait));
    }
    assert!(world.google.messages().is_empty() && app.readiness().is_ok_and(|note| note.is_some()));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
}

#[tokio::test]
async fn a_failed_renewal_affects_no_delivery_while_the_token_is_valid() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.token_fault(Fault::html(503));
    clock.advance(Duration::from_secs(3400));
    for _ in 0..3 {
        assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    }
    wait_until("the renewal", SOON, || world.google.token_requests().len() == 2).await;
}

#[tokio::test]
async fn a_delivery_without_a_token_before_the_deadline_fails() {
    let world = World::new().await;
    let app = world.app();
    world.google.token_fault(Fault::Silence);
    let found = deliver_within(&app, "tok-1", Duration::from_millis(200)).await;
    assert_eq!(found, Failure::upstream("no_token", None).into());
    assert!(world.google.messages().is_empty());
}

#[tokio::test]
async fn the_clouds_metadata_server_is_a_source_of_tokens() {
    let world = World::new().await;
    let settings = json!({
        "credentials": "metadata", "metadata_url": world.google.metadata_url(), "project_id": "demo-project",
    });
    let (app, other) = (world.try_app(settings.clone()).unwrap(), world.try_app(settings).unwrap());
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert_eq!(deliver(&other, "tok-1").await, Outcome::Delivered);
    assert_eq!(world.google.token_requests().len(), 1);
    assert_eq!(world.google.token_requests()[0].method, "GET");
}

#[tokio::test]
async fn a_broken_connection_is_replaced() {
    let world = World::new().await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.kill_connections();
    harness::wait::wait_for("a new connection", SOON, async || {
        (deliver(&app, "tok-1").await == Outcome::Delivered).then_some(())
    })
    .await;
    world.google.fault_times(1, Fault::Close);
    assert_eq!(deliver(&app, "tok-1").await, outage("connection_lost", None));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
}

#[tokio::test]
async fn an_unprocessed_message_is_resent_on_another_connection() {
    let world = World::new().await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.fault_times(1, Fault::GoAway);
    assert_eq!(deliver(&app, "tok-2").await, Outcome::Delivered);
    assert_eq!(world.google.messages_for("tok-2").len(), 2);
}

#[tokio::test]
async fn a_server_without_a_valid_certificate_gets_no_message() {
    let world = World::new().await;
    let app = world.app();
    app.warm_up().await.unwrap();
    for certificate in [
        Certificate::self_signed(&["127.0.0.1"]),
        world.google.authority().issue(&["other.example"]),
        world.google.authority().issue_expired(&["127.0.0.1"]),
    ] {
        world.google.set_certificate(&certificate);
        assert_eq!(deliver(&app, "tok-1").await, outage("tls", None));
    }
    assert!(world.google.messages().is_empty());
}

#[tokio::test]
async fn an_attempt_at_a_silent_server_times_out() {
    let world = World::new().await;
    let app = world.app();
    app.warm_up().await.unwrap();
    world.google.fault_for("silent", Fault::Silence);
    let found = tokio::time::timeout(SOON, deliver(&app, "silent")).await;
    assert_eq!(found.expect("it gives up"), outage("timeout", None));
}

#[tokio::test]
async fn a_problem_with_the_service_account_names_the_key() {
    let world = World::new().await;
    let path = world.folder.path().join("sa.json");
    let build = |file: Value| {
        std::fs::write(&path, file.to_string()).unwrap();
        let settings = serde_json::from_value(json!({"service_account_file": path})).unwrap();
        let app = Fcm::new("a", &settings, &world.context.with_outbound(&world.outbound(), true));
        app.map(drop).map_err(|error| error.to_string())
    };
    let good = world.google.service_account();
    assert_eq!(build(good.clone()), Ok(()));
    for (key, value, reason) in [
        ("type", json!("authorized_user"), "\"type\""),
        ("private_key", json!("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"), "\"private_key\""),
        ("private_key", json!(null), "\"private_key\""),
        ("client_email", json!(""), "\"client_email\""),
        ("token_uri", json!("nowhere"), "\"token_uri\""),
        ("project_id", json!(null), "project_id: "),
        ("project_id", json!("a/../b"), "project_id: "),
    ] {
        let mut file = good.clone();
        file[key] = value;
        let error = build(file).unwrap_err();
        assert!(error.contains(reason) && !error.contains("c2VjcmV0"), "{error}");
    }
    let error = build(json!("secret")).unwrap_err();
    assert!(error.contains("sa.json") && !error.contains("secret\""), "{error}");
    std::fs::remove_file(&path).unwrap();
    let settings = serde_json::from_value(json!({"service_account_file": path})).unwrap();
    let missing = Fcm::new("a", &settings, &world.context).map(drop);
    assert!(missing.unwrap_err().to_string().starts_with("service_account_file: cannot read"));
}
