//! A gateway between a homeserver, which is the test, and two push services.
//!
//! Invariant: every test has its own world; nothing is shared but the binary.

use std::time::Duration;

use harness::api::{Answer, Api};
use harness::apns::Apple;
use harness::binary;
use harness::fcm::Google;
use harness::process::{Server, new_folder};
use serde_json::{Value, json};

/// How long anything that is bound to happen may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The endpoint.
pub(crate) const NOTIFY: &str = "/_matrix/push/v1/notify";

/// The app that goes through Apple.
pub(crate) const IOS: &str = "com.example.ios";

/// The app that goes through Google.
pub(crate) const ANDROID: &str = "com.example.android";

/// A gateway and its world.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) apple: Apple,
    pub(crate) google: Google,
    pub(crate) api: Api,
}

/// What a test adds to the settings: lines for tables that the world writes, and whole other tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    /// Lines of the table of [`IOS`].
    pub(crate) ios: &'a str,
    /// Lines of the table of [`ANDROID`].
    pub(crate) android: &'a str,
    /// Other tables, with their headers.
    pub(crate) tables: &'a str,
}

impl Default for Settings<'_> {
    /// One attempt at each delivery.
    fn default() -> Self {
        Self { ios: "retry_waits = []\n", android: "retry_waits = []\n", tables: "" }
    }
}

impl World {
    /// A world with further tables of settings, and one attempt at each delivery.
    pub(crate) async fn start(tables: &str) -> Self {
        Self::with(Settings { tables, ..Settings::default() }).await
    }

    /// A world with further settings.
    pub(crate) async fn with(settings: Settings<'_>) -> Self {
        let folder = new_folder();
        let google = Google::start().await;
        let apple = Apple::start_at("127.0.0.1:0", google.authority()).await;
        let ca = google.authority().write_pem(folder.path());
        let Settings { ios, android, tables } = settings;
        let config = format!(
            "[http]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[outbound]\nextra_ca_file = {ca:?}\n{tables}\n\
             [apps.{IOS:?}]\n{}{ios}\n{}{android}\n",
            apple.config(folder.path(), "com.example.app"),
            google.config(ANDROID, folder.path()),
        );
        let server = Server::start_in(folder, binary::push_gateway(), &config, &[]).await;
        let api = Api::new(&server.url());
        Self { server, apple, google, api }
    }

    /// How many deliveries for an app have had this outcome, by the gateway's own count.
    pub(crate) async fn deliveries(&self, app: &str, outcome: &str) -> u64 {
        let text = Api::new(&self.server.admin_url()).get("/metrics").send().await.text();
        let labels = [format!("app=\"{app}\""), format!("outcome=\"{outcome}\"")];
        let lines = text.lines().filter(|line| line.starts_with("push_deliveries_total{"));
        let fitting = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        fitting.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")).sum()
    }

    /// Starts the gateway again with other settings: what `change` makes of them.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(String) -> String) {
        let config = std::fs::read_to_string(self.server.folder().join("config.toml")).expect("the settings");
        self.server.restart_with(&change(config)).await;
        self.api = Api::new(&self.server.url());
    }

    /// Tells the gateway of a message for `devices`.
    pub(crate) async fn notify(&self, event_id: &str, devices: Value) -> Answer {
        self.api.post(NOTIFY, message(event_id, devices)).send().await
    }
}

/// What a homeserver says of a message.
#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
pub(crate) fn message(event_id: &str, devices: Value) -> Value {
    json!({ "notification": {
        "event_id": event_id, "room_id": "!r:hs.example", "type": "m.room.message", "sender": "@a:hs.example",
        "sender_display_name": "Alice", "room_name": "Mission Control", "prio": "high",
        "content": { "msgtype": "m.text", "body": "I'm floating" }, "counts": { "unread": 2 }, "devices": devices,
    }})
}

/// A device token as iOS gives it, in hexadecimal.
pub(crate) fn token(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// The device with that token.
pub(crate) fn iphone(digit: char) -> Value {
    ios_device(&token(digit))
}

/// A device of [`IOS`].
pub(crate) fn ios_device(pushkey: &str) -> Value {
    json!({ "app_id": IOS, "pushkey": pushkey, "pushkey_ts": 42 })
}

/// A device of [`ANDROID`].
pub(crate) fn android(pushkey: &str) -> Value {
    json!({ "app_id": ANDROID, "pushkey": pushkey, "pushkey_ts": 42 })
}
