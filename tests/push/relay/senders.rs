//! Known senders, with real encryption: what reached the push service is decrypted by the app.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::application_server::encrypt;
use harness::push_service::Receiver;
use serde_json::{Value, json};

use super::{PUBLIC_URL, Relay, assert_status};

/// The keys of an app at its homeserver.
struct App {
    receiver: Receiver,
    path: String,
    device: Value,
}

impl App {
    /// The body of a push with this content.
    fn encrypt(&self, content: &Value) -> Vec<u8> {
        let (p256dh, auth) = self.receiver.keys();
        encrypt(&p256dh, &auth, content.to_string().as_bytes())
    }

    /// What the app reads in `body` of the payload.
    fn read(&self, members: &Value) -> Value {
        assert_eq!(members["con"], "aes128gcm");
        let body = URL_SAFE_NO_PAD.decode(members["body"].as_str().expect("a body")).expect("base64url");
        serde_json::from_slice(&self.receiver.decrypt(&body).expect("a message for the app")).expect("JSON")
    }
}

impl Relay {
    async fn apps(&self) -> [App; 2] {
        let (iphone, to_iphone) = self.iphone().await;
        let (phone, to_phone) = self.phone().await;
        let app = |device, path| App { receiver: Receiver::new(), path, device };
        [app(iphone, to_iphone), app(phone, to_phone)]
    }

    /// The members of the last payload for the extension or the receiver of the app.
    fn members(&self, app: &App) -> Value {
        match self.pushes(&app.device).pop() {
            Some(push) => push.json(),
            None => self.messages(&app.device).pop().expect("a message")["message"]["data"].take(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn synapses_sender_reaches_both_kinds_of_phones() {
    let relay = Relay::start().await;
    for app in relay.apps().await {
        let content = json!({
            "account": "acc1", "event_id": "$e:hs.example", "room_id": "!r:hs.example", "type": "m.room.encrypted",
            "content": { "algorithm": "m.megolm.v1.aes-sha2" }, "unread": 3,
        });
        // No Urgency; a Topic of 32 characters with padding; no space after the comma; names in lower case.
        let authorization = format!("vapid t={},k={}", relay.homeserver.token(PUBLIC_URL), relay.homeserver.key());
        let request = relay
            .bare(&app.path)
            .header("content-encoding", "aes128gcm")
            .header("ttl", "43200")
            .header("topic", "XbZ5o1XxUDH1yqxOEq4OYr4wwpMd3Q==")
            .header("authorization", &authorization);
        assert_status(&request.body(app.encrypt(&content)).send().await, 201, "Synapse");
        assert_eq!(app.read(&relay.members(&app)), content);
        match relay.pushes(&app.device).pop() {
            Some(push) => assert_eq!(push.header("apns-priority"), Some("10")),
            None => {
                let message = relay.messages(&app.device).pop().unwrap();
                assert_eq!(message["message"]["android"], json!({ "priority": "high", "ttl": "43200s" }));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn msc4174s_sender_reaches_both_kinds_of_phones_and_its_activation_passes() {
    let relay = Relay::start().await;
    for app in relay.apps().await {
        let activation = json!({ "app_id": "com.example.client", "ack_token": "Zm9vYmFy" });
        let event = json!({ "notification": {
            "event_id": "$e", "room_id": "!r", "counts": { "unread": 1 }, "prio": "low", "devices": [],
        }});
        let badge = json!({ "notification": { "counts": { "unread": 0 }, "devices": [] } });
        for (content, urgency, priority) in [(activation, "high", "10"), (event, "normal", "5"), (badge, "normal", "5")]
        {
            let request = relay
                .bare(&app.path)
                .header("TTL", "172800")
                .header("Urgency", urgency)
                .header("Content-Encoding", "aes128gcm")
                .header("Content-Type", "application/octet-stream")
                .header("Authorization", &relay.authorization());
            let answer = request.body(app.encrypt(&content)).send().await;
            assert_status(&answer, 201, urgency);
            assert_eq!(answer.header("ttl"), Some("172800"));
            assert_eq!(app.read(&relay.members(&app)), content);
            if let Some(push) = relay.pushes(&app.device).pop() {
                assert_eq!(push.header("apns-priority"), Some(priority));
            }
        }
    }
}
