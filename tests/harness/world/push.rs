//! A push gateway between a homeserver, which is the test, and the fake APNs, FCM and Push Kit.
//!
//! Invariant: every world has its own processes, ports and folders; worlds share only the binary.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

pub use super::members::{with, without};
pub use super::notifications::{ANDROID, IOS, android_device, ids, ios_device, iphone, message, message_body, token};

use crate::api::{Answer, Api};
use crate::apns::{self, Apple};
use crate::binary;
use crate::fcm::Google;
use crate::huawei::{self, Huawei};
use crate::process::{Server, new_folder};

/// The longest time for anything that must happen, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The endpoint.
pub const NOTIFY: &str = "/_matrix/push/v1/notify";

/// The bundle id of the apps of APNs.
pub const TOPIC: &str = "com.example.app";

/// A gateway and its world.
#[derive(Debug)]
pub struct World {
    /// The push gateway.
    pub server: Server,
    /// The fake APNs.
    pub apple: Apple,
    /// The fake FCM.
    pub google: Google,
    /// The fake Push Kit.
    pub huawei: Huawei,
    /// A homeserver, as the gateway sees one.
    pub api: Api,
    /// The number of devices so far.
    devices: AtomicUsize,
}

/// One app of the settings.
#[derive(Debug)]
pub struct App<'a> {
    app_id: &'a str,
    provider: Provider<'a>,
    /// Further keys of its table.
    keys: &'a str,
}

#[derive(Debug)]
enum Provider<'a> {
    Apns {
        topic: &'a str,
    },
    Fcm,
    Huawei {
        version: u8,
    },
    /// A type whose pushkeys name the push service.
    Endpoints {
        type_name: &'a str,
    },
}

/// An app of APNs.
pub fn ios_app<'a>(app_id: &'a str, keys: &'a str) -> App<'a> {
    ios_app_of(TOPIC, app_id, keys)
}

/// An app of APNs with this topic.
pub fn ios_app_of<'a>(topic: &'a str, app_id: &'a str, keys: &'a str) -> App<'a> {
    App { app_id, provider: Provider::Apns { topic }, keys }
}

/// An app of FCM.
pub fn android_app<'a>(app_id: &'a str, keys: &'a str) -> App<'a> {
    App { app_id, provider: Provider::Fcm, keys }
}

/// An app of this version of Push Kit.
pub fn huawei_app<'a>(version: u8, app_id: &'a str, keys: &'a str) -> App<'a> {
    App { app_id, provider: Provider::Huawei { version }, keys }
}

/// An app of a type that `keys` complete.
pub fn endpoint_app<'a>(type_name: &'a str, app_id: &'a str, keys: &'a str) -> App<'a> {
    App { app_id, provider: Provider::Endpoints { type_name }, keys }
}

/// The settings that a test adds to those of the usual two apps.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Lines of the table of [`IOS`].
    pub ios: &'a str,
    /// Lines of the table of [`ANDROID`].
    pub android: &'a str,
    /// Other tables, with their headers.
    pub tables: &'a str,
    /// The environment of the gateway, beyond the search path.
    pub environment: &'a [(String, String)],
}

impl Default for Settings<'_> {
    /// One attempt for each delivery.
    fn default() -> Self {
        Self { ios: "retry_waits = []\n", android: "retry_waits = []\n", tables: "", environment: &[] }
    }
}

impl World {
    /// A world with the usual two apps, these tables, and one attempt for each delivery.
    pub async fn start(tables: &str) -> Self {
        Self::with(Settings { tables, ..Settings::default() }).await
    }

    /// A world with the usual two apps and these settings.
    pub async fn with(Settings { ios, android, tables, environment }: Settings<'_>) -> Self {
        let apps = [ios_app(IOS, ios), android_app(ANDROID, android)];
        Self::launch("", tables, "", &apps, environment).await
    }

