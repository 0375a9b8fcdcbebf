//! An identity server between a homeserver and a mail relay.
//!
//! Invariant: every world has its own processes, ports and folders; worlds share only the binary.

use std::time::Duration;

use serde_json::{Value, json};
use shared::random::Random;
use tempfile::TempDir;
use url::{Position, Url};

use crate::api::{Answer, Api};
use crate::certificates::Authority;
use crate::homeserver::Homeserver;
use crate::mail::{Mail, Message, Offer, Sink};
use crate::process::balancer::Balancer;
use crate::process::{Server, new_folder};
use crate::wait::wait_for;
use crate::{binary, database};

use super::deployment::{Deployment, REPLICAS};

/// The longest time for anything that must happen, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A path of the API.
pub fn v2(path: &str) -> String {
    format!("/_matrix/identity/v2{path}")
}

/// The `[database]` tables for a test of both databases: SQLite, and a new PostgreSQL database if it is installed.
pub async fn databases() -> Vec<String> {
    let postgres = database::postgresql().await;
    let postgres = postgres.map(|url| format!("[database]\nurl = \"{url}\"\n"));
    std::iter::once(String::new()).chain(postgres).collect()
}

/// A `[database]` table for a test that reads SQLite's file, `data/identity.db`.
pub const SQLITE: &str = "[database]\nurl = \"sqlite://data/identity.db\"\n";

/// A server and its world.
#[derive(Debug)]
pub struct World {
    /// The identity server.
    pub server: Server,
    /// The homeserver of its users, `hs.example`.
    pub homeserver: Homeserver,
    /// The relay that accepts its mail.
    pub mail: Sink,
    /// A client of the server.
    pub api: Api,
}

/// The settings that a test adds: lines of tables that the world writes, and whole other tables.
#[derive(Clone, Default)]
pub struct Settings<'a> {
    /// Lines of `[server]`.
    pub server: &'a str,
    /// Lines of `[http]`.
    pub http: &'a str,
    /// Lines of `[email]`.
    pub email: &'a str,
    /// Lines of `[outbound]`.
    pub outbound: &'a str,
    /// Lines of `[federation]`.
    pub federation: &'a str,
    /// Other tables, with their headers.
    pub tables: &'a str,
    /// The extensions of the relay.
    pub mail: Offer,
    /// The authority of all certificates; a new one by default.
    pub authority: Option<&'a Authority>,
    /// Whether the server logs to a file instead of [`Server::logs`].
    pub logs_to_file: bool,
    /// The environment of the server, beyond the search path.
    pub environment: &'a [(String, String)],
    /// What of one process the test is about; the world then has one also with `GATEHOUSE_DATABASE=replicas`.
    pub one_process: Option<&'static str>,
}

impl Settings<'_> {
    /// The whole file; `federation` is `[outbound]` and `[federation]` with headers, `email` the lines of that section.
    pub fn toml(&self, federation: &str, email: &str) -> String {
        let Self { server, http, email: more_email, outbound, federation: more_federation, tables, .. } = self;
        let federation = federation.replacen("[outbound]\n", &format!("[outbound]\n{outbound}\n"), 1);
        format!(
            "[server]\ndata_dir = \"data\"\n{server}\n[http]\nbind = \"127.0.0.1:0\"\n{http}\n[admin]\nbind = \"127.0.0.1:0\"\n\
             {federation}\n{more_federation}\n[email]\n{email}\n{more_email}\n{tables}\n"
        )
    }
}

/// A validation session of a client.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session ID.
    pub sid: String,
    /// The client's secret.
    pub client_secret: String,
    /// The code in the message.
    pub token: String,
}

