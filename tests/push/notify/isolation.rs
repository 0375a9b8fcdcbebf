//! A push service that accepts every request and never responds delays only its own app.
//!
//! Invariant: the tests check an order of events; the latencies are printed and decide nothing.

use harness::world::push::{DEADLINE, NOTIFY, Settings, World, android_device, ios_device, message_body};
use std::time::{Duration, Instant};

use harness::api::{Answer, Api};
use harness::apns;
use harness::fcm;
use harness::raw::Raw;
use harness::wait::{wait_for, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The concurrency limit of the failing app.
const PLACES: usize = 20;

/// Its devices never had a delivery, so they get a quarter of it.
const FULL: usize = PLACES / 4;

/// The number of its deliveries: three times as many as its limit.
const SICK: usize = 3 * PLACES;

/// The number of deliveries of the healthy app, and how many at the same time.
const HEALTHY: usize = 200;
const AT_ONCE: usize = 8;

/// No delivery ends before the first attempt times out, neither for lack of a permit nor of time.
const PATIENT: &str = "[limits]\nqueue_wait = \"20s\"\n";

fn iphone(number: usize) -> Value {
    ios_device(&format!("{number:064x}"))
}

fn phone(number: usize) -> Value {
    android_device(&format!("phone{number}"))
}

async fn world() -> World {
    let places = format!("max_concurrent = {PLACES}\nretry_waits = []\n");
    World::with(Settings { ios: &places, android: &places, tables: PATIENT, ..Settings::default() }).await
}

/// Posts an event for each device at the same time; returns the responses in no order.
fn post_all(world: &World, devices: impl Iterator<Item = Value>) -> JoinSet<Answer> {
    let mut answers = JoinSet::new();
    for (number, device) in devices.enumerate() {
        let call = world.api.post(NOTIFY, message_body(&format!("$sick{number}"), json!([device])));
        answers.spawn(call.send());
    }
    answers
}

/// Delivers [`HEALTHY`] events; returns how long each took, the shortest first.
async fn latencies(api: &Api, event: &str, device: fn(usize) -> Value) -> Vec<Duration> {
    let mut clients = JoinSet::new();
    for client in 0..AT_ONCE {
        let (api, event) = (api.clone(), event.to_owned());
        clients.spawn(async move {
            let mut times = Vec::new();
            for number in (client..HEALTHY).step_by(AT_ONCE) {
                let call = api.post(NOTIFY, message_body(&event, json!([device(number)])));
                let began = Instant::now();
                assert_eq!(call.send().await.expect(200), json!({ "rejected": [] }));
                times.push(began.elapsed());
            }
            times
        });
    }
    let mut times = clients.join_all().await.concat();
    times.sort();
    times
}

#[expect(clippy::print_stdout, reason = "figures for people")]
fn print(what: &str, times: &[Duration]) {
    println!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}

/// While `reached` shows that the failing push service has its maximum of requests, the healthy app's events are
/// delivered, `/health` responds, and no event of the failing app gets a response.
async fn assert_isolated(
    world: &World,
    name: &str,
    sick: fn(usize) -> Value,
    healthy: fn(usize) -> Value,
    reached: impl Fn() -> usize,
    full: usize,
) {
    print(&format!("{name} is well"), &latencies(&world.api, "$well", healthy).await);
    let mut answers = post_all(world, (0..SICK).map(sick));
    wait_until("the sick push service to be full", DEADLINE, || reached() >= full).await;
    print(&format!("{name} is black-holed"), &latencies(&world.api, "$ill", healthy).await);
    for (base, path) in [
        (world.server.url(), "/health"),
        (world.server.admin_url(), "/health"),
        (world.server.admin_url(), "/ready"),
        (world.server.admin_url(), "/metrics"),
    ] {
        assert_eq!(Api::new(&base).get(path).send().await.code(), 200, "{path}");
    }
    if let Some(answer) = answers.try_join_next() {
        panic!(
            "a healthy app's event, or /health, was answered after this of a sick one:\n{}",
            answer.expect("a request ends with an answer")
        );
    }
    assert_eq!(reached(), full, "the bulkhead lets more through than it should");
}

#[tokio::test(flavor = "multi_thread")]
async fn apns_deliveries_are_not_delayed_by_a_silent_fcm() {
    let world = world().await;
    world.google.fault(fcm::Fault::Silence);
    let sick = || world.google.messages().len();
    assert_isolated(&world, "Google", phone, iphone, sick, FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fcm_deliveries_are_not_delayed_by_a_silent_apns() {
    let world = world().await;
    world.apple.fault("", apns::Fault::Silence);
    let sick = || world.apple.requests().len();
    assert_isolated(&world, "Apple", iphone, phone, sick, FULL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apns_deliveries_are_not_delayed_by_an_fcm_address_without_a_listener() {
    let world = world().await;
    let admin = Api::new(&world.server.admin_url());
    wait_for("an access token", DEADLINE, async || (admin.get("/ready").send().await.code() == 200).then_some(()))
        .await;
    // There is a token, but no connection for messages yet.
    world.google.set_silent(true);
    let before = world.google.connections();
    let sick = || usize::from(world.google.connections() > before);
    assert_isolated(&world, "Google", phone, iphone, sick, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_permit_in_time_is_answered_with_a_retry() {
    let settings = Settings {
        // Two of them for pushkeys that never had a delivery.
        android: "max_concurrent = 8\nretry_waits = []\n",
        tables: "[limits]\nqueue_wait = \"50ms\"\n",
        ..Settings::default()
    };
    let world = World::with(settings).await;
    world.google.fault(fcm::Fault::Silence);
    let mut answers = post_all(&world, (0..6).map(phone));
    for _ in 0..4 {
        let answer = answers.join_next().await.expect("six requests").unwrap();
        answer.refused(503, "M_UNKNOWN");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(world.google.messages().len(), 2);
    // The next badge update replaces this one, so it is dropped at once.
    let badge = json!({ "notification": { "counts": { "unread": 1 }, "devices": [phone(9)] } });
    let answer = world.api.post(NOTIFY, badge).send().await;
    assert_eq!(answer.expect(200), json!({ "rejected": [] }));
    assert_eq!(world.google.messages().len(), 2);
    assert!(answers.try_join_next().is_none(), "the two that have a place are not answered yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_hangs_up_keeps_its_place_until_what_it_began_has_ended() {
    let world = World::start("[limits]\nmax_in_flight = 1\n").await;
    world.google.fault(fcm::Fault::Silence);
    let body = message_body("$event", json!([phone(0)])).to_string();
    let request = format!("POST {NOTIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut homeserver = Raw::connect(world.server.address()).await;
    assert!(homeserver.send(request.as_bytes()).await);
    wait_until("the message to be under way", DEADLINE, || world.google.messages().len() == 1).await;
    homeserver.reset();
    let admin = Api::new(&world.server.admin_url());
    wait_for("the gateway to notice", DEADLINE, async || {
        let metrics = admin.get("/metrics").send().await.text();
        metrics.lines().any(|line| line == "push_requests_in_flight 0").then_some(())
    })
    .await;
    let other = || world.notify_message("$other", json!([iphone(1)]));
    other().await.refused(503, "M_UNKNOWN");
    // The attempt times out.
    wait_for("the place", DEADLINE, async || (other().await.code() == 200).then_some(())).await;
}
