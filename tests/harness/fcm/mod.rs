//! A fake Google over HTTP/2 and TLS: the token endpoint and `messages:send` of Firebase Cloud Messaging, which check
//! requests as the real ones do, until a test sets a fault.
//!
//! Invariant: it listens on 127.0.0.1 alone; it takes nothing on trust (signature, claims, token, project, the form of
//! the message), and every request that reaches it is counted and kept.

mod answers;
mod fault;
mod federation;
mod message;
mod state;
mod token;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::Clock;

pub use crate::fake::{Loss, Request};
pub use fault::Fault;
pub use federation::Step;

use crate::certificates::{Authority, Certificate};
use crate::fake::{Faults, HttpServer, Socket};
use state::{State, Target, World};

/// Where the token endpoint is.
const TOKEN_PATH: &str = "/token";

/// Where the metadata server's is.
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// Where the metadata server's ID of the project is.
const PROJECT_PATH: &str = "/computeMetadata/v1/project/project-id";

/// A Google that runs until it is dropped.
#[derive(Debug)]
pub struct Google {
    world: Arc<World>,
    authority: Authority,
    server: HttpServer,
    /// The metadata server, which speaks plain HTTP.
    metadata: HttpServer,
}

impl Google {
    /// Starts one with the project `demo-project`, which goes by the system's clock.
    pub async fn start() -> Self {
        Self::start_at(Clock::system()).await
    }

    /// Starts one that goes by `clock`.
    pub async fn start_at(clock: Clock) -> Self {
        let authority = Authority::new("the fake Google's authority");
        let socket = Socket::bind("127.0.0.1:0").await;
        let state = State {
            projects: HashSet::from([String::from("demo-project")]),
            token_lifetime: Duration::from_secs(3599),
            tokens: HashMap::new(),
            federated: HashMap::new(),
            subject_token: federation::new_subject_token(),
            wants_client: false,
            unregistered: HashSet::new(),
            faults: Faults::default(),
        };
        let token_uri = format!("https://{}{TOKEN_PATH}", socket.address);
        let world = Arc::new(World { clock, token_uri, state: Mutex::new(state) });
        let tls = authority.issue(&["127.0.0.1", "localhost"]).server_config(&["h2", "http/1.1"]);
        let server = socket.serve(Some(tls), Arc::clone(&world));
        let metadata = Socket::bind("127.0.0.1:0").await.serve(None, Arc::clone(&world));
        Self { world, authority, server, metadata }
    }

    /// For `base_url`.
    pub fn base_url(&self) -> String {
        format!("https://{}", self.server.address)
    }

