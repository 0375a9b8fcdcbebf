//! What one client takes of what all clients share. A client is an IPv4 address or an IPv6 /48 network.
//!
//! Invariant: the other client is always an innocent homeserver, which must not notice the first one.

use harness::api::{Answer, Call};
use harness::fcm::Fault;
use harness::wait::wait_until;
use harness::world::push::{ANDROID, DEADLINE, IOS, NOTIFY, World, android_app, android_device, ios_app, message_body};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const HOMESERVER: &str = "8.8.8.8";

/// A gateway behind a trusted proxy. Google does not respond to messages for junk.
async fn world(tables: &str) -> World {
    let apps = [ios_app(IOS, ""), android_app(ANDROID, "")];
    let world = World::serving("trusted_proxies = [\"127.0.0.1/32\"]", tables, &apps).await;
    world.google.fault_by(|request| {
        let is_junk = request.pushkey().is_some_and(|pushkey| pushkey.starts_with("junk"));
        is_junk.then_some(Fault::Silence)
    });
    world
}

fn call(world: &World, client: &str, event: &str, devices: Value) -> Call {
    world.api.post(NOTIFY, message_body(event, devices)).header("x-forwarded-for", client)
}

async fn post(world: &World, client: &str, event: &str, devices: Value) -> Answer {
    call(world, client, event, devices).send().await
}

fn junk(numbers: std::ops::Range<usize>) -> Value {
    numbers.map(|number| android_device(&format!("junk{number}"))).collect()
}

/// Waits until this many messages for junk are in flight.
async fn wait_for_junk(world: &World, number: usize) {
    let is_junk = |request: &harness::fcm::Request| request.pushkey().is_some_and(|key| key.starts_with("junk"));
    wait_until("the junk", DEADLINE, || {
        world.google.messages().iter().filter(|request| is_junk(request)).count() == number
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_holds_a_quarter_of_the_requests_in_flight() {
    let world = world("[limits]\nmax_in_flight = 256\n").await;
    let mut stuck = JoinSet::new();
    for number in 0..64 {
        let client = format!("2a00:1:2:{number}::1");
        stuck.spawn(call(&world, &client, &format!("${number}"), junk(number..number + 1)).send());
    }
    wait_for_junk(&world, 64).await;
    let refused = post(&world, "2a00:1:2:99::1", "$refused", junk(99..100)).await;
    refused.refused(503, "M_UNKNOWN");
    assert_eq!(refused.header("retry-after"), Some("1"));
    post(&world, HOMESERVER, "$own", json!([android_device("phone")])).await.expect(200);
    post(&world, "2a00:1:3:9::1", "$other", json!([android_device("phone")])).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_holds_a_quarter_of_the_devices_in_flight() {
    let world = world("[limits]\nmax_devices_in_flight = 256\n").await;
    let mut stuck = JoinSet::new();
    stuck.spawn(call(&world, "6.6.6.6", "$1", junk(0..64)).send());
    // The memory of a request counts too: 32 bytes for each zero.
    let mut large = message_body("$2", junk(64..65));
    large["notification"]["content"] = json!({ "zeros": vec![0; 50_000] });
    stuck.spawn(world.api.post(NOTIFY, large).header("x-forwarded-for", "7.7.7.7").send());
    wait_for_junk(&world, 65).await;
    for client in ["6.6.6.6", "7.7.7.7"] {
        post(&world, client, "$3", junk(80..81)).await.refused(503, "M_UNKNOWN");
    }
    post(&world, HOMESERVER, "$4", json!([android_device("phone")])).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_networks_of_one_client_open_the_guard_for_it_alone() {
    let world = world("").await;
    let unknown = |number: usize| json!({ "app_id": "com.example.gone", "pushkey": format!("key{number}") });
    for network in 1..9 {
        let devices: Value = (network * 100..network * 100 + 20).map(unknown).collect();
        let answer = post(&world, &format!("2a00:1:2:{network}::1"), &format!("${network}"), devices).await;
        answer.refused(502, "M_UNKNOWN");
    }
    let answer = post(&world, HOMESERVER, "$own", json!([unknown(1)])).await;
    assert_eq!(answer.expect(200), json!({ "rejected": ["key1"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pushkeys_of_one_installation_share_its_rate() {
    let world = world("[limits]\nper_pushkey = \"3/h\"\n").await;
    let id = "cAAAAAAAAAAAAAAAAAAA-_";
    let token = format!("{id}:APA91bAAAA");
    for (number, pushkey) in [id, &token, id].into_iter().enumerate() {
        post(&world, HOMESERVER, &format!("${number}"), json!([android_device(pushkey)])).await.expect(200);
    }
    for pushkey in [id, &token] {
        let answer = post(&world, HOMESERVER, "$more", json!([android_device(pushkey)])).await;
        answer.refused(429, "M_LIMIT_EXCEEDED");
    }
    // Each is a pushkey of its own otherwise.
    assert_eq!((world.google.messages_for(id).len(), world.google.messages_for(&token).len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_app_ids_do_not_hide_the_homeservers_in_the_log() {
    let world = world("").await;
    let junk: Value = (0..50).map(|n| json!({ "app_id": format!("com.junk{n}"), "pushkey": "k" })).collect();
    post(&world, "6.6.6.6", "$junk", junk).await;
    for number in 0..2 {
        let device = json!({ "app_id": "com.example.wrong", "pushkey": format!("k{number}") });
        post(&world, HOMESERVER, &format!("${number}"), json!([device])).await.expect(200);
    }
    world.server.wait_for_log("com.example.wrong", DEADLINE).await;
    let logs = world.server.logs();
    let count =
        |text: &str| logs.lines().filter(|line| line.contains("no app is configured") && line.contains(text)).count();
    assert_eq!((count("com.example.wrong"), count("com.junk")), (1, 11), "{logs}");
}
