//! One push after the other, each with what reaches APNs or FCM and what the homeserver gets.

use harness::apns::Fault;
use harness::application_server::now;
use serde_json::{Value, json};

use super::{BODY, ONCE, RELAY, Relay, THRICE, assert_status, body, example, pushkey};

/// The payload for `acc1` with these members.
#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
fn payload(members: Value) -> Value {
    let mut payload = json!({
        "aps": { "alert": { "loc-key": "Notification", "loc-args": [] }, "mutable-content": 1 }, "chid": "acc1",
    });
    let members = members.as_object().expect("an object").clone();
    payload.as_object_mut().expect("an object").extend(members);
    payload
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_push_reaches_apple_unchanged() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    let answer = relay.push(&path, example()).header("urgency", "high").send().await;
    assert_status(&answer, 201, "a push");
    assert_eq!(answer.header("ttl"), Some("60"));
    let location = answer.header("location").unwrap().strip_prefix("https://push.example.net/wpm/").unwrap();
    assert!(location.len() == 32 && location.bytes().all(|byte| byte.is_ascii_hexdigit()), "{location}");
    let push = relay.world.push(&device);
    assert_eq!(push.target, format!("/3/device/{}", pushkey(&device)));
    for (name, expected) in [
        ("apns-priority", Some("10")),
        ("apns-push-type", Some("alert")),
        ("apns-topic", Some("com.example.app")),
        ("apns-collapse-id", None),
    ] {
        assert_eq!(push.header(name), expected, "{name}");
    }
    let expiration: i64 = push.header("apns-expiration").unwrap().parse().unwrap();
    assert!((now() + 55..=now() + 60).contains(&expiration), "{expiration}");
    assert_eq!(push.json(), payload(json!({ "body": BODY, "con": "aes128gcm" })));
    assert_eq!(push.body.len(), 312);
    // The key of the homeserver and its token stay here.
    let sent = format!("{:?}{:?}", push.headers, push.body);
    assert!(!sent.contains(&relay.homeserver.key()) && !sent.contains("vapid"), "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn urgency_ttl_and_topic_become_header_fields_of_apple() {
    let relay = Relay::start().await;
    for (urgency, priority) in
        [(None, "10"), (Some("HIGH"), "10"), (Some("normal"), "5"), (Some("low"), "5"), (Some("very-low"), "5")]
    {
        let (device, path) = relay.iphone().await;
        let mut push = relay.push(&path, example());
        if let Some(urgency) = urgency {
            push = push.header("urgency", urgency);
        }
        assert_status(&push.send().await, 201, priority);
        assert_eq!(relay.world.push(&device).header("apns-priority"), Some(priority), "{urgency:?}");
    }
    for (ttl, used) in [("0", 0), ("172800", 172_800), ("99999999999999999999", 2_592_000), ("2592001", 2_592_000)] {
        let (device, path) = relay.iphone().await;
        let push = relay.bare(&path).header("ttl", ttl).header("authorization", &relay.authorization());
        let answer = push.header("content-encoding", "aes128gcm").body(example()).send().await;
        assert_eq!((answer.code(), answer.header("ttl")), (201, Some(used.to_string().as_str())), "{answer}");
        let expiration: i64 = relay.world.push(&device).header("apns-expiration").unwrap().parse().unwrap();
        let expected = if used == 0 { 0..=0 } else { now() + used - 5..=now() + used };
        assert!(expected.contains(&expiration), "{ttl}: {expiration}");
    }
    let mut ids = Vec::new();
    for topic in ["room-topic_0123456789", "room-topic_0123456789", "012345678901234567890123456789=="] {
        let (device, path) = relay.iphone().await;
        assert_status(&relay.push(&path, example()).header("topic", topic).send().await, 201, topic);
        ids.push(relay.world.push(&device).header("apns-collapse-id").unwrap().to_owned());
    }
    assert!(ids[0].len() == 32 && ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    // Another homeserver's topic is another one.
    let (device, path) = Relay { world: relay.world, homeserver: Default::default() }.with_topic().await;
    assert_ne!(path, ids[0], "{device}");
}

impl Relay {
    /// Pushes with a topic; returns the collapse identifier.
    async fn with_topic(self) -> (Value, String) {
        let (device, path) = self.iphone().await;
        assert_status(&self.push(&path, example()).header("topic", "room-topic_0123456789").send().await, 201, "");
        let id = self.world.push(&device).header("apns-collapse-id").expect("a topic").to_owned();
        (device, id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_layout_has_z85() {
    let relay = Relay::with("relay = true\nrelay_layout = \"toot\"\n", ONCE, RELAY).await;
    let (device, path) = relay.iphone().await;
    assert_status(&relay.push(&path, example()).send().await, 201, "toot");
    let p = "3#tZwT.i]P0%{LFmT1x&000Mgk)mfy]S5C^AGJ#6sr)M4rfSCffL#%TgtxvoNO$RBF/>LaDv71Qv7Es4D6?XuLiB#F0532sQkFg7yRa&M(<@VN?\
             DJsoX]yV$Q]>ca2{mUy]r+[>o5kxhDkTMhUW3>AtpIlev+1N<rZD7IFH>R#]E=AMXngoL";
    let found = relay.world.push(&device).json();
    assert_eq!((&found["p"], &found["x"]), (&json!(p), &json!("acc1")));
    assert_eq!(found["aps"], payload(json!({}))["aps"]);
    assert_eq!(found.as_object().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_push_reaches_google_unchanged() {
    let relay = Relay::with(
        ONCE,
        &format!("{ONCE}[apps.\"com.example.android\".fcm_options.notification]\nbody = \"x\"\n"),
        RELAY,
    )
    .await;
    let (device, path) = relay.phone().await;
    let answer = relay.push(&path, example()).header("urgency", "high").header("topic", "t").send().await;
    assert_status(&answer, 201, "a push");
    assert_eq!(
        relay.world.message(&device),
        json!({
            "token": device["pushkey"], "android": { "priority": "high", "ttl": "60s" },
            "data": { "body": BODY, "con": "aes128gcm" },
        })
    );
    for (ttl, used) in [("0", "0"), ("99999999999", "2419200")] {
        let (device, path) = relay.phone().await;
        let push = relay.bare(&path).header("ttl", ttl).header("authorization", &relay.authorization());
        let answer = push.header("content-encoding", "aes128gcm").header("urgency", "low").body(example()).send().await;
        assert_eq!((answer.code(), answer.header("ttl")), (201, Some(used)), "{answer}");
        assert_eq!(relay.world.message(&device)["android"], json!({ "priority": "normal", "ttl": format!("{used}s") }));
    }
    // An installation ID is another target.
    let mut device = device;
    device["pushkey"] = json!("cAbCdEfGhIjKlMnOpQrStU");
    let path = relay.path(&device, "acc1").await;
    assert_status(&relay.push(&path, example()).send().await, 201, "an installation ID");
    let message = relay.world.message(&device);
    assert_eq!((&message["fid"], &message["data"]["chid"]), (&device["pushkey"], &json!("acc1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_fit_wakes_the_app() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    assert_status(&relay.push(&path, body(4096, 0)).send().await, 201, "4096 bytes");
    assert_eq!(relay.world.push(&device).json(), payload(json!({ "oversize": "4096" })));
    assert_status(&relay.push(&path, body(4097, 0)).send().await, 413, "4097 bytes");
    assert_eq!(relay.pushes(&device).len(), 1);
    // The largest one that fits.
    assert_status(&relay.push(&path, body(2982, 1)).send().await, 201, "it fits");
    let last = relay.pushes(&device).pop().unwrap();
    assert!(last.json()["body"].is_string() && last.body.len() <= 4096, "{}", last.body.len());
    let (phone, path) = relay.phone().await;
    assert_status(&relay.push(&path, body(3061, 0)).send().await, 201, "one byte too many for Google");
    assert_eq!(relay.world.message(&phone)["data"], json!({ "oversize": "3061" }));
    let reject = format!("{ONCE}relay_oversize = \"reject\"\n");
    let relay = Relay::with(&reject, &reject, RELAY).await;
    for path in [relay.iphone().await.1, relay.phone().await.1] {
        assert_status(&relay.push(&path, body(3500, 0)).send().await, 413, "rejected");
    }
    assert_eq!(relay.upstream(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_a_body_wakes_the_app() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    for round in 1..=2 {
        // The same twice: a wake-up is never a duplicate.
        assert_status(&relay.wake(&path).send().await, 201, "without Content-Encoding");
        assert_eq!(relay.pushes(&device).len(), round);
    }
    assert_eq!(relay.pushes(&device)[0].json(), payload(json!({})));
    assert_status(&relay.push(&path, "").send().await, 201, "with Content-Encoding");
    let (phone, path) = relay.phone().await;
    assert_status(&relay.wake(&path).send().await, 201, "Google");
    assert_eq!(relay.world.message(&phone)["data"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_retried_within_its_request() {
    let relay = Relay::with(THRICE, THRICE, RELAY).await;
    let (device, path) = relay.iphone().await;
    relay.world.apple.fault_times(pushkey(&device), 2, Fault::error(503, "ServiceUnavailable"));
    assert_status(&relay.push(&path, example()).send().await, 201, "503, 503, 200");
    let ids: Vec<_> = relay.pushes(&device).iter().map(|push| push.header("apns-id").unwrap().to_owned()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_bodies_are_one_push() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    for _ in 0..2 {
        assert_status(&relay.push(&path, example()).header("urgency", "low").send().await, 201, "the same");
    }
    assert_eq!(relay.pushes(&device).len(), 1);
    // Another URL of the same device is the same device.
    let other = relay.path(&device, "acc2").await;
    assert_status(&relay.push(&other, example()).send().await, 201, "another URL");
    assert_eq!(relay.pushes(&device).len(), 1);
    assert_status(&relay.push(&path, body(200, 1)).send().await, 201, "another body");
    assert_eq!(relay.pushes(&device).len(), 2);
    relay.world.apple.fault_times("", 1, Fault::Delay(std::time::Duration::from_millis(300)));
    let (one, two) = tokio::join!(relay.push(&path, body(200, 2)).send(), relay.push(&path, body(200, 2)).send());
    assert_status(&one, 201, "in parallel");
    assert_status(&two, 201, "in parallel");
    assert_eq!(relay.pushes(&device).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn background_urgencies_show_nothing() {
    let relay =
        Relay::with(&format!("{ONCE}background_urgencies = [\"low\"]\ndefault_urgency = \"normal\"\n"), ONCE, RELAY)
            .await;
    let (device, path) = relay.iphone().await;
    assert_status(&relay.push(&path, example()).header("urgency", "low").send().await, 201, "low");
    let push = relay.world.push(&device);
    assert_eq!((push.header("apns-push-type"), push.header("apns-priority")), (Some("background"), Some("5")));
    let expected = json!({ "aps": { "content-available": 1 }, "body": BODY, "chid": "acc1", "con": "aes128gcm" });
    assert_eq!(push.json(), expected);
    let (device, path) = relay.iphone().await;
    assert_status(&relay.push(&path, example()).send().await, 201, "the default");
    let push = relay.world.push(&device);
    assert_eq!((push.header("apns-push-type"), push.header("apns-priority")), (Some("alert"), Some("5")));
}
