//! An identity server with the world around it: a homeserver that vouches for its users and a relay that takes mail.
//!
//! Invariant: every test has its own world; nothing is shared but the binary.

use std::time::Duration;

use harness::api::{Answer, Api};
use harness::binary;
use harness::homeserver::Homeserver;
use harness::mail::{Offer, Sink};
use harness::process::{Server, new_folder};
use serde_json::{Value, json};
use shared::random::Random;

/// How long anything that is bound to happen may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A path of the API.
pub(crate) fn v2(path: &str) -> String {
    format!("/_matrix/identity/v2{path}")
}

/// The `[database]` tables to run a test with: of SQLite, and of a new PostgreSQL database if this machine has one.
pub(crate) async fn databases() -> Vec<String> {
    let postgres = harness::postgres::database().await;
    let postgres = postgres.map(|url| format!("[database]\nurl = \"{url}\"\n"));
    std::iter::once(String::new()).chain(postgres).collect()
}

/// A server and its world.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) homeserver: Homeserver,
    pub(crate) mail: Sink,
    pub(crate) api: Api,
}

/// What a test adds to the settings: lines for tables that the world writes, and whole other tables.
#[derive(Clone, Default)]
pub(crate) struct Settings<'a> {
    /// Lines of `[server]`.
    pub(crate) server: &'a str,
    /// Lines of `[http]`.
    pub(crate) http: &'a str,
    /// Lines of `[email]`.
    pub(crate) email: &'a str,
    /// Lines of `[outbound]`.
    pub(crate) outbound: &'a str,
    /// Lines of `[federation]`.
    pub(crate) federation: &'a str,
    /// Other tables, with their headers.
    pub(crate) tables: &'a str,
    /// What the relay offers.
    pub(crate) mail: Offer,
}

impl Settings<'_> {
    /// The whole file; `federation` is `[outbound]` and `[federation]` with headers, `email` lines without one.
    pub(crate) fn toml(&self, federation: &str, email: &str) -> String {
        let Self { server, http, email: more_email, outbound, federation: more_federation, tables, .. } = self;
        let federation = federation.replacen("[outbound]\n", &format!("[outbound]\n{outbound}\n"), 1);
        format!(
            "[server]\ndata_dir = \"data\"\n{server}\n[http]\nbind = \"127.0.0.1:0\"\n{http}\n[admin]\nbind = \"127.0.0.1:0\"\n\
             {federation}\n{more_federation}\n[email]\n{email}\n{more_email}\n{tables}\n"
        )
    }
}

/// A validation session as its client knows it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) sid: String,
    pub(crate) client_secret: String,
    pub(crate) token: String,
}

impl World {
    /// A world with the default settings.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// A world with further settings.
    pub(crate) async fn with(settings: Settings<'_>) -> Self {
        let folder = new_folder();
        let homeserver = Homeserver::start("hs.example").await;
        let mail = Sink::start_with(settings.mail.clone(), homeserver.authority()).await;
        let config = settings.toml(&homeserver.config(folder.path()), &mail.config());
        let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
        let api = Api::new(&server.url());
        Self { server, homeserver, mail, api }
    }

