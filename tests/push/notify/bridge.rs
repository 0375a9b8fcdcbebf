//! `type = "http"`: notifications posted to another push gateway or a webhook.

use harness::push_service::Reply;
use harness::receiver::Receiver;
use harness::wait::wait_until;
use harness::world::push::{DEADLINE, World, android_app, endpoint_app, ids, message, with};
use serde_json::{Value, json};

const BRIDGE: &str = "com.example.bridge";
const PHONE: &str = "com.example.phone";

const BELIEVING: &str = "[rejection_breaker]\nenabled = false\n";

/// A gateway whose bridge leads to the receiver, with these further keys.
async fn world(keys: &str) -> (World, Receiver) {
    let base = "url = \"https://127.0.0.1:1/\"\n";
    let apps = [endpoint_app("http", BRIDGE, base), android_app(PHONE, "")];
    let mut world = World::serving("", BELIEVING, &apps).await;
    let receiver = Receiver::start(world.google.authority()).await;
    let line = format!("url = {:?}\n{keys}", receiver.url());
    world.restart_with(|config| config.replace(base, &line)).await;
    (world, receiver)
}

fn device(number: usize) -> Value {
    json!({ "app_id": BRIDGE, "pushkey": format!("key {number}") })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_gets_the_notification_as_it_came_with_its_device_alone() {
    let (world, receiver) =
        world("[apps.\"com.example.bridge\".headers]\nAuthorization = \"Bearer x\"\nX-Tenant = \"a\"\n").await;
    let one = with(device(1), json!({ "pushkey_ts": 42, "data": { "format": "x" }, "tweaks": { "sound": "bing" } }));
    let sent =
        with(message(), json!({ "unknown": [1], "id": "$slate", "counts": { "unread": 1 }, "user_is_target": false }));
    let devices = json!([one, device(2), world.phone(PHONE)]);
    let answer = world.notify(&with(sent.clone(), json!({ "devices": devices }))).await;
    assert_eq!(answer.expect(200), json!({ "rejected": [] }));
    for device in [one, device(2)] {
        let requests = receiver.requests_for(device["pushkey"].as_str().expect("a pushkey"));
        let [request] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!(request.json(), json!({ "notification": with(sent.clone(), json!({ "devices": [device] })) }));
        let header = |name| request.header(name);
        assert_eq!((request.method.as_str(), request.path()), ("POST", "/_matrix/push/v1/notify"));
        assert_eq!(
            ["content-type", "authorization", "x-tenant", "x-push-signature"].map(header),
            [Some("application/json"), Some("Bearer x"), Some("a"), None]
        );
        assert!(request.is_http2);
    }
    assert_eq!(receiver.requests().len(), 2);
    // Any pushkey is the receiver's matter, and counts may be off.
    let url = json!({ "app_id": BRIDGE, "pushkey": "https://ntfy.sh/up", "data": { "disable_badge_count": true } });
    world.deliver(with(ids(), json!({ "counts": { "unread": 1 } })), &url).await;
    let request = receiver.requests_for("https://ntfy.sh/up").remove(0);
    assert_eq!(request.json()["notification"], with(ids(), json!({ "devices": [url] })));
    world.deliver(json!({ "counts": { "unread": 0 } }), &device(3)).await;
    assert_eq!(receiver.requests_for("key 3")[0].json()["notification"]["counts"], json!({ "unread": 0 }));
    let logs = world.server.logs();
    assert!(!logs.contains("Bearer x"), "a header is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_signed_with_the_secret_and_the_previous_one() {
    let (mut world, receiver) = world("secret = \"first secret\"\n").await;
    receiver.set_secret("first secret");
    world.deliver(message(), &device(1)).await;
    receiver.set_secret("second secret");
    world.notify(&with(message(), json!({ "devices": [device(2)] }))).await.refused(502, "M_UNKNOWN");
    world.server.wait_for_log("check secret and headers", DEADLINE).await;
    world
        .restart_with(|config| {
            config
                .replace("secret = \"first secret\"", "secret = \"second secret\"\nsecret_previous = \"first secret\"")
        })
        .await;
    for (number, secret) in [(3, "first secret"), (4, "second secret")] {
        receiver.set_secret(secret);
        world.deliver(message(), &device(number)).await;
    }
    let header = receiver.requests_for("key 4")[0].header("x-push-signature").expect("a signature").to_owned();
    assert_eq!(header.matches(",v1=").count(), 2, "{header}");
    assert!(!world.server.logs().contains("secret\""), "a secret is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_outcome() {
    let (world, receiver) = world("").await;
    // Status, body (with the pushkey for KEY), Retry-After, how often; the response, whether it rejects, the requests.
    type Row = (u16, &'static str, Option<&'static str>, Option<usize>, u16, bool, usize);
    let rows: [Row; 14] = [
        (200, r#"{"rejected":[]}"#, None, None, 200, false, 1),
        (200, r#"{"rejected":["KEY"]}"#, None, None, 200, true, 1),
        (200, r#"{"rejected":["other"]}"#, None, None, 200, false, 1),
        (204, "", None, None, 200, false, 1),
        (200, "<html>", None, None, 200, false, 1),
        (400, r#"{"rejected":["KEY"]}"#, None, None, 502, false, 1),
        (404, "", None, None, 502, false, 1),
        (302, "", None, None, 502, false, 1),
        (429, "", None, None, 502, false, 1),
        (429, "", Some("1"), Some(1), 200, false, 2),
        (429, "", Some("60"), None, 502, false, 1),
        (500, r#"{"rejected":["KEY"]}"#, None, None, 502, false, 3),
        (502, "", None, Some(2), 200, false, 3),
        (503, "", Some("60"), None, 502, false, 1),
    ];
    for (number, (status, body, retry_after, times, code, is_rejected, requests)) in rows.into_iter().enumerate() {
        let device = device(number);
        let pushkey = device["pushkey"].as_str().expect("a pushkey").to_owned();
        let reply = Reply::new(status, body.replace("KEY", &pushkey)).with_header("location", "https://127.0.0.1:1/");
        let reply = match retry_after {
            Some(seconds) => reply.with_header("retry-after", seconds),
            None => reply,
        };
        receiver.answer(times, reply);
        let answer = world.notify(&with(message(), json!({ "devices": [device] }))).await;
        assert_eq!(answer.code(), code, "row {number}: {answer}");
        if code == 200 {
            let rejected = if is_rejected { json!([pushkey]) } else { json!([]) };
            assert_eq!(answer.json()["rejected"], rejected, "row {number}");
        }
        assert_eq!(receiver.requests_for(&pushkey).len(), requests, "row {number}");
        receiver.mend();
        // One success keeps the circuit closed.
        world.deliver(with(message(), json!({ "event_id": format!("$healthy{number}") })), &self::device(100)).await;
    }
    receiver.close(1);
    world.deliver(message(), &device(101)).await;
    assert_eq!(receiver.requests_for("key 101").len(), 2);
    // A delivered event is not sent again.
    world.deliver(message(), &device(101)).await;
    assert_eq!(receiver.requests_for("key 101").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_behind_a_gateway_delivers_and_its_rejections_come_back() {
    let inner = World::serving("", BELIEVING, &[android_app(BRIDGE, "")]).await;
    let keys = format!("url = \"{}/_matrix/push/v1/notify\"\n", inner.server.url());
    let outer = World::serving("", BELIEVING, &[endpoint_app("http", BRIDGE, &keys)]).await;
    let (good, dead) = (inner.phone(BRIDGE), inner.phone(BRIDGE));
    inner.google.unregister(dead["pushkey"].as_str().expect("a pushkey"));
    let answer = outer.notify(&with(message(), json!({ "devices": [good, dead] }))).await;
    assert_eq!(answer.expect(200)["rejected"], json!([dead["pushkey"]]));
    assert_eq!(inner.message(&good)["data"]["content_body"], "Lunch?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_says_nothing_about_the_same_pushkey_with_other_data() {
    let (world, receiver) = world("").await;
    let bad = with(device(1), json!({ "data": { "endpoint": "bad" } }));
    receiver.answer(Some(1), Reply::json(200, json!({ "rejected": ["key 1"] })));
    let answer = world.notify(&with(ids(), json!({ "devices": [bad] }))).await;
    assert_eq!(answer.expect(200)["rejected"], json!(["key 1"]));
    world.deliver(with(ids(), json!({ "event_id": "$next" })), &device(1)).await;
    assert_eq!(receiver.requests_for("key 1").len(), 2);
    let again = world.notify(&with(ids(), json!({ "event_id": "$third", "devices": [bad] }))).await;
    assert_eq!(again.expect(200)["rejected"], json!(["key 1"]));
    assert_eq!(receiver.requests_for("key 1").len(), 2, "remembered for the same device");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_and_test_push_know_the_bridge() {
    let (world, receiver) = world("secret = \"s3cret value\"\n").await;
    let run = async |arguments: &[&str]| {
        let output = world.server.run(arguments).await;
        let text = [&*output.stdout, &*output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = run(&["check-config"]).await;
    assert!(code == Some(0) && text.contains("HTTP to https://127.0.0.1") && text.contains("signed"), "{text}");
    assert!(!text.contains("s3cret") && receiver.requests().is_empty());
    let (code, text) = run(&["check-config", "--online"]).await;
    assert!(code == Some(0) && text.contains("app com.example.bridge: connected"), "{text}");
    assert!(receiver.requests().is_empty(), "nothing is sent");
    receiver.set_secret("s3cret value");
    let (code, text) = run(&["test-push", "--app", BRIDGE, "--pushkey", "k"]).await;
    assert!(code == Some(0) && text.contains("(http)") && text.contains("delivered"), "{text}");
    let sent = receiver.requests_for("k").remove(0).json();
    assert_eq!(sent["notification"]["content"]["body"], "This is a test");
    receiver.answer(None, Reply::json(200, json!({ "rejected": ["k"] })));
    let (code, text) = run(&["test-push", "--app", BRIDGE, "--pushkey", "k"]).await;
    assert!(code == Some(1) && text.contains("rejected (rejected)") && text.contains("look there"), "{text}");
    wait_until("both", DEADLINE, || receiver.requests_for("k").len() == 2).await;
}