    /// A world with these apps and quick retries; `http` holds keys of its section, `tables` whole sections.
    pub async fn serving(http: &str, tables: &str, apps: &[App<'_>]) -> Self {
        Self::launch(http, tables, "retry_waits = [\"1ms\", \"1ms\"]\n", apps, &[]).await
    }

    async fn launch(
        http: &str,
        tables: &str,
        retries: &str,
        apps: &[App<'_>],
        environment: &[(String, String)],
    ) -> Self {
        let folder = new_folder();
        let google = Google::start().await;
        let apple = Apple::start_at("127.0.0.1:0", google.authority()).await;
        let huawei = Huawei::start(google.authority()).await;
        let ca = google.authority().write_pem(folder.path());
        let mut config = format!(
            "[http]\nbind = \"127.0.0.1:0\"\n{http}\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [outbound]\nextra_ca_file = {ca:?}\n{tables}\n"
        );
        for App { app_id, provider, keys } in apps {
            let table = match provider {
                Provider::Apns { topic } => format!("[apps.{app_id:?}]\n{}", apple.config(folder.path(), topic)),
                Provider::Fcm => google.config(app_id, folder.path()),
                Provider::Huawei { version } => huawei.config(app_id, *version, folder.path()),
                Provider::Endpoints { type_name } => format!("[apps.{app_id:?}]\ntype = {type_name:?}\n"),
            };
            config.push_str(&format!("{table}{retries}{keys}\n"));
        }
        let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let server = Server::start_in(folder, binary::push_gateway(), &config, &environment).await;
        let api = Api::new(&server.url());
        Self { server, apple, google, huawei, api, devices: AtomicUsize::new(0) }
    }

    /// Starts the gateway again with the settings that `change` returns.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart_with(&mut self, change: impl FnOnce(String) -> String) {
        let config = std::fs::read_to_string(self.server.folder().join("config.toml")).expect("the settings");
        self.server.restart_with(&change(config)).await;
        self.api = Api::new(&self.server.url());
    }

    /// The number of deliveries of an app with this outcome, by the metrics.
    ///
    /// # Panics
    /// If a metric has no value.
    pub async fn deliveries(&self, app: &str, outcome: &str) -> u64 {
        let text = Api::new(&self.server.admin_url()).get("/metrics").send().await.text();
        let labels = [format!("app=\"{app}\""), format!("outcome=\"{outcome}\"")];
        let lines = text.lines().filter(|line| line.starts_with("push_deliveries_total{"));
        let matching = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        matching.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")).sum()
    }

    /// A new device of `app_id` that APNs knows; its token is hexadecimal, as iOS apps often send it.
    pub fn iphone(&self, app_id: &str) -> Value {
        json!({ "app_id": app_id, "pushkey": format!("{:064x}", self.number()), "pushkey_ts": 1_655_896_032 })
    }

    /// A new device of `app_id` that FCM knows, by a registration token.
    pub fn phone(&self, app_id: &str) -> Value {
        let number = self.number();
        let pushkey = format!("c{number:021}:APA91b{number:040}");
        json!({ "app_id": app_id, "pushkey": pushkey, "pushkey_ts": 1_655_896_032 })
    }

    /// A new device of `app_id` that Push Kit knows.
    pub fn huawei_phone(&self, app_id: &str) -> Value {
        let pushkey = format!("IQAAAACy0aYTAAA{:049}", self.number());
        json!({ "app_id": app_id, "pushkey": pushkey, "pushkey_ts": 1_655_896_032 })
    }

    /// Posts a notification, as a homeserver does.
    pub async fn notify(&self, notification: &Value) -> Answer {
        self.api.post(NOTIFY, json!({ "notification": notification })).send().await
    }

    /// Posts a message for `devices`.
    pub async fn notify_message(&self, event_id: &str, devices: Value) -> Answer {
        self.api.post(NOTIFY, message_body(event_id, devices)).send().await
    }

    /// Posts `notification` with `device` as its only one, which the gateway must accept.
    ///
    /// # Panics
    /// If it does not.
    pub async fn deliver(&self, mut notification: Value, device: &Value) {
        notification["devices"] = json!([device]);
        let answer = self.notify(&notification).await;
        assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{answer}");
    }

    /// The only request that reached APNs for `device`.
    ///
    /// # Panics
    /// If there is none, or another one.
    #[track_caller]
    pub fn push(&self, device: &Value) -> apns::Request {
        let token = device["pushkey"].as_str().expect("a pushkey").to_lowercase();
        let mut pushes = self.apple.requests_for(&token);
        assert_eq!(pushes.len(), 1, "pushes to {device}: {pushes:?}");
        pushes.remove(0)
    }

    /// The only message that reached FCM for `device`.
    ///
    /// # Panics
    /// If there is none, or another one.
    #[track_caller]
    pub fn message(&self, device: &Value) -> Value {
        let mut messages = self.google.messages_for(device["pushkey"].as_str().expect("a pushkey"));
        assert_eq!(messages.len(), 1, "messages for {device}: {messages:?}");
        messages.remove(0)["message"].take()
    }

    /// The only message that reached Push Kit for `device`.
    ///
    /// # Panics
    /// If there is none, or another one.
    #[track_caller]
    pub fn huawei_message(&self, device: &Value) -> huawei::Request {
        let mut messages = self.huawei.messages_for(device["pushkey"].as_str().expect("a pushkey"));
        assert_eq!(messages.len(), 1, "messages for {device}: {messages:?}");
        messages.remove(0)
    }

    /// Posts `notification` with `device` as its only one; the gateway must accept it and send nothing.
    ///
    /// # Panics
    /// If it does something else.
    pub async fn drops(&self, notification: Value, device: &Value) {
        self.deliver(notification, device).await;
        let pushkey = device["pushkey"].as_str().expect("a pushkey");
        assert!(self.apple.requests_for(pushkey).is_empty() && self.google.messages_for(pushkey).is_empty());
        assert!(self.huawei.messages_for(pushkey).is_empty());
    }

    fn number(&self) -> usize {
        self.devices.fetch_add(1, Ordering::SeqCst)
    }
}
