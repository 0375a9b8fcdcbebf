//! A push gateway that serves a list of apps, between a homeserver and the faked push services.
//!
//! Invariant: each device that a test asks for is a new one, so that no test hears of another one's pushes.

use std::sync::atomic::{AtomicUsize, Ordering};

use harness::api::{Answer, Api};
use harness::process::{Server, new_folder};
use harness::{apns, binary, fcm};
use serde_json::{Value, json};

use crate::push::setup::NOTIFY;

/// The bundle id of the apps for Apple's devices.
pub(crate) const TOPIC: &str = "com.example.app";

/// A gateway that runs until it is dropped.
pub(crate) struct Gateway {
    pub(crate) server: Server,
    pub(crate) apple: apns::Apple,
    pub(crate) google: fcm::Google,
    pub(crate) api: Api,
    devices: AtomicUsize,
}

/// One app of the gateway's settings.
pub(crate) struct App<'a> {
    app_id: &'a str,
    service: Service<'a>,
    /// Further keys of its table.
    keys: &'a str,
}

enum Service<'a> {
    Apns { topic: &'a str },
    Fcm,
}

/// An app that is served by Apple.
pub(crate) fn ios<'a>(app_id: &'a str, keys: &'a str) -> App<'a> {
    ios_of(TOPIC, app_id, keys)
}

/// An app that is served by Apple under another topic.
pub(crate) fn ios_of<'a>(topic: &'a str, app_id: &'a str, keys: &'a str) -> App<'a> {
    App { app_id, service: Service::Apns { topic }, keys }
}

/// An app that is served by Google.
pub(crate) fn android<'a>(app_id: &'a str, keys: &'a str) -> App<'a> {
    App { app_id, service: Service::Fcm, keys }
}

impl Gateway {
    /// Starts it with these apps; `http` holds keys of its section, and `tables` whole ones.
    pub(crate) async fn start(http: &str, tables: &str, apps: &[App<'_>]) -> Self {
        let folder = new_folder();
        let google = fcm::Google::start().await;
        let apple = apns::Apple::start_at("127.0.0.1:0", google.authority()).await;
        let ca = google.authority().write_pem(folder.path());
        let mut config = format!(
            "[http]\nbind = \"127.0.0.1:0\"\n{http}\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [outbound]\nextra_ca_file = {ca:?}\n{tables}\n"
        );
        for App { app_id, service, keys } in apps {
            let table = match service {
                Service::Apns { topic } => format!("[apps.{app_id:?}]\n{}", apple.config(folder.path(), topic)),
                Service::Fcm => google.config(app_id, folder.path()),
            };
            config.push_str(&format!("{table}retry_waits = [\"1ms\", \"1ms\"]\n{keys}\n"));
        }
        let server = Server::start_in(folder, binary::push_gateway(), &config, &[]).await;
        let api = Api::new(&server.url());
        Self { server, apple, google, api, devices: AtomicUsize::new(0) }
    }

    /// A device of `app_id` that Apple knows: its token, in hexadecimal as iOS apps often send it, is nobody else's.
    pub(crate) fn iphone(&self, app_id: &str) -> Value {
        json!({ "app_id": app_id, "pushkey": format!("{:064x}", self.number()), "pushkey_ts": 1_655_896_032 })
    }

    /// A device of `app_id` that Google knows, by a registration token that is nobody else's.
    pub(crate) fn phone(&self, app_id: &str) -> Value {
        let pushkey = format!("fcm-registration-token:{:040}", self.number());
        json!({ "app_id": app_id, "pushkey": pushkey, "pushkey_ts": 1_655_896_032 })
    }

    /// What a homeserver does.
    pub(crate) async fn notify(&self, notification: &Value) -> Answer {
        self.api.post(NOTIFY, json!({ "notification": notification })).send().await
    }

    /// Notifies of `notification` with `device` as its only one, which must be taken.
    pub(crate) async fn deliver(&self, mut notification: Value, device: &Value) {
        notification["devices"] = json!([device]);
        let answer = self.notify(&notification).await;
        assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{answer}");
    }

    /// The only request that reached Apple for `device`.
    #[track_caller]
    pub(crate) fn push(&self, device: &Value) -> apns::Request {
        let token = device["pushkey"].as_str().expect("a pushkey").to_lowercase();
        let mut pushes = self.apple.requests_for(&token);
        assert_eq!(pushes.len(), 1, "pushes to {device}: {pushes:?}");
        pushes.remove(0)
    }

    /// The only message that reached Google for `device`.
    #[track_caller]
    pub(crate) fn message(&self, device: &Value) -> Value {
        let mut messages = self.google.messages_for(device["pushkey"].as_str().expect("a pushkey"));
        assert_eq!(messages.len(), 1, "messages for {device}: {messages:?}");
        messages.remove(0)["message"].take()
    }

    /// Notifies of `notification` with `device` as its only one, and nobody hears of it: the homeserver is told that
    /// all is well.
    pub(crate) async fn drops(&self, notification: Value, device: &Value) {
        self.deliver(notification, device).await;
        let pushkey = device["pushkey"].as_str().expect("a pushkey");
        assert!(self.apple.requests_for(pushkey).is_empty() && self.google.messages_for(pushkey).is_empty());
    }

    fn number(&self) -> usize {
        self.devices.fetch_add(1, Ordering::SeqCst)
    }
}

/// A message of Wilma's in the quarry, as a homeserver tells it.
pub(crate) fn message() -> Value {
    json!({
        "event_id": "$slate", "room_id": "!quarry:hs.example", "type": "m.room.message", "sender": "@wilma:hs.example",
        "sender_display_name": "Wilma", "room_name": "Quarry", "prio": "high",
        "content": { "msgtype": "m.text", "body": "Lunch?" },
    })
}

/// The same, told to an app that wants to fetch the rest by itself (`event_id_only`).
pub(crate) fn ids() -> Value {
    json!({ "event_id": "$slate", "room_id": "!quarry:hs.example" })
}

/// `object` with the members of `others` in place of its own.
#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
pub(crate) fn with(mut object: Value, others: Value) -> Value {
    for (name, value) in others.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

/// `object` without some of its members.
pub(crate) fn without(mut object: Value, names: &[&str]) -> Value {
    let members = object.as_object_mut().expect("an object");
    members.retain(|name, _| !names.contains(&name.as_str()));
    object
}
