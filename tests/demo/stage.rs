//! The identity server of the demo with its homeserver, mail relay and SMS provider.
//!
//! Invariant: dropping the stage stops the server first, then the others.

use harness::api::Api;
use harness::homeserver::Homeserver;
use harness::mail::Sink;
use harness::process::Server;
use harness::sms::{SmsGateway, Vendor};
use harness::world::identity::{Settings, World};

use crate::narrator::Narrator;

/// The world of the stories about addresses.
pub(crate) struct Stage {
    /// The identity server.
    pub(crate) server: Server,
    /// A client of the server.
    pub(crate) api: Api,
    /// The homeserver of the users.
    pub(crate) homeserver: Homeserver,
    /// The relay that accepts the mail.
    pub(crate) mail: Sink,
    /// The provider that accepts the SMS.
    pub(crate) sms: SmsGateway,
}

impl Stage {
    /// Builds and starts everything.
    ///
    /// # Panics
    /// If the server does not build or start; the message contains its output.
    pub(crate) async fn set(narrator: &mut Narrator) -> Self {
        narrator.step(
            "The identity server starts",
            "The real binary, built from this tree (the first build takes minutes), with these settings:",
        );
        let sms = SmsGateway::start(Vendor::Twilio).await;
        let settings = Settings {
            server: "name = \"id.example\"",
            email: "from = \"Identity of Example <noreply@id.example>\"",
            tables: &tables(&sms.config()),
            ..Settings::default()
        };
        let World { server, homeserver, mail, api } = World::with(settings).await;
        narrator.show_start(&server);
        Self { server, api, homeserver, mail, sms }
    }
}

/// The terms and `[sms]`; `provider` is the section of its provider.
fn tables(provider: &str) -> String {
    format!(
        r#"[terms.policies.privacy]
version = "1"
en = {{ name = "Privacy policy", url = "https://id.example/privacy-1.html" }}
[sms]
provider = "twilio"
rules.44 = "allow"
{provider}"#
    )
}
