//! The pusher of a homeserver that sends Web Push to the relay.
//!
//! Invariant: each event is encrypted once, and a retry sends the same bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::api::{Api, Call};
use harness::application_server::{ApplicationServer, encrypt};
use harness::push_service::Receiver;
use hyper::Method;
use serde_json::{Value, json};

/// The origin of the relay, for which homeservers sign.
const ORIGIN: &str = "https://push.example.net";

/// A URL of the relay, with the keys of the app and of its homeserver.
pub(super) struct Subscription {
    path: String,
    authorization: String,
    receiver: Receiver,
}

impl Subscription {
    /// Asks for a URL for `device`.
    pub(super) async fn new(api: &Api, device: &Value) -> Self {
        let homeserver = ApplicationServer::new();
        let app_id = device["app_id"].as_str().expect("an app");
        let body = json!({ "token": device["pushkey"], "vapid": homeserver.key() });
        let answer = api.post(&format!("/wp/{app_id}"), body).send().await.expect(201);
        let path = answer["url"].as_str().and_then(|url| url.strip_prefix(ORIGIN)).expect("a URL of the relay");
        Self { path: path.to_owned(), authorization: homeserver.authorization(ORIGIN), receiver: Receiver::new() }
    }

    /// The push of a notification.
    pub(super) fn request(&self, api: &Api, notification: &Value) -> Call {
        let content = json!({ "event_id": notification["event_id"], "room_id": notification["room_id"] });
        let (p256dh, auth) = self.receiver.keys();
        api.request(Method::POST, &self.path)
            .header("ttl", "172800")
            .header("urgency", "high")
            .header("content-encoding", "aes128gcm")
            .header("authorization", &self.authorization)
            .body(encrypt(&p256dh, &auth, content.to_string().as_bytes()))
    }

    /// The content of a payload, for the app.
    pub(super) fn open(&self, payload: &Value) -> Value {
        let body = payload["body"].as_str().and_then(|body| URL_SAFE_NO_PAD.decode(body).ok()).expect("a body");
        let content = self.receiver.decrypt(&body).expect("a message for this app");
        serde_json::from_slice(&content).expect("JSON")
    }
}
