//! A fake Huawei over HTTP/2 and TLS: the token endpoint and `messages:send` of Push Kit, versions 1 and 3, which check
//! requests as the real ones do, until a test sets a fault.
//!
//! Invariant: it listens on 127.0.0.1 alone; it takes nothing on trust (signature, claims, token, form of the message), and
//! every request that reaches it is kept.

mod answers;
mod fault;
mod message;
mod token;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::{Clock, Timestamp};

pub use crate::fake::Request;
pub use fault::Fault;

use crate::certificates::{Authority, Certificate};
use crate::fake::{Faults, HttpServer, Socket};

/// The project of version 3.
const PROJECT: &str = "388421841221100001";
/// The app of version 1.
const APP: &str = "100000001";
/// The secret of its client.
const SECRET: &str = "s3cr3t&+/=";

/// Where the token endpoint is.
const TOKEN_PATH: &str = "/oauth2/v3/token";

/// A Huawei that runs until it is dropped.
#[derive(Debug)]
pub struct Huawei {
    world: Arc<World>,
    server: HttpServer,
}

#[derive(Debug)]
struct World {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    token_lifetime: Duration,
    /// The tokens of version 1.
    tokens: HashMap<String, Timestamp>,
    /// The signed tokens of version 3 that arrived so far, and those that are not accepted any more.
    signed: HashSet<String>,
    expired: HashSet<String>,
    faults: Faults<Target, Fault>,
}

/// The requests that a fault matches.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Tokens,
    Messages,
    Pushkey(String),
}

impl Huawei {
    /// Starts one with a certificate of `authority`.
    pub async fn start(authority: &Authority) -> Self {
        let socket = Socket::bind("127.0.0.1:0").await;
        let state = State {
            token_lifetime: Duration::from_secs(3600),
            tokens: HashMap::new(),
            signed: HashSet::new(),
            expired: HashSet::new(),
            faults: Faults::default(),
        };
        let world = Arc::new(World { clock: Clock::system(), state: Mutex::new(state) });
        let tls = authority.issue(&["127.0.0.1", "localhost"]).server_config(&["h2", "http/1.1"]);
        let server = socket.serve(Some(tls), Arc::clone(&world));
        Self { world, server }
    }

    /// For `base_url`.
    pub fn base_url(&self) -> String {
        format!("https://{}", self.server.address)
    }

    /// For `token_url`.
    pub fn token_url(&self) -> String {
        format!("{}{TOKEN_PATH}", self.base_url())
    }

    /// The file of a service account, as AppGallery Connect hands it out.
    pub fn service_account(&self) -> Value {
        json!({
            "project_id": PROJECT,
            "key_id": token::KEY_ID,
            "private_key": token::private_key_pem(),
            "sub_account": token::SUB_ACCOUNT,
            "auth_uri": "https://oauth-login.cloud.huawei.com/oauth2/v3/authorize",
            "token_uri": "https://oauth-login.cloud.huawei.com/oauth2/v3/token",
            "auth_provider_cert_uri": "https://oauth-login.cloud.huawei.com/oauth2/v3/certs",
            "client_cert_uri": "https://oauth-login.cloud.huawei.com/oauth2/v3/x509?client_id=",
        })
    }

    /// Writes that file to `folder/huawei.json`; gives the path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_service_account(&self, folder: &Path) -> PathBuf {
        let path = folder.join("huawei.json");
        let text = self.service_account().to_string();
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// The section `[apps."<pattern>"]` of this version that leads the gateway under test here, to which further keys may be
    /// appended; writes the service account into `folder`.
    pub fn config(&self, pattern: &str, version: u8, folder: &Path) -> String {
        let base_url = self.base_url();
        let credential = match version {
            1 => {
                let token_url = self.token_url();
                format!("version = 1\napp_id_number = {APP}\nclient_secret = {SECRET:?}\ntoken_url = {token_url:?}\n")
            }
            _ => format!("service_account_file = {:?}\n", self.write_service_account(folder)),
        };
        format!("[apps.{pattern:?}]\ntype = \"huawei\"\n{credential}base_url = {base_url:?}\n")
    }

    /// How long the tokens of version 1 live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.world.state().token_lifetime = lifetime;
    }

    /// Accepts no token any more that was issued, or arrived, so far.
    pub fn expire_tokens(&self) {
        let mut state = self.world.state();
        state.tokens.clear();
        let signed = state.signed.clone();
        state.expired.extend(signed);
    }

    /// Answers the next `times` messages for `pushkey` by `fault`; all of them with `None`. The newest matching fault counts.
    pub fn fault_for(&self, pushkey: &str, times: Option<usize>, fault: Fault) {
        self.world.state().faults.add(Target::Pushkey(pushkey.to_owned()), fault, times);
    }

    /// The same for every message.
    pub fn fault(&self, times: Option<usize>, fault: Fault) {
        self.world.state().faults.add(Target::Messages, fault, times);
    }

    /// The same for every request for a token.
    pub fn token_fault(&self, times: Option<usize>, fault: Fault) {
        self.world.state().faults.add(Target::Tokens, fault, times);
    }

    /// Takes back every fault.
    pub fn mend(&self) {
        self.world.state().faults.clear();
    }

    /// Presents `certificate` from the next connection on.
    pub fn set_certificate(&self, certificate: &Certificate) {
        self.server.core.set_tls(certificate.server_config(&["h2", "http/1.1"]));
    }

    /// The messages that were to be sent to this pushkey so far, refused ones too.
    pub fn messages_for(&self, pushkey: &str) -> Vec<Request> {
        self.server.core.requests_if(|request| message::pushkey(request).as_deref() == Some(pushkey))
    }

    /// All messages so far.
    pub fn messages(&self) -> Vec<Request> {
        self.server.core.requests_if(|request| request.target.ends_with("/messages:send"))
    }

    /// The requests for a token so far.
    pub fn token_requests(&self) -> Vec<Request> {
        self.server.core.requests_if(|request| request.path() == TOKEN_PATH)
    }

    /// How many TCP connections were opened.
    pub fn connections(&self) -> usize {
        self.server.core.connections()
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
