//! What a real browser makes of our messages.
//!
//! Chromium can subscribe only at Google's push service, so the fake push service decrypts the message, and the DevTools
//! protocol hands it to the service worker in place of the browser's own decryption. A headless browser draws no
//! notifications: the test reads them.

use harness::browser::Browser;
use harness::web_app::WebApp;
use harness::world::push::{message, with};
use serde_json::{Value, json};

use super::{WEB, world};

/// The notifications that the browser shows, once there are two; it keeps them in no order.
const SHOWN: &str = "(async () => {
    const worker = await navigator.serviceWorker.ready;
    let shown = [];
    while (shown.length < 2) {
        await new Promise(resolve => setTimeout(resolve, 20));
        shown = await worker.getNotifications();
    }
    shown.sort((a, b) => a.title < b.title ? 1 : -1);
    return shown.map(({ title, body, tag, data }) => ({ title, body, tag, data }));
})()";

#[tokio::test(flavor = "multi_thread")]
async fn the_service_worker_of_chromium_shows_what_the_gateway_sent() {
    let Some(mut chromium) = Browser::start() else { return };
    let (gateway, service) = world().await;
    let device = service.browser(WEB);
    let text = json!({ "content": { "msgtype": "m.text", "body": "Grüße 🎉" }, "counts": { "unread": 3 } });
    gateway.deliver(with(message(), text), &device).await;
    gateway.deliver(json!({ "counts": { "unread": 4 } }), &device).await;
    let messages = service.messages_for(&device);

    let files = [
        ("/", "text/html", include_str!("web_app/index.html")),
        ("/worker.js", "text/javascript", include_str!("web_app/worker.js")),
    ];
    let app = WebApp::start(&files).await;
    let permission = json!({ "permissions": ["notifications"], "origin": app.origin() });
    chromium.command("Browser.grantPermissions", permission);
    let page = chromium.open(&app.origin());
    chromium.page_command(&page, "ServiceWorker.enable", json!({}));
    let known = |event: &Value| event["registrations"].as_array().is_some_and(|found| !found.is_empty());
    let event = chromium.event("ServiceWorker.workerRegistrationUpdated", known);
    let registration = event["registrations"][0]["registrationId"].clone();
    chromium.evaluate(&page, "navigator.serviceWorker.ready.then(() => true)");
    for message in &messages {
        let push = json!({ "origin": app.origin(), "registrationId": registration, "data": message.to_string() });
        chromium.page_command(&page, "ServiceWorker.deliverPushMessage", push);
    }
    let expected = json!([
        { "title": "Wilma (Quarry)", "body": "Grüße 🎉", "tag": "!quarry:hs.example", "data": messages[0] },
        { "title": "4 unread", "body": "", "tag": "", "data": { "unread": 4 } },
    ]);
    assert_eq!(chromium.evaluate(&page, SHOWN), expected);
}
