//! The stage of the stories about notifications: the real push gateway, between a homeserver and two push services.
//!
//! Invariant: everything on it is gone when it is dropped, the gateway first.

use harness::api::Api;
use harness::apns::Apple;
use harness::binary;
use harness::fcm::Google;
use harness::process::{Server, new_folder};

use crate::narrator::Narrator;

/// The app_id of the app for iPhones.
pub(crate) const IOS: &str = "com.example.app.ios";
/// The app_id of the app for Android.
pub(crate) const ANDROID: &str = "com.example.app.android";

/// What the stories are told on.
pub(crate) struct Gateway {
    /// The push gateway.
    pub(crate) server: Server,
    /// A homeserver, as the gateway sees one.
    pub(crate) api: Api,
    /// Who delivers to iPhones.
    pub(crate) apple: Apple,
    /// Who delivers to Android phones.
    pub(crate) google: Google,
}

impl Gateway {
    /// Builds and starts everything.
    ///
    /// # Panics
    /// If the gateway does not build or start; the message says what it said.
    pub(crate) async fn set(narrator: &mut Narrator) -> Self {
        narrator.step(
            "The push gateway starts",
            "The other binary. It gets two apps, with keys that a fake Apple and a fake Google gave out, and certificates\n\
             to trust them by:",
        );
        let binary = binary::push_gateway();
        let folder = new_folder();
        let google = Google::start().await;
        let apple = Apple::start_at("127.0.0.1:0", google.authority()).await;
        let ca = google.authority().write_pem(folder.path());
        let config = format!(
            "[http]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[outbound]\nextra_ca_file = {ca:?}\n\
             [apps.{IOS:?}]\n{}retry_waits = [\"50ms\"]\n{}",
            apple.config(folder.path(), "com.example.app"),
            google.config(ANDROID, folder.path()),
        );
        narrator.show(&config);
        let server = Server::start_in(folder, binary, &config, &[]).await;
        narrator.say("and says:");
        narrator.show(&server.logs());
        let api = Api::new(&server.url());
        Self { server, api, apple, google }
    }
}
