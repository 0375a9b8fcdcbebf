//! Senders by other authors: what they make of a subscription arrives at the phone, where another library decrypts it.
//!
//! Invariant: no message here is encrypted, signed or decrypted by code of this project.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::application_server::ApplicationServer;
use harness::independent;
use harness::push_service::{Receiver, VAPID_PRIVATE, VAPID_PUBLIC};
use harness::world::push::IOS;
use serde_json::{Value, json};

use super::{PUBLIC_URL, Relay};

type Run = fn(&str, &[Value]) -> Option<Vec<Value>>;

/// Sends a message by `script`, and decrypts what reached APNs.
async fn round_trip(run: Run, script: &str) {
    let relay = Relay::start().await;
    let device = relay.world.iphone(IOS);
    let body = json!({ "token": device["pushkey"], "vapid": VAPID_PUBLIC, "chid": "acc1" });
    let url = relay.subscribe(IOS, body).await.expect(201)["url"].as_str().expect("a URL").to_owned();
    let receiver = Receiver::new();
    let (p256dh, auth) = receiver.keys();
    let content = json!({ "event_id": "$e", "room_id": "!r:hs.example", "unread": 3, "text": "Grüße 🎉" });
    let message = json!({
        "url": url.replace(PUBLIC_URL, &relay.world.server.url()), "p256dh": p256dh, "auth": auth,
        "private": VAPID_PRIVATE, "public": VAPID_PUBLIC, "audience": PUBLIC_URL, "content": content.to_string(),
    });
    let Some(sent) = run(script, &[message]) else { return };
    assert_eq!(sent, [json!({ "status": 201 })]);
    let push = relay.pushes(&device).pop().expect("a push").json();
    assert_eq!([&push["chid"], &push["con"]], ["acc1", "aes128gcm"]);
    let sealed = json!({
        "private": URL_SAFE_NO_PAD.encode(receiver.private_key()), "auth": auth, "body": push["body"],
        "authorization": ApplicationServer::new().authorization(PUBLIC_URL),
    });
    let Some(opened) = independent::python("decrypt.py", &[sealed]) else { return };
    assert_eq!(serde_json::from_str::<Value>(opened[0]["plain"].as_str().expect("a text")).expect("JSON"), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn pywebpush_reaches_a_phone() {
    round_trip(independent::python, "send.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_push_of_npm_reaches_a_phone() {
    round_trip(independent::node, "send.js").await;
}
