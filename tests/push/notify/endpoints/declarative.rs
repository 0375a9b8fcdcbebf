//! Declarative Web Push: what a browser shows without a service worker.

use harness::push_service::{ALLOW, PushService, VAPID};
use harness::world::push::{World, endpoint_app, ids, message, with};
use serde_json::{Value, json};

use super::{BELIEVING, WEB};

const NAVIGATE: &str =
    "declarative = true\nnavigate_template = \"https://app.example.org/#/room/{room_id}/{event_id}\"\n";

async fn world(keys: &str) -> (World, PushService) {
    let keys = format!("{VAPID}{NAVIGATE}{keys}");
    let apps = [endpoint_app("webpush", WEB, &keys)];
    let gateway = World::serving("", &format!("{ALLOW}{BELIEVING}"), &apps).await;
    let service = PushService::start(gateway.google.authority(), &[]).await;
    (gateway, service)
}

/// The only message that `notification` leads to, decrypted.
async fn received(gateway: &World, service: &PushService, browser: &Value, notification: Value) -> Value {
    gateway.deliver(notification, browser).await;
    let mut messages = service.messages_for(browser);
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_its_texts_page_and_badge_beside_the_members_of_the_service_worker() {
    let (gateway, service) = world("").await;
    let event = with(message(), json!({ "counts": { "unread": 3, "missed_calls": 1 } }));
    let found = received(&gateway, &service, &service.browser(WEB), event).await;
    assert_eq!(
        found,
        json!({
            "web_push": 8030, "app_badge": 4, "mutable": true,
            "notification": {
                "title": "Wilma (Quarry)", "body": "Lunch?", "tag": "!quarry:hs.example", "lang": "en", "silent": false,
                "navigate": "https://app.example.org/#/room/!quarry:hs.example/$slate", "app_badge": "4",
            },
            "event_id": "$slate", "room_id": "!quarry:hs.example", "type": "m.room.message", "sender": "@wilma:hs.example",
            "sender_display_name": "Wilma", "room_name": "Quarry", "unread": 3, "missed_calls": 1,
            "content": { "msgtype": "m.text", "body": "Lunch?" },
        })
    );
    let cleared = with(ids(), json!({ "counts": { "unread": 0 } }));
    let found = received(&gateway, &service, &service.browser(WEB), cleared).await;
    let shown = &found["notification"];
    assert_eq!((&found["app_badge"], &shown["app_badge"]), (&json!(0), &json!("0")));
    assert_eq!((&shown["title"], &shown["body"]), (&json!("New message"), &json!("Open the app to read it")));
    let found = received(&gateway, &service, &service.browser(WEB), json!({ "counts": { "unread": 2 } })).await;
    assert_eq!(found, json!({ "unread": 2 }), "a badge update has no title");
    let mut silent = service.browser(WEB);
    silent["data"]["disable_badge_count"] = json!(true);
    let found = received(&gateway, &service, &silent, with(ids(), json!({ "counts": { "unread": 2 } }))).await;
    assert_eq!((found.get("app_badge"), found["notification"].get("app_badge")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_take_values_once_and_encode_them_in_the_page() {
    let keys = "title_template = \"{room}: {sender}\"\nbody_template = \"{type} {body}\"\ntitle_fallback = \"Neu\"\nlang = \"de\"\n\
                icon = \"https://app.example.org/icon.png\"\n";
    let (gateway, service) = world(keys).await;
    let hostile = json!({
        "sender_display_name": "{body}\u{7}\u{1b}[31m", "room_name": "Q\nR", "event_id": "$a/b?c#d&e%20 é", "room_id": "!r:x/../y",
    });
    let found = received(&gateway, &service, &service.browser(WEB), with(message(), hostile)).await;
    let shown = &found["notification"];
    assert_eq!(
        [&shown["title"], &shown["body"], &shown["lang"], &shown["icon"]],
        ["QR: {body}[31m", "m.room.message Lunch?", "de", "https://app.example.org/icon.png"]
    );
    assert_eq!(shown["navigate"], "https://app.example.org/#/room/!r:x%2F..%2Fy/$a%2Fb%3Fc%23d%26e%2520%20%C3%A9");
    let direct = with(message(), json!({ "room_name": null }));
    let found = received(&gateway, &service, &service.browser(WEB), direct).await;
    assert_eq!(found["notification"]["title"], "Wilma");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_cut_and_its_fallbacks_stay() {
    let (gateway, service) = world("").await;
    let long = json!({ "content": { "msgtype": "m.text", "body": "é".repeat(4000), "extra": "x".repeat(9000) } });
    let found = received(&gateway, &service, &service.browser(WEB), with(message(), long)).await;
    let body = found["notification"]["body"].as_str().expect("a body");
    assert!(body.ends_with('…') && body.len() > 1000, "{body}");
    assert_eq!((&found["notification"]["title"], &found["web_push"]), (&json!("Wilma (Quarry)"), &json!(8030)));
    let long = json!({ "type": "t".repeat(4000), "content": { "body": "x" } });
    let found = received(&gateway, &service, &service.browser(WEB), with(message(), long)).await;
    assert_eq!((&found["event_id"], found.get("type")), (&json!("$slate"), None));
    assert_eq!(found["notification"]["title"], "New message");
    assert!(service.requests().iter().all(|request| request.body.len() <= 4096));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_a_page_or_with_an_unknown_value_does_not_start() {
    let (gateway, _service) = world("").await;
    let path = gateway.server.folder().join("config.toml");
    let config = std::fs::read_to_string(&path).expect("the configuration");
    for (from, to, problem) in [
        ("navigate_template = ", "# ", "navigate_template: missing"),
        ("https://app.example.org/", "http://app.example.org/", "; expected an https URL"),
        ("{event_id}", "{event}", "navigate_template: has something else in braces"),
        (
            "declarative = true",
            "declarative = true\ntitle_template = \"{title}\"",
            "title_template: has something else",
        ),
        ("type = \"webpush\"", "type = \"unifiedpush\"", "has no use in an app of type"),
    ] {
        std::fs::write(&path, config.replace(from, to)).expect("the configuration is written");
        let output = gateway.server.run(&["check-config"]).await;
        let text = [&*output.stdout, &*output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.code() == Some(1) && text.contains(problem), "{text}");
    }
}
