//! The stage of the stories about addresses: the real identity server, and the world around it.
//!
//! Invariant: everything on it is gone when it is dropped, the server first.

use harness::api::Api;
use harness::binary;
use harness::homeserver::Homeserver;
use harness::mail::{Offer, Sink};
use harness::process::{Server, new_folder};
use harness::sms::{SmsGateway, Vendor};

use crate::narrator::Narrator;

/// What the stories are told on.
pub(crate) struct Stage {
    /// The identity server.
    pub(crate) server: Server,
    /// A client of it.
    pub(crate) api: Api,
    /// Whose users the story is about.
    pub(crate) homeserver: Homeserver,
    /// What takes the mail.
    pub(crate) mail: Sink,
    /// What takes the SMS.
    pub(crate) sms: SmsGateway,
}

impl Stage {
    /// Builds and starts everything.
    ///
    /// # Panics
    /// If the server does not build or start; the message says what it said.
    pub(crate) async fn set(narrator: &mut Narrator) -> Self {
        narrator.step(
            "The identity server starts",
            "The real binary, built from this tree (the first time, that takes minutes), with these settings:",
        );
        let binary = binary::identity();
        let folder = new_folder();
        let homeserver = Homeserver::start("hs.example").await;
        let mail = Sink::start_with(Offer::default(), homeserver.authority()).await;
        let sms = SmsGateway::start(Vendor::Twilio).await;
        let config = config(&homeserver.config(folder.path()), &mail.config(), &sms.config());
        narrator.show(&config);
        let server = Server::start_in(folder, binary, &config, &[]).await;
        narrator.say("and says:");
        narrator.show(&server.logs());
        let api = Api::new(&server.url());
        Self { server, api, homeserver, mail, sms }
    }
}

/// `federation` and `sms` are sections with their headers, `email` lines without one.
fn config(federation: &str, email: &str, sms: &str) -> String {
    format!(
        r#"[server]
name = "id.example"
data_dir = "data"
[http]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
[terms.policies.privacy]
version = "1"
en = {{ name = "Privacy policy", url = "https://id.example/privacy-1.html" }}
[email]
from = "Identity of Example <noreply@id.example>"
{email}{federation}[sms]
provider = "twilio"
rules.44 = "allow"
{sms}"#
    )
}
