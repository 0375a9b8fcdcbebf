//! A fake Google over HTTP/2 and TLS: the token endpoint and `messages:send` of Firebase Cloud Messaging, which check
//! what reaches them as the real ones do, until a test tells them to misbehave.
//!
//! Invariant: it listens on 127.0.0.1 alone; it takes nothing on trust (signature, claims, token, project, the form of
//! the message), and every request that reaches it is counted and kept.

mod answers;
mod connection;
mod fault;
mod message;
mod token;
mod world;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Value, json};
use shared::clock::Clock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use connection::Line;
pub use fault::{Fault, Loss};
use world::{Director, Rule, State, Target, World};

use crate::certificates::{Authority, Certificate};

/// Where the token endpoint is.
const TOKEN_PATH: &str = "/token";

/// Where the metadata server's is.
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// A Google that runs until it is dropped.
#[derive(Debug)]
pub struct Google {
    world: Arc<World>,
    authority: Authority,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// A request that reached it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target: path and query, as sent.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether it came over HTTP/2.
    pub is_http2: bool,
    /// Whether the message, or the request for a token, was taken, whatever became of the answer.
    pub is_accepted: bool,
    stream: Option<(Arc<Line>, u32)>,
}

impl Google {
    /// Starts one with the project `demo-project`, which goes by the system's clock.
    pub async fn start() -> Self {
        Self::start_at(Clock::system()).await
    }

    /// Starts one that goes by `clock`.
    pub async fn start_at(clock: Clock) -> Self {
        let authority = Authority::new("the fake Google's authority");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system gives a port");
        let address = listener.local_addr().expect("it is bound");
        let state = State {
            tls: authority.issue(&["127.0.0.1", "localhost"]).server_config(&["h2", "http/1.1"]),
            silent: false,
            projects: HashSet::from([String::from("demo-project")]),
            token_lifetime: Duration::from_secs(3599),
            tokens: HashMap::new(),
            unregistered: HashSet::new(),
            requests: Vec::new(),
            faults: Vec::new(),
            director: None,
        };
        let world = Arc::new(World {
            clock,
            authority_of_tokens: format!("https://{address}{TOKEN_PATH}"),
            state: Mutex::new(state),
            connections: AtomicUsize::new(0),
            killed: watch::Sender::new(0),
        });
        let task = tokio::spawn(connection::accept(listener, Arc::clone(&world)));
        Self { world, authority, address, task }
    }

    /// For `base_url`.
    pub fn base_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// For `metadata_url`.
    pub fn metadata_url(&self) -> String {
        format!("https://{}{METADATA_PATH}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
            "auth_uri": format!("https://{}/auth", self.address),
            "token_uri": self.world.authority_of_tokens,
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
        self.world.state().director = Some(Director(Box::new(director)));
    }

    /// Takes back every fault, and silence.
    pub fn mend(&self) {
        let mut state = self.world.state();
        state.faults.clear();
        state.director = None;
        state.silent = false;
    }

    /// Cuts every connection there is without a word, as soon as everything said on it before has arrived.
    pub fn kill_connections(&self) {
        self.world.killed.send_modify(|count| *count += 1);
    }

    /// Presents `certificate` from the next connection on.
    pub fn set_certificate(&self, certificate: &Certificate) {
        self.world.state().tls = certificate.server_config(&["h2", "http/1.1"]);
    }

    /// Takes connections but says nothing on them, not even in the TLS handshake.
    pub fn set_silent(&self, silent: bool) {
        self.world.state().silent = silent;
    }

    /// The messages that were to be sent so far, oldest first, refused ones too.
    pub fn messages(&self) -> Vec<Request> {
        let is_message = |request: &Request| request.target.ends_with("/messages:send");
        self.world.state().requests.iter().filter(|request| is_message(request)).cloned().collect()
    }

    /// The messages for this pushkey so far.
    pub fn messages_for(&self, pushkey: &str) -> Vec<Value> {
        let bodies = self.messages().into_iter().filter_map(|request| serde_json::from_slice(&request.body).ok());
        bodies.filter(|body| message::pushkey(body) == Some(pushkey)).collect()
    }

    /// The requests for a token so far.
    pub fn token_requests(&self) -> Vec<Request> {
        let is_token = |request: &Request| {
            let path = request.target.split('?').next();
            path == Some(TOKEN_PATH) || path == Some(METADATA_PATH)
        };
        self.world.state().requests.iter().filter(|request| is_token(request)).cloned().collect()
    }

    /// How many TCP connections were opened, TLS or not.
    pub fn connections(&self) -> usize {
        self.world.connections.load(Ordering::SeqCst)
    }

    fn add_fault(&self, to: Target, fault: Fault, left: Option<usize>) {
        self.world.state().faults.push(Rule { to, fault, left });
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Request {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the gateway has heard how it was answered, or is bound to, over HTTP/2. What was accepted without that may
    /// come again.
    pub fn was_told(&self) -> bool {
        self.stream.as_ref().is_some_and(|(line, stream)| line.wire.has_told(*stream))
    }

    /// Whom the message is for.
    pub fn pushkey(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        message::pushkey(&body).map(str::to_owned)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

#[cfg(test)]
mod tests;
