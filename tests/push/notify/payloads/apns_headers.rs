//! The headers with which APNs decides when, how and for how long it delivers.
//!
//! Invariant: the fake rejects what APNs rejects (two headers of one name, a wrong topic, priority 10 for a background
//! push), so an accepted push is valid.

use harness::apns::{Fault, Request};
use harness::world::push::{App, World, ids, ios_app, ios_app_of, message, with};
use serde_json::{Value, json};
use shared::clock::Clock;

const APP: &str = "org.example.ios";

/// A background update.
fn quiet() -> Value {
    json!({ "default_payload": { "aps": { "content-available": 1 } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn type_priority_and_topic_follow_from_app_event_and_payload() {
    let special = [
        ("background", "com.example.app"),
        ("complication", "com.example.app.complication"),
        ("fileprovider", "com.example.app.pushkit.fileprovider"),
        ("mdm", "com.example.app"),
        ("location", "com.example.app.location-query"),
        ("liveactivity", "com.example.app.push-type.liveactivity"),
        ("pushtotalk", "com.example.app.voip-ptt"),
        ("widgets", "com.example.app.push-type.widgets"),
        ("controls", "com.example.app.push-type.controls"),
    ];
    let keys = special.map(|(push_type, topic)| (topic, format!("push_type = {push_type:?}")));
    let mut apps: Vec<App<'_>> =
        special.iter().zip(&keys).map(|((push_type, _), (topic, keys))| ios_app_of(topic, push_type, keys)).collect();
    apps.push(ios_app(APP, ""));
    apps.push(ios_app("voip", "push_type = \"voip\"\nvoip_events = \"all\""));
    apps.push(ios_app_of("com.example.app.voip", "voip whole", "push_type = \"voip\""));
    let gateway = World::serving("", "", &apps).await;

    let low = || json!({ "prio": "low" });
    let call = || with(message(), json!({ "type": "m.call.invite", "prio": "low" }));
    let badge = || json!({ "counts": { "unread": 1 } });
    let mut rows = vec![
        (APP, message(), json!({}), ("alert", "10", "com.example.app")),
        (APP, with(message(), low()), json!({}), ("alert", "5", "com.example.app")),
        (APP, with(message(), json!({ "prio": "LOW" })), json!({}), ("alert", "10", "com.example.app")),
        (APP, with(message(), json!({ "prio": null })), json!({}), ("alert", "10", "com.example.app")),
        (APP, badge(), json!({}), ("alert", "5", "com.example.app")),
        (APP, with(badge(), json!({ "prio": "high" })), json!({}), ("alert", "5", "com.example.app")),
        (APP, ids(), json!({}), ("alert", "10", "com.example.app")),
        (APP, ids(), quiet(), ("background", "5", "com.example.app")),
        (APP, message(), quiet(), ("alert", "10", "com.example.app")),
        ("voip", with(message(), low()), json!({}), ("voip", "10", "com.example.app.voip")),
        ("voip whole", call(), json!({}), ("voip", "10", "com.example.app.voip")),
    ];
    for shown in ["alert", "badge", "sound"] {
        let mut data = quiet();
        data["default_payload"]["aps"][shown] = json!("1");
        rows.push((APP, ids(), data, ("alert", "10", "com.example.app")));
    }
    for (push_type, topic) in special {
        let priority = if push_type == "background" { "5" } else { "10" };
        rows.push((push_type, ids(), json!({}), (push_type, priority, topic)));
    }
    for (app, notification, data, expected) in rows {
        let device = with(gateway.iphone(app), json!({ "data": data }));
        gateway.deliver(notification.clone(), &device).await;
        let push = gateway.push(&device);
        let header = |name| push.header(name).unwrap_or_default();
        let found = (header("apns-push-type"), header("apns-priority"), header("apns-topic"));
        assert_eq!(found, expected, "{app}: {notification} {data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apple_keeps_a_push_for_a_day_and_a_call_for_half_a_minute() {
    let apps = [
        ios_app(APP, ""),
        ios_app("org.example.hour", "expiration = \"1h\""),
        ios_app("org.example.now", "expiration = \"0\""),
    ];
    let gateway = World::serving("", "", &apps).await;
    let call = with(message(), json!({ "type": "m.call.invite" }));
    for (app, notification, seconds) in [
        (APP, message(), Some(86_400)),
        (APP, ids(), Some(86_400)),
        (APP, json!({}), Some(86_400)),
        (APP, call.clone(), Some(30)),
        ("org.example.hour", message(), Some(3_600)),
        ("org.example.hour", call.clone(), Some(30)),
        ("org.example.now", message(), None),
        ("org.example.now", call, None),
    ] {
        let device = gateway.iphone(app);
        let before = now();
        gateway.deliver(notification.clone(), &device).await;
        let after = now();
        let expiration: i64 = gateway.push(&device).header("apns-expiration").unwrap().parse().unwrap();
        match seconds {
            Some(seconds) => {
                let started = expiration - seconds;
                assert!((before..=after).contains(&started), "{app} {notification}: {before} {started} {after}");
            }
            None => assert_eq!(expiration, 0),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collapse_id_is_a_hash() {
    let apps = [ios_app(APP, ""), ios_app("room", "collapse = \"room\""), ios_app("event", "collapse = \"event\"")];
    let gateway = World::serving("", "", &apps).await;
    // SHA-256 in base64url, from another tool.
    let (room, event) = ("mr1m-cEDMFvXVohhYQO0mnsPg7Xw-cK4fS23dMIM7G8", "PCGoBCSv0K_54FeRWcYIT9gji51BnaylH7Xz59ivRPk");
    for (app, notification, expected) in [
        (APP, message(), None),
        ("room", message(), Some(room)),
        ("room", with(ids(), json!({ "event_id": "$other" })), Some(room)),
        ("room", json!({ "counts": { "unread": 1 } }), None),
        ("event", ids(), Some(event)),
        ("event", with(message(), json!({ "event_id": null })), None),
    ] {
        let device = gateway.iphone(app);
        gateway.deliver(notification.clone(), &device).await;
        assert_eq!(gateway.push(&device).header("apns-collapse-id"), expected, "{app} {notification}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_has_one_id_of_its_own_on_all_attempts() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    let (first, second) = (gateway.iphone(APP), gateway.iphone(APP));
    let of = |device: &Value| gateway.apple.requests_for(device["pushkey"].as_str().unwrap());
    gateway.apple.fault_times(first["pushkey"].as_str().unwrap(), 2, Fault::error(503, "ServiceUnavailable"));
    gateway.deliver(message(), &first).await;
    gateway.deliver(message(), &second).await;
    let id = |push: &Request| push.header("apns-id").map(str::to_owned);
    let (attempts, other) = (of(&first), of(&second));
    assert_eq!((attempts.len(), other.len()), (3, 1));
    // A second may begin between two attempts.
    let without_time = |push: &Request| {
        let mut headers = push.headers.clone();
        headers.remove("apns-expiration");
        headers
    };
    let same = |push: &Request| without_time(push) == without_time(&attempts[0]) && push.body == attempts[0].body;
    assert!(attempts.iter().all(same));
    assert!(id(&attempts[0]).is_some() && id(&attempts[0]) != id(&other[0]));
}

/// Seconds since the Unix epoch, by the clock of the gateway under test.
fn now() -> i64 {
    Clock::system().now().as_millis() / 1000
}
