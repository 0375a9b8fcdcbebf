//! What reaches a browser and a UnifiedPush app, and with which headers.
//!
//! Invariant: a message that a receiver with keys gets is encrypted for it.

use harness::world::push::{ids, message, with};
use serde_json::json;

use super::{PHONES, UNIFIED, WEB, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_the_flat_object_encrypted() {
    let (gateway, service) = world().await;
    let browser = service.browser(WEB);
    let counts = json!({ "counts": { "unread": 2, "missed_calls": 0 }, "prio": "low", "user_is_target": true });
    gateway.deliver(with(message(), counts), &browser).await;
    let expected = json!({
        "event_id": "$slate", "room_id": "!quarry:hs.example", "type": "m.room.message", "sender": "@wilma:hs.example",
        "sender_display_name": "Wilma", "room_name": "Quarry", "unread": 2, "missed_calls": 0, "user_is_target": true,
        "content": { "msgtype": "m.text", "body": "Lunch?" },
    });
    assert_eq!(service.messages_for(&browser), [expected]);
    let request = service.requests_for(&browser).remove(0);
    let header = |name| request.header(name).unwrap_or_default().to_owned();
    assert_eq!(
        ["content-encoding", "content-type", "ttl", "urgency", "topic"].map(header),
        ["aes128gcm", "application/octet-stream", "900", "low", ""]
    );
    assert!(request.is_http2 && header("authorization").starts_with("vapid t="));
    // The same event again is deduplicated.
    gateway.deliver(with(message(), json!({ "prio": "low", "user_is_target": true })), &browser).await;
    assert_eq!(service.requests_for(&browser).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_topics_badges_and_events_only_follow_the_subscription() {
    let (gateway, service) = world().await;
    let mut browser = service.browser(WEB);
    browser["data"]["only_last_per_room"] = json!(true);
    gateway.deliver(with(message(), json!({ "type": "m.call.invite" })), &browser).await;
    let request = service.requests_for(&browser).remove(0);
    let header = |name| request.header(name).unwrap_or_default().to_owned();
    assert_eq!(["ttl", "urgency"].map(header), ["30", "high"]);
    assert_eq!(header("topic").len(), 32);
    let browser = service.browser(WEB);
    gateway.deliver(json!({}), &browser).await;
    assert_eq!(service.messages_for(&browser), [json!({ "unread": 0 })]);
    let mut browser = service.browser(WEB);
    browser["data"]["events_only"] = json!(true);
    gateway.deliver(json!({ "counts": { "unread": 2 } }), &browser).await;
    assert!(service.requests_for(&browser).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unifiedpush_app_gets_the_notification_as_it_came() {
    let (gateway, service) = world().await;
    let sent = with(ids(), json!({ "unknown": [1], "counts": { "unread": 1 }, "prio": "high" }));
    for app in [UNIFIED, PHONES] {
        let phone = service.phone(app);
        gateway.deliver(sent.clone(), &phone).await;
        assert_eq!(service.messages_for(&phone), [json!({ "notification": sent })]);
        let request = service.requests_for(&phone).remove(0);
        let header = |name| request.header(name).unwrap_or_default().to_owned();
        assert_eq!(
            ["content-type", "content-encoding", "ttl", "urgency"].map(header),
            ["application/json", "aes128gcm", "86400", "normal"]
        );
        assert_eq!(request.header("authorization").is_some(), app == PHONES);
        assert_eq!(request.query(), "up=1");
    }
    let phone = service.encrypting_phone(PHONES);
    gateway.deliver(sent.clone(), &phone).await;
    assert_eq!(service.messages_for(&phone), [json!({ "notification": sent })]);
    assert_eq!(service.requests_for(&phone)[0].header("content-type"), Some("application/octet-stream"));
    assert!(gateway.google.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_fits_into_what_push_services_take() {
    let (gateway, service) = world().await;
    let content = json!({ "content": { "msgtype": "m.text", "body": "é".repeat(900), "extra": "x".repeat(400_000) } });
    let (browser, phone) = (service.browser(WEB), service.phone(UNIFIED));
    let mut stuffed = browser.clone();
    stuffed["data"]["default_payload"] = json!({ "small": 1, "large": "y".repeat(90_000) });
    gateway.deliver(with(message(), content.clone()), &stuffed).await;
    let found = service.messages_for(&browser).remove(0);
    assert_eq!((&found["small"], &found["large"]), (&json!(1), &json!(null)), "{found}");
    gateway.deliver(with(message(), content), &phone).await;
    let found = service.messages_for(&phone).remove(0);
    assert_eq!(found["notification"]["content"]["body"].as_str().unwrap().chars().count(), 900);
    gateway.deliver(json!({ "event_id": "$e", "unknown": "z".repeat(9000) }), &phone).await;
    assert_eq!(service.messages_for(&phone)[1], json!({ "notification": { "event_id": "$e" } }));
    assert!(service.requests().iter().all(|request| request.body.len() <= 4096));
}