    /// For `metadata_url`.
    pub fn metadata_url(&self) -> String {
        format!("https://{}{METADATA_PATH}", self.server.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Who signed its certificate, for `[outbound] extra_ca_file`.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A service account's key file for `demo-project`, as Google hands it out.
    pub fn service_account(&self) -> Value {
        json!({
            "type": "service_account",
            "project_id": "demo-project",
            "private_key_id": token::KEY_ID,
            "private_key": token::private_key_pem(),
            "client_email": token::CLIENT_EMAIL,
            "client_id": "100000000000000000001",
            "auth_uri": format!("https://{}/auth", self.server.address),
            "token_uri": self.world.token_uri,
            "universe_domain": "googleapis.com",
        })
    }

    /// Writes that file to `folder/service-account.json`; gives the path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_service_account(&self, folder: &Path) -> PathBuf {
        let path = folder.join("service-account.json");
        let text = self.service_account().to_string();
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// The section `[apps."<pattern>"]` that leads the gateway under test here, to which further keys may be appended;
    /// writes the service account into `folder`. `[outbound] extra_ca_file` has to name the authority.
    pub fn config(&self, pattern: &str, folder: &Path) -> String {
        let file = self.write_service_account(folder);
        let base_url = self.base_url();
        format!("[apps.{pattern:?}]\ntype = \"fcm\"\nservice_account_file = {file:?}\nbase_url = {base_url:?}\n")
    }

    /// The host of the metadata server, for `GCE_METADATA_HOST`.
    pub fn metadata_host(&self) -> String {
        self.metadata.address.to_string()
    }

    /// Makes a further project.
    pub fn add_project(&self, id: &str) {
        self.world.state().projects.insert(id.to_owned());
    }

    /// How long the tokens live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.world.state().token_lifetime = lifetime;
    }

    /// Forgets every access token that it issued.
    pub fn expire_tokens(&self) {
        self.world.state().tokens.clear();
    }

    /// The app was removed from the device with this pushkey.
    pub fn unregister(&self, pushkey: &str) {
        self.world.state().unregistered.insert(pushkey.to_owned());
    }

    /// Answers every message for `pushkey` by `fault`, until [`Google::mend`]. The newest matching fault counts.
    pub fn fault_for(&self, pushkey: &str, fault: Fault) {
        self.add_fault(Target::Pushkey(pushkey.to_owned()), fault, None);
    }

    /// As [`Google::fault_for`], for the next `times` messages only.
    pub fn fault_times_for(&self, pushkey: &str, times: usize, fault: Fault) {
        self.add_fault(Target::Pushkey(pushkey.to_owned()), fault, Some(times));
    }

    /// Answers every message by `fault`.
    pub fn fault(&self, fault: Fault) {
        self.add_fault(Target::Messages, fault, None);
    }

    /// Answers the next `times` messages by `fault`.
    pub fn fault_times(&self, times: usize, fault: Fault) {
        self.add_fault(Target::Messages, fault, Some(times));
    }

    /// Answers every request for a token by `fault`.
    pub fn token_fault(&self, fault: Fault) {
        self.add_fault(Target::Tokens, fault, None);
    }

    /// Answers the next `times` requests for a token by `fault`.
    pub fn token_fault_times(&self, times: usize, fault: Fault) {
        self.add_fault(Target::Tokens, fault, Some(times));
    }

    /// Lets `director` decide about each message that no other fault meets. It must not call this Google.
    pub fn fault_by(&self, director: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        self.world.state().faults.set_director(director);
    }

    /// Takes back every fault, and silence.
    pub fn mend(&self) {
        self.world.state().faults.clear();
        self.server.core.set_silent(false);
    }

    /// Cuts every connection there is without a word, as soon as everything said on it before has arrived.
    pub fn kill_connections(&self) {
        self.server.core.close_connections();
    }

    /// Presents `certificate` from the next connection on.
    pub fn set_certificate(&self, certificate: &Certificate) {
        self.server.core.set_tls(certificate.server_config(&["h2", "http/1.1"]));
    }

    /// Takes connections but says nothing on them, not even in the TLS handshake.
    pub fn set_silent(&self, silent: bool) {
        self.server.core.set_silent(silent);
    }

    /// The messages that were to be sent so far, oldest first, refused ones too.
    pub fn messages(&self) -> Vec<Request> {
        self.server.core.requests_if(|request| request.target.ends_with("/messages:send"))
    }

    /// The messages for this pushkey so far.
    pub fn messages_for(&self, pushkey: &str) -> Vec<Value> {
        let bodies = self.messages().into_iter().filter_map(|request| serde_json::from_slice(&request.body).ok());
        bodies.filter(|body| message::pushkey(body) == Some(pushkey)).collect()
    }

    /// The requests for a token so far: of service accounts, then of the metadata server.
    pub fn token_requests(&self) -> Vec<Request> {
        let is_token = |request: &Request| matches!(request.path(), TOKEN_PATH | METADATA_PATH);
        [&self.server, &self.metadata].into_iter().flat_map(|server| server.core.requests_if(is_token)).collect()
    }

    /// How many TCP connections were opened, TLS or not.
    pub fn connections(&self) -> usize {
        self.server.core.connections()
    }

    fn add_fault(&self, to: Target, fault: Fault, left: Option<usize>) {
        self.world.state().faults.add(to, fault, left);
    }
}

impl Request {
    /// The device of the message, as FCM addresses it.
    pub fn pushkey(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        message::pushkey(&body).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