    /// Ends the server as a power cut would and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.server.restart().await;
        self.api = Api::new(&self.server.url());
    }

    /// Another process with the same settings and signing key, in a folder of its own. What the two share besides is
    /// what the settings say: a PostgreSQL database.
    pub(crate) async fn twin(&self) -> (Server, Api) {
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

    /// Registers `user` and gives the access token.
    pub(crate) async fn register(&self, user: &str) -> String {
        let body = self.homeserver.open_id_token(user);
        let answer = self.api.post(&v2("/account/register"), body).send().await;
        answer.expect(200)["token"].as_str().expect("a token").to_owned()
    }

    /// Asks for a token for `email`; gives the session with the token of the mail that came.
    pub(crate) async fn request_token(&self, access_token: &str, email: &str) -> Session {
        self.request_token_to(access_token, email, email).await
    }

    /// As [`World::request_token`], for an address whose mail goes to another form of it.
    pub(crate) async fn request_token_to(&self, access_token: &str, email: &str, recipient: &str) -> Session {
        let client_secret = Random.base62(16);
        let before = self.mail.mails_to(recipient).len();
        let body = json!({ "client_secret": client_secret, "email": email, "send_attempt": 1 });
        let answer = self.api.post(&v2("/validate/email/requestToken"), body).bearer(access_token).send().await;
        let sid = answer.expect(200)["sid"].as_str().expect("a sid").to_owned();
        let mail = self.mail.wait_for(recipient, before + 1, DEADLINE).await;
        let token = mail.message().validation_parameter("token");
        Session { sid, client_secret, token }
    }

    /// `POST /validate/email/requestToken` with `body`, whatever comes of it.
    pub(crate) async fn ask(&self, access_token: &str, body: Value) -> Answer {
        self.api.post(&v2("/validate/email/requestToken"), body).bearer(access_token).send().await
    }

    /// `POST /validate/email/submitToken` with `body`, whatever comes of it.
    pub(crate) async fn submit(&self, access_token: &str, body: Value) -> Answer {
        self.api.post(&v2("/validate/email/submitToken"), body).bearer(access_token).send().await
    }

    /// `GET /3pid/getValidated3pid` for the session, whatever comes of it.
    pub(crate) async fn validated(&self, access_token: &str, session: &Session) -> Answer {
        let call = self.api.get(&v2("/3pid/getValidated3pid")).bearer(access_token);
        call.query("sid", &session.sid).query("client_secret", &session.client_secret).send().await
    }

    /// A session for `email` that is validated.
    pub(crate) async fn validate(&self, access_token: &str, email: &str) -> Session {
        self.validate_by(access_token, email, email).await
    }

    /// As [`World::validate`], for an address whose mail goes to another form of it.
    pub(crate) async fn validate_by(&self, access_token: &str, email: &str, recipient: &str) -> Session {
        let session = self.request_token_to(access_token, email, recipient).await;
        let answer =
            self.api.post(&v2("/validate/email/submitToken"), session.submission()).bearer(access_token).send().await;
        assert_eq!(answer.expect(200), json!({ "success": true }));
        session
    }

    /// Validates `email` and binds it to `user`; gives the signed association.
    pub(crate) async fn bind(&self, access_token: &str, user: &str, email: &str) -> Value {
        self.bind_by(access_token, user, email, email).await
    }

    /// As [`World::bind`], for an address whose mail goes to another form of it.
    pub(crate) async fn bind_by(&self, access_token: &str, user: &str, email: &str, recipient: &str) -> Value {
        let session = self.validate_by(access_token, email, recipient).await;
        let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": user });
        self.api.post(&v2("/3pid/bind"), body).bearer(access_token).send().await.expect(200)
    }

    /// The pepper in force.
    pub(crate) async fn pepper(&self, access_token: &str) -> String {
        let details = self.api.get(&v2("/hash_details")).bearer(access_token).send().await.expect(200);
        details["lookup_pepper"].as_str().expect("a pepper").to_owned()
    }

    /// Looks up one address by its SHA-256 hash; gives the user, if it is found.
    pub(crate) async fn look_up(&self, access_token: &str, address: &str, medium: &str) -> Option<String> {
        let pepper = self.pepper(access_token).await;
        let hash = hash(address, medium, &pepper);
        let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
        let answer = self.api.post(&v2("/lookup"), body).bearer(access_token).send().await.expect(200);
        answer["mappings"][&hash].as_str().map(str::to_owned)
    }
}

impl Session {
    /// The path of the link in the mail.
    pub(crate) fn link(&self) -> String {
        let Self { sid, client_secret, token } = self;
        v2(&format!("/validate/email/submitToken?token={token}&client_secret={client_secret}&sid={sid}"))
    }

    /// The body of submitToken with the right token.
    pub(crate) fn submission(&self) -> Value {
        json!({ "sid": self.sid, "client_secret": self.client_secret, "token": self.token })
    }
}

/// The lookup hash of an address, made here independently of the server.
pub(crate) fn hash(address: &str, medium: &str, pepper: &str) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{address} {medium} {pepper}"));
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}
