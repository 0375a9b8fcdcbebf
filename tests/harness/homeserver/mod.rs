//! A fake homeserver over TLS: it answers the federation requests of an identity server as a real one does, until a
//! test sets a fault.
//!
//! Invariant: it listens on 127.0.0.1 alone, and every connection and request that reaches it is counted and kept.
//!
//! To be found it needs `[federation.overrides] "hs.example" = "127.0.0.1:PORT"` (see [`Homeserver::config`]) or the
//! fake DNS together with `allow_cidrs`, and its authority as `[outbound] extra_ca_file`.

mod admission;
mod answers;
mod fault;
mod rooms;
mod signing;
mod x_matrix;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shared::random::Random;

pub use crate::fake::Request;
pub use fault::Fault;
pub use rooms::Join;
pub use signing::{Key, canonical};
pub use x_matrix::XMatrix;

use crate::certificates::{Authority, Certificate};
use crate::fake::{Faults, HttpServer, Reaction, Recorded, Service, Socket};

/// A homeserver that runs until it is dropped.
#[derive(Debug)]
pub struct Homeserver {
    world: Arc<World>,
    authority: Authority,
    server: HttpServer,
}

/// What the connections share with the test.
#[derive(Debug)]
struct World {
    name: String,
    state: Mutex<State>,
    /// For its own requests to identity servers.
    client: reqwest::Client,
}

#[derive(Debug)]
struct State {
    keys: Vec<Key>,
    key_lifetime: Duration,
    open_id_tokens: HashMap<String, String>,
    /// By the start of the path.
    faults: Faults<String, Fault>,
    rooms: rooms::Rooms,
}

impl Homeserver {
    /// Starts a homeserver of that name, with a certificate for it from an authority of its own.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &Authority::new("the homeserver's authority"), "127.0.0.1:0").await
    }

    /// As [`Homeserver::start`], with a certificate from `authority` and at `bind`, an address with port 0 or, for
    /// what must be found at a certain port, that port.
    ///
    /// # Panics
    /// If the address cannot be taken.
    pub async fn start_with(name: &str, authority: &Authority, bind: &str) -> Self {
        let socket = Socket::bind(bind).await;
        let state = State {
            keys: vec![Key::new("ed25519:a_1")],
            key_lifetime: Duration::from_secs(24 * 60 * 60),
            open_id_tokens: HashMap::new(),
            faults: Faults::default(),
            rooms: rooms::Rooms::default(),
        };
        let world = Arc::new(World { name: name.to_owned(), state: Mutex::new(state), client: rooms::client() });
        let tls = authority.issue(&[host(name)]).server_config(&["http/1.1"]);
        let server = socket.serve(Some(tls), Arc::clone(&world));
        Self { world, authority: authority.clone(), server }
    }

    /// The server name.
    pub fn name(&self) -> &str {
        &self.world.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Who signed its certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The sections `[outbound]` and `[federation]` for the server under test; the latter is last, so that keys can be
    /// appended to it. Writes the authority's file into `folder`.
    pub fn config(&self, folder: &Path) -> String {
        let file = self.authority.write_pem(folder);
        format!(
            "[outbound]\nextra_ca_file = {file:?}\n[federation]\noverrides.{:?} = \"{}\"\n",
            self.name(),
            self.server.address
        )
    }

    /// A new OpenID token for `user_id`, as a client gets it from its homeserver and hands it to `account/register`.
    pub fn open_id_token(&self, user_id: &str) -> Value {
        let token = Random.base62(32);
        self.world.state().open_id_tokens.insert(token.clone(), user_id.to_owned());
        json!({
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": self.name(),
            "expires_in": 3600,
        })
    }

    /// Forgets every OpenID token it gave out.
    pub fn expire_open_id_tokens(&self) {
        self.world.state().open_id_tokens.clear();
    }

    /// The key it signs with.
    pub fn key(&self) -> Key {
        self.world.state().keys[0].clone()
    }

    /// Signs with `key` from now on; the ones before move to `old_verify_keys`.
    pub fn change_key(&self, key: Key) {
        self.world.state().keys.insert(0, key);
    }

    /// How long after a key request its answer says that the keys are valid (`valid_until_ts`).
    pub fn set_key_lifetime(&self, lifetime: Duration) {
        self.world.state().key_lifetime = lifetime;
    }

    /// Its response to a request for its keys, for a test to change and sign.
    pub fn key_document(&self) -> Value {
        answers::keys(self.name(), &self.world.state())
    }

    /// A request of this homeserver, `content` posted to `uri`, to be signed for `destination`.
    pub fn request(&self, uri: &str, destination: &str, content: &Value) -> XMatrix {
        XMatrix::new(self.name(), self.key(), uri, destination, content)
    }

    /// The `Authorization: X-Matrix …` header of a request from this homeserver: `content` signed under
    /// `destination_is`, as homeservers do towards identity servers.
    pub fn x_matrix(&self, method: &str, uri: &str, destination: &str, content: &Value) -> String {
        self.request(uri, destination, content).method(method).header()
    }

    /// Presents `certificate` from the next connection on.
    pub fn set_certificate(&self, certificate: &Certificate) {
        self.server.core.set_tls(certificate.server_config(&["http/1.1"]));
    }

    /// Takes connections but says nothing on them, not even in the TLS handshake.
    pub fn set_silent(&self, silent: bool) {
        self.server.core.set_silent(silent);
    }

    /// Answers every request whose path starts with `path` by `fault`, until [`Homeserver::mend`]. The newest
    /// matching fault counts.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.world.state().faults.add(path.to_owned(), fault, None);
    }

    /// As [`Homeserver::fault`], for the next `times` requests only.
    pub fn fault_times(&self, path: &str, times: usize, fault: Fault) {
        self.world.state().faults.add(path.to_owned(), fault, Some(times));
    }

    /// Takes back every fault.
    pub fn mend(&self) {
        self.world.state().faults.clear();
        self.server.core.set_silent(false);
    }

    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.server.core.requests()
    }

    /// The requests so far whose path starts with `path`.
    pub fn requests_to(&self, path: &str) -> Vec<Request> {
        self.server.core.requests_if(|request| request.target.starts_with(path))
    }

    /// How many TCP connections were opened, TLS or not.
    pub fn connections(&self) -> usize {
        self.server.core.connections()
    }

    /// How many bytes of bodies were handed to connections: shows when a reader stopped early, give or take what
    /// the sockets buffer.
    pub fn bytes_sent(&self) -> u64 {
        self.server.core.bytes_sent()
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for World {
    async fn react(&self, request: Recorded<'_>) -> Reaction {
        let fault = self.state().faults.next(|path| request.target.starts_with(path));
        match fault {
            None => Reaction::Reply(answers::answer(self, &request).await),
            Some(Fault::Silence) => Reaction::Silence,
            Some(Fault::Close) => Reaction::Close,
            Some(Fault::Reply(reply)) => Reaction::Reply(reply),
        }
    }
}

/// A server name without its port.
fn host(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !port.is_empty() => host,
        _ => name,
    }
}

#[cfg(test)]
mod tests;