impl World {
    /// A world with the default settings.
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// A world with further settings.
    pub async fn with(settings: Settings<'_>) -> Self {
        let folder = new_folder();
        let own_authority = settings.authority.is_none().then(|| Authority::new("the world's authority"));
        let authority = settings.authority.or(own_authority.as_ref()).expect("one of the two");
        let homeserver = Homeserver::start_with("hs.example", authority, "127.0.0.1:0").await;
        let mail = Sink::start_with(settings.mail.clone(), authority).await;
        let Deployment { server, tables, balancer } =
            Deployment::of(settings.server, settings.tables, settings.one_process).await;
        let settings = Settings { server: &server, tables: &tables, ..settings };
        let config = settings.toml(&homeserver.config(folder.path()), &mail.config());
        let mut server = start(folder, &config, &settings).await;
        if let Some(balancer) = balancer {
            server.replicate(REPLICAS, balancer).await;
        }
        let api = client(&server);
        Self { server, homeserver, mail, api }
    }

    /// Kills the server (SIGKILL) and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.server.restart().await;
        self.api = client(&self.server);
    }

    /// As [`World::restart`], with another configuration.
    pub async fn restart_with(&mut self, config: &str) {
        self.server.restart_with(config).await;
        self.api = client(&self.server);
    }

    /// Adds replicas behind a proxy, in any run. The settings name a PostgreSQL database and a public base URL.
    pub async fn replicate(&mut self) {
        self.server.replicate(REPLICAS, Balancer::start().await).await;
        self.api = client(&self.server);
    }

    /// Another process with the same settings and signing key, in a folder of its own. Both use the PostgreSQL database
    /// of the settings.
    pub async fn twin(&self) -> (Server, Api) {
        let folder = new_folder();
        let (own, data) = (self.server.folder(), folder.path().join("data"));
        std::fs::create_dir(&data).expect("an empty folder");
        std::fs::copy(own.join("data/signing.key"), data.join("signing.key"))
            .expect("the key file of a running server");
        let config = std::fs::read_to_string(own.join("config.toml")).expect("the settings of a running server");
        let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
        let api = Api::new(&server.url());
        (server, api)
    }

    /// Registers `user`; returns the access token.
    pub async fn register(&self, user: &str) -> String {
        let body = self.homeserver.open_id_token(user);
        let answer = self.api.post(&v2("/account/register"), body).send().await;
        answer.expect(200)["token"].as_str().expect("a token").to_owned()
    }

    /// Requests a token for `email`; returns the session with the token in the mail.
    pub async fn request_token(&self, access_token: &str, email: &str) -> Session {
        self.request_token_to(access_token, email, email).await
    }

    /// As [`World::request_token`], for an address whose mail goes to `recipient`, another form of it.
    pub async fn request_token_to(&self, access_token: &str, email: &str, recipient: &str) -> Session {
        let client_secret = Random.base62(16);
        let body = json!({ "client_secret": client_secret, "email": email, "send_attempt": 1 });
        let answer = self.api.post(&v2("/validate/email/requestToken"), body).bearer(access_token).send().await;
        let sid = answer.expect(200)["sid"].as_str().expect("a sid").to_owned();
        // Notices to former owners arrive at the same address.
        let is_for = |message: &Message| {
            let is_own = |link: &Url| link.query_pairs().any(|(name, value)| name == "sid" && value == sid);
            message.links().iter().any(|link| link.path().ends_with("/submitToken") && is_own(link))
        };
        let message = wait_for("the mail of the session", DEADLINE, async || {
            self.mail.mails_to(recipient).iter().map(Mail::message).find(is_for)
        });
        let token = message.await.validation_parameter("token");
        Session { sid, client_secret, token }
    }

    /// `POST /validate/email/requestToken` with `body`; returns every response.
    pub async fn ask(&self, access_token: &str, body: Value) -> Answer {
        self.api.post(&v2("/validate/email/requestToken"), body).bearer(access_token).send().await
    }

    /// `POST /validate/email/submitToken` with `body`; returns every response.
    pub async fn submit(&self, access_token: &str, body: Value) -> Answer {
        self.api.post(&v2("/validate/email/submitToken"), body).bearer(access_token).send().await
    }

    /// `GET /3pid/getValidated3pid` for the session; returns every response.
    pub async fn validated(&self, access_token: &str, session: &Session) -> Answer {
        let call = self.api.get(&v2("/3pid/getValidated3pid")).bearer(access_token);
        call.query("sid", &session.sid).query("client_secret", &session.client_secret).send().await
    }

    /// A validated session for `email`.
    pub async fn validate(&self, access_token: &str, email: &str) -> Session {
        self.validate_by(access_token, email, email).await
    }

    /// As [`World::validate`], for an address whose mail goes to `recipient`.
    pub async fn validate_by(&self, access_token: &str, email: &str, recipient: &str) -> Session {
        let session = self.request_token_to(access_token, email, recipient).await;
        let answer =
            self.api.post(&v2("/validate/email/submitToken"), session.submission()).bearer(access_token).send().await;
        assert_eq!(answer.expect(200), json!({ "success": true }));
        session
    }

    /// Validates `email` and binds it to `user`; returns the signed association.
    pub async fn bind(&self, access_token: &str, user: &str, email: &str) -> Value {
        self.bind_by(access_token, user, email, email).await
    }

    /// As [`World::bind`], for an address whose mail goes to `recipient`.
    pub async fn bind_by(&self, access_token: &str, user: &str, email: &str, recipient: &str) -> Value {
        let session = self.validate_by(access_token, email, recipient).await;
        let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": user });
        self.api.post(&v2("/3pid/bind"), body).bearer(access_token).send().await.expect(200)
    }

    /// The current pepper.
    pub async fn pepper(&self, access_token: &str) -> String {
        let details = self.api.get(&v2("/hash_details")).bearer(access_token).send().await.expect(200);
        details["lookup_pepper"].as_str().expect("a pepper").to_owned()
    }

    /// Looks up one address by its SHA-256 hash; returns the user of the association.
    pub async fn look_up(&self, access_token: &str, address: &str, medium: &str) -> Option<String> {
        let pepper = self.pepper(access_token).await;
        let hash = hash(address, medium, &pepper);
        let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
        let answer = self.api.post(&v2("/lookup"), body).bearer(access_token).send().await.expect(200);
        answer["mappings"][&hash].as_str().map(str::to_owned)
    }
}

