//! A message for FCM around its `data`: priority, lifetime, collapse key, the operator's options.
//!
//! Invariant: the operator's options never reach `data`, target and priority.

use harness::world::push::{World, android_app, ids, message, with};
use serde_json::{Value, json};

const APP: &str = "org.example.android";
const OPTIONS: &str = "fcm_options = { notification = { title = \"Update\" }, \
     android = { priority = \"normal\", ttl = \"5s\", direct_boot_ok = true, notification = { icon = \"i\" } }, \
     apns = { headers = { apns-priority = \"5\" }, payload = { aps = { sound = \"s\", alert = \"A\" }, k = 1 } }, \
     fcm_options = { analytics_label = \"l\" } }";

#[tokio::test(flavor = "multi_thread")]
async fn priority_life_time_and_collapse_key_follow_from_event_and_app() {
    let apps = [
        android_app(APP, ""),
        android_app("hour", "ttl = \"1h\""),
        android_app("room", "collapse = \"room\""),
        android_app("ringing", "ttl = \"1h\"\ncall_types = [\"org.example.ring\"]"),
    ];
    let gateway = World::serving("", "", &apps).await;
    let call = with(message(), json!({ "type": "m.call.invite" }));
    let badge = json!({ "prio": "high", "counts": { "unread": 1 } });
    // SHA-256 in base64url, from another tool.
    let room = "mr1m-cEDMFvXVohhYQO0mnsPg7Xw-cK4fS23dMIM7G8";
    // Of `call`, the room and the event, each after a zero byte.
    let ring = "8l4yI1e92mXYOCgkvEOlEyiiL4XG3_L0iNJZzpKx3zw";
    for (app, notification, expected) in [
        (APP, message(), json!({ "priority": "high" })),
        (APP, with(message(), json!({ "prio": "low" })), json!({ "priority": "normal" })),
        (APP, with(ids(), json!({ "prio": "soon" })), json!({ "priority": "high" })),
        (APP, badge.clone(), json!({ "priority": "normal", "collapse_key": "badge" })),
        (APP, call.clone(), json!({ "priority": "high", "ttl": "30s", "collapse_key": ring })),
        ("hour", message(), json!({ "priority": "high", "ttl": "3600s" })),
        ("hour", call.clone(), json!({ "priority": "high", "ttl": "30s", "collapse_key": ring })),
        ("room", ids(), json!({ "priority": "high", "collapse_key": room })),
        ("room", json!({ "event_id": "$slate" }), json!({ "priority": "high" })),
        ("room", badge, json!({ "priority": "normal", "collapse_key": "badge" })),
        ("ringing", call, json!({ "priority": "high", "ttl": "3600s" })),
        (
            "ringing",
            with(message(), json!({ "type": "org.example.ring" })),
            json!({ "priority": "high", "ttl": "30s", "collapse_key": ring }),
        ),
    ] {
        let device = gateway.phone(app);
        gateway.deliver(notification.clone(), &device).await;
        let message = gateway.message(&device);
        assert_eq!(message["android"], expected, "{app} {notification}");
        let mut keys: Vec<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["android", "data", "token"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_options_are_in_every_message_and_the_apps_aps_is_over_theirs() {
    let gateway = World::serving("", "", &[android_app(APP, OPTIONS)]).await;
    let sent = |message: &Value| ["notification", "android", "apns", "fcm_options"].map(|key| message[key].clone());
    let android = json!({ "priority": "high", "ttl": "5s", "direct_boot_ok": true, "notification": { "icon": "i" } });
    let apns = |aps: Value| json!({ "headers": { "apns-priority": "5" }, "payload": { "aps": aps, "k": 1 } });
    let label = json!({ "analytics_label": "l" });
    for (defaults, aps) in [
        (json!({ "cs": "s" }), json!({ "sound": "s", "alert": "A" })),
        (json!({ "aps": { "mutable-content": 1 } }), json!({ "mutable-content": 1 })),
        (json!({ "aps": "x" }), json!({ "sound": "s", "alert": "A" })),
    ] {
        let device = with(gateway.phone(APP), json!({ "data": { "default_payload": defaults } }));
        gateway.deliver(ids(), &device).await;
        let message = gateway.message(&device);
        let expected = [json!({ "title": "Update" }), android.clone(), apns(aps), label.clone()];
        assert_eq!(sent(&message), expected, "{defaults}");
        assert_eq!(message["data"].get("aps"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn google_is_asked_as_it_wants_to_be_asked() {
    let gateway =
        World::serving("", "", &[android_app(APP, ""), android_app("other", "project_id = \"second\"")]).await;
    gateway.google.add_project("second");
    for (app, project) in [(APP, "demo-project"), ("other", "second")] {
        gateway.deliver(ids(), &gateway.phone(app)).await;
        let request = gateway.google.messages().pop().expect("a message");
        assert_eq!(request.target, format!("/v1/projects/{project}/messages:send"));
        assert_eq!((request.method.as_str(), request.is_http2), ("POST", true));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert!(request.header("authorization").unwrap().starts_with("Bearer "));
    }
    assert_eq!(gateway.google.token_requests().len(), 1, "one account, one token");
}
