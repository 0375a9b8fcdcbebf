//! What other implementations read in our messages.
//!
//! Invariant: neither side of a comparison is the gateway's own code.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::independent;
use harness::push_service::PushService;
use harness::world::push::{ids, message, with};
use serde_json::{Value, json};

use super::{PHONES, WEB, world};

/// What `decrypt.py` needs for each message to `device`.
fn sealed(service: &PushService, device: &Value) -> Vec<Value> {
    let [private, _, auth] = service.keys_of(device);
    let line = |request: harness::push_service::Request| {
        json!({
            "private": private, "auth": auth, "body": URL_SAFE_NO_PAD.encode(&request.body),
            "authorization": request.header("authorization").expect("a VAPID token"),
        })
    };
    service.requests_for(device).into_iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_ece_decrypts_every_message_and_py_vapid_verifies_it() {
    let (gateway, service) = world().await;
    let devices = [service.browser(WEB), service.browser(PHONES), service.encrypting_phone(PHONES)];
    let text = |text: &str| json!({ "content": { "msgtype": "m.text", "body": text } });
    let notifications = [
        message(),
        ids(),
        with(message(), json!({ "type": "m.call.invite", "event_id": "$ring" })),
        json!({ "counts": { "unread": 3 } }),
        with(message(), with(text("Grüße 🎉 \u{202e}"), json!({ "event_id": "$text" }))),
        // As long as a message can be.
        with(message(), with(text(&"é".repeat(9000)), json!({ "event_id": "$long" }))),
    ];
    let (mut inputs, mut expected) = (Vec::new(), Vec::new());
    for device in &devices {
        for notification in &notifications {
            gateway.deliver(notification.clone(), device).await;
        }
        inputs.extend(sealed(&service, device));
        expected.extend(service.messages_for(device));
    }
    assert_eq!(expected.len(), devices.len() * notifications.len());
    let Some(opened) = independent::python("decrypt.py", &inputs) else { return };
    assert_eq!(opened.len(), expected.len());
    for (opened, expected) in opened.iter().zip(&expected) {
        let plain: Value = serde_json::from_str(opened["plain"].as_str().unwrap()).unwrap();
        assert_eq!(plain, *expected);
        let claims = &opened["claims"];
        assert_eq!([&claims["aud"], &claims["sub"]], [service.origin(), "mailto:ops@example.com"], "{claims}");
    }
}