/// A client of the server. It waits out the delay between replicas.
fn client(server: &Server) -> Api {
    match server.replicas() {
        1 => Api::new(&server.url()),
        _ => Api::of_replicas(&server.url(), server.admin_urls()),
    }
}

async fn start(folder: TempDir, config: &str, settings: &Settings<'_>) -> Server {
    if !settings.logs_to_file {
        let environment: Vec<_> = settings.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        return Server::start_in(folder, binary::identity(), config, &environment).await;
    }
    let log = folder.path().join("log");
    let server = Server::try_start_logging_to(&log, folder, binary::identity(), config).await;
    server.unwrap_or_else(|failure| panic!("{failure:?}"))
}

impl Session {
    /// The path of the link in the mail.
    pub fn link(&self) -> String {
        let Self { sid, client_secret, token } = self;
        v2(&format!("/validate/email/submitToken?token={token}&client_secret={client_secret}&sid={sid}"))
    }

    /// The request that the form of the link's page sends.
    pub fn confirmed_link(&self) -> String {
        format!("{}&confirm=1", self.link())
    }

    /// The body of submitToken with the token of the mail.
    pub fn submission(&self) -> Value {
        json!({ "sid": self.sid, "client_secret": self.client_secret, "token": self.token })
    }
}

/// The path of the request that the form of the mail's link sends.
pub fn confirmed(link: &Url) -> String {
    format!("{}&confirm=1", &link[Position::BeforePath..])
}

/// The lookup hash of an address, computed without the server's code.
pub fn hash(address: &str, medium: &str, pepper: &str) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{address} {medium} {pepper}"));
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}
