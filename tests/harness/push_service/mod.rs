//! A fake push service over HTTP/2 and TLS: `/push/…` takes Web Push as Mozilla's autopush does, `/up…` takes UnifiedPush as ntfy
//! does, until a test sets an answer.
//!
//! Invariant: it listens on 127.0.0.1 alone; it takes nothing on trust (VAPID, encryption, headers), and every request that
//! reaches it is kept.

mod checks;
mod decrypt;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::random::Random;

use crate::certificates::{Authority, Certificate};
use crate::fake::{Faults, HttpServer, Reaction, Recorded, Service, Socket};

pub use decrypt::Receiver;

pub use crate::fake::{Fault, Loss, Reply, Request};

/// The settings with the VAPID key of RFC 8291's sender.
pub const VAPID: &str =
    "vapid_private_key = \"yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw\"\nvapid_contact = \"ops@example.com\"\n";
/// Its private key.
pub const VAPID_PRIVATE: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
/// Its public key.
pub const VAPID_PUBLIC: &str =
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";

/// `[outbound]` keys with which the gateway may reach the fake.
pub const ALLOW: &str = "allow_cidrs = [\"127.0.0.0/8\"]\n";

/// A push service that runs until it is dropped.
#[derive(Debug)]
pub struct PushService {
    world: Arc<World>,
    server: HttpServer,
}

#[derive(Debug)]
struct World {
    origin: String,
    state: Mutex<State>,
    /// By the path of the endpoint.
    faults: Mutex<Faults<String, Fault>>,
}

#[derive(Debug, Default)]
struct State {
    /// By the path of the endpoint.
    receivers: HashMap<String, Receiver>,
    topics: Vec<String>,
    /// The messages that were taken, by path.
    messages: Vec<(String, Vec<u8>)>,
}

/// Reads the messages in requests to a push service.
#[derive(Clone, Debug)]
pub struct Opener(Arc<World>);

impl PushService {
    /// Starts one with a certificate of `authority` for 127.0.0.1, localhost and `names`.
    pub async fn start(authority: &Authority, names: &[&str]) -> Self {
        let socket = Socket::bind("127.0.0.1:0").await;
        let origin = format!("https://{}", socket.address);
        let world = Arc::new(World { origin, state: Mutex::default(), faults: Mutex::default() });
        let names: Vec<&str> = ["127.0.0.1", "localhost"].iter().chain(names).copied().collect();
        let tls = authority.issue(&names).server_config(&["h2", "http/1.1"]);
        let server = socket.serve(Some(tls), Arc::clone(&world));
        Self { world, server }
    }

    /// Its origin.
    pub fn origin(&self) -> &str {
        &self.world.origin
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// A browser's new subscription, as a device of `app_id`.
    pub fn browser(&self, app_id: &str) -> Value {
        let path = format!("/push/{}", Random.base62(16));
        let receiver = Receiver::new();
        let (p256dh, auth) = receiver.keys();
        self.world.state().receivers.insert(path.clone(), receiver);
        let endpoint = format!("{}{path}", self.origin());
        json!({ "app_id": app_id, "pushkey": p256dh, "pushkey_ts": 42, "data": { "endpoint": endpoint, "auth": auth } })
    }

    /// A distributor's new endpoint, as a device of `app_id`.
    pub fn phone(&self, app_id: &str) -> Value {
        let path = format!("/up{}", Random.base62(12));
        self.world.state().topics.push(path.clone());
        json!({ "app_id": app_id, "pushkey": format!("{}{path}?up=1", self.origin()), "pushkey_ts": 42 })
    }

    /// The same, whose app decrypts messages itself.
    pub fn encrypting_phone(&self, app_id: &str) -> Value {
        let mut device = self.phone(app_id);
        let receiver = Receiver::new();
        let (p256dh, auth) = receiver.keys();
        device["data"] = json!({ "p256dh": p256dh, "auth": auth });
        self.world.state().receivers.insert(path_of(&device), receiver);
        device
    }

    /// The private key, the public key and the secret of a device, in base64url.
    ///
    /// # Panics
    /// If it has no keys here.
    pub fn keys_of(&self, device: &Value) -> [String; 3] {
        let state = self.world.state();
        let receiver = state.receivers.get(&path_of(device)).expect("a device of this service");
        let (public, secret) = receiver.keys();
        [URL_SAFE_NO_PAD.encode(receiver.private_key()), public, secret]
    }

    /// Answers the next `times` requests for `device` by `reply`; all of them with `None`.
    pub fn answer(&self, device: &Value, times: Option<usize>, reply: Reply) {
        self.fault(device, times, Fault::Reply(reply));
    }

    /// Lets `fault` meet the next `times` requests for `device`; all of them with `None`.
    pub fn fault(&self, device: &Value, times: Option<usize>, fault: Fault) {
        self.world.faults().add(path_of(device), fault, times);
    }

    /// Lets `director` decide about each request that no other fault meets.
    pub fn fault_by(&self, director: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        self.world.faults().set_director(director);
    }

    /// Takes back every fault.
    pub fn mend(&self) {
        self.world.faults().clear();
    }

    /// Reads the messages in requests, for a director too.
    pub fn opener(&self) -> Opener {
        Opener(Arc::clone(&self.world))
    }

    /// Presents `certificate` from the next connection on.
    pub fn set_certificate(&self, certificate: &Certificate) {
        self.server.core.set_tls(certificate.server_config(&["h2", "http/1.1"]));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.core.requests()
    }

    /// The requests for a device so far, refused ones too.
    pub fn requests_for(&self, device: &Value) -> Vec<Request> {
        let path = path_of(device);
        self.server.core.requests_if(|request| request.path() == path)
    }

    /// The messages for a device that were taken so far, decrypted.
    ///
    /// # Panics
    /// If one is no JSON.
    pub fn messages_for(&self, device: &Value) -> Vec<Value> {
        let path = path_of(device);
        let state = self.world.state();
        let messages = state.messages.iter().filter(|(to, _)| *to == path);
        messages.map(|(_, json)| serde_json::from_slice(json).expect("a message is JSON")).collect()
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

    fn faults(&self) -> MutexGuard<'_, Faults<String, Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opener {
    /// The message in `request`, decrypted if its receiver has keys; `None` if it is no JSON.
    pub fn message(&self, request: &Request) -> Option<Value> {
        let state = self.0.state();
        let plain = match state.receivers.get(request.path()) {
            Some(receiver) => receiver.decrypt(&request.body).ok()?,
            None => request.body.to_vec(),
        };
        serde_json::from_slice(&plain).ok()
    }
}

impl Service for World {
    async fn react(&self, request: Recorded<'_>) -> Reaction {
        let path = request.path().to_owned();
        let fault = self.faults().next_or_direct(&request, |to| *to == path);
        let lost = match fault {
            Some(fault) => match fault.meet(&request).await {
                Ok(lost) => lost,
                Err(reaction) => return reaction,
            },
            None => None,
        };
        match self.check(&request) {
            Ok((message, reply)) => {
                self.state().messages.push((path, message));
                request.accept();
                lost.map_or(Reaction::Reply(reply), Reaction::from)
            }
            Err(reply) => Reaction::Reply(reply),
        }
    }
}

/// The path of a device's endpoint.
fn path_of(device: &Value) -> String {
    let endpoint = device["data"]["endpoint"].as_str().or(device["pushkey"].as_str()).expect("an endpoint");
    url::Url::parse(endpoint).expect("a URL").path().to_owned()
}
