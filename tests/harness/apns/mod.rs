//! A fake Apple Push Notification service over HTTP/2 and TLS: it checks what the real one checks, and misbehaves as the
//! real one does, when a test sets a fault.
//!
//! Invariant: it listens on 127.0.0.1 alone, and every connection and request that reaches it is counted and kept.
//!
//! An app finds it by `endpoint` (see [`Apple::config`]), with its authority as `[outbound] extra_ca_file`.

mod checks;
mod fault;
mod provider_token;
mod state;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use shared::clock::Clock;

pub use crate::fake::{Loss, Request};
pub use fault::Fault;

use self::provider_token::ProviderKey;
use self::state::{State, World};
use crate::certificates::{Authority, Certificate};
use crate::fake::{Faults, HttpServer, Socket};

/// How many streams Apple allows, once it knows the client.
const USUAL_STREAMS: u32 = 1000;

/// An APNs that runs until it is dropped.
#[derive(Debug)]
pub struct Apple {
    world: Arc<World>,
    authority: Authority,
    certificate: Certificate,
    server: HttpServer,
}

impl Apple {
    /// Starts one, with a new provider key and an authority of its own.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0", &Authority::new("Apple's authority")).await
    }

    /// As [`Apple::start`], with a certificate from `authority` and at `bind`, an address with port 0 or, for what must
    /// be found again at a certain port, that port.
    ///
    /// # Panics
    /// If the address cannot be taken.
    pub async fn start_at(bind: &str, authority: &Authority) -> Self {
        let socket = Socket::bind(bind).await;
        let certificate = authority.issue(&["127.0.0.1", "localhost"]);
        let state = State {
            clock: Clock::system(),
            key: ProviderKey::new("KEY1234567", "TEAM123456"),
            by_certificate: false,
            topics: Vec::new(),
            unknown: Vec::new(),
            max_streams: USUAL_STREAMS,
            faults: Faults::default(),
        };
        let world = Arc::new(World { authority: socket.address.to_string(), state: Mutex::new(state) });
        let server = socket.serve(Some(certificate.server_config(&["h2"])), Arc::clone(&world));
        server.core.streams.store(USUAL_STREAMS, Ordering::SeqCst);
        Self { world, authority: authority.clone(), certificate, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The `endpoint` setting that leads here.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.server.address)
    }

    /// Who signed its certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The provider key as its developer downloads it (`.p8`).
    pub fn key_pem(&self) -> String {
        self.world.state().key.pem.clone()
    }

    /// The provider key's `key_id`.
    pub fn key_id(&self) -> String {
        self.world.state().key.id.clone()
    }

    /// The developer's `team_id`.
    pub fn team_id(&self) -> String {
        self.world.state().key.team.clone()
    }

    /// The keys of an app's table that lead the gateway here, to which further keys may be appended; writes the provider
    /// key into `folder`. Trust comes by `[outbound] extra_ca_file`, see [`Authority::write_pem`].
    ///
    /// # Panics
    /// If the key cannot be written.
    pub fn config(&self, folder: &Path, topic: &str) -> String {
        let path = folder.join("apns.p8");
        std::fs::write(&path, self.key_pem()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        format!(
            "type = \"apns\"\ntopic = {topic:?}\nkey_file = {path:?}\nkey_id = {:?}\nteam_id = {:?}\nendpoint = {:?}\n",
            self.key_id(),
            self.team_id(),
            self.endpoint()
        )
    }

    /// Uses `clock`.
    pub fn set_clock(&self, clock: &Clock) {
        self.world.state().clock = clock.clone();
    }

    /// Takes pushes to these bundle ids alone; to all if there are none.
    pub fn set_topics(&self, topics: &[&str]) {
        self.world.state().topics = topics.iter().map(|&topic| topic.to_owned()).collect();
    }

    /// Does not know this device (in hexadecimal): `BadDeviceToken`.
    pub fn forget(&self, device: &str) {
        self.world.state().unknown.push(device.to_owned());
    }

    /// Takes a new provider token whenever one comes, for gateways that start again within 20 minutes.
    pub fn allow_token_updates(&self) {
        self.world.state().key.lenient = true;
    }

    /// How many different provider tokens were taken.
    pub fn provider_tokens(&self) -> usize {
        self.world.state().key.tokens()
    }

    /// Allows one stream on each new connection until a push was accepted there.
    pub fn allow_one_stream_at_first(&self) {
        self.server.core.streams.store(1, Ordering::SeqCst);
    }

    /// Allows this many streams, on connections that are open and on new ones.
    pub fn set_max_streams(&self, max_streams: u32) {
        self.world.state().max_streams = max_streams;
        // New connections keep a limit of one until a push is accepted there.
        if self.server.core.streams.load(Ordering::SeqCst) != 1 {
            self.server.core.streams.store(max_streams, Ordering::SeqCst);
        }
        for connection in self.server.core.open() {
            connection.announce_streams(max_streams);
        }
    }

    /// Presents `certificate` from the next connection on.
    pub fn set_certificate(&self, certificate: &Certificate) {
        self.server.core.set_tls(certificate.server_config(&["h2"]));
    }

    /// Chooses this protocol in TLS from the next connection on, `h2` being the right one; none if it is empty.
    pub fn set_protocol(&self, alpn: &[&str]) {
        self.server.core.set_tls(self.certificate.server_config(alpn));
    }

    /// From the next connection on, asks for a client certificate from `authority`, and for no provider token.
    pub fn ask_for_certificates(&self, authority: &Authority) {
        self.server.core.set_tls(self.certificate.server_config_for_clients(&["h2"], authority));
        self.world.state().by_certificate = true;
    }

    /// Takes connections but says nothing on them, not even in the TLS handshake.
    pub fn set_silent(&self, silent: bool) {
        self.server.core.set_silent(silent);
    }

    /// Says and hears nothing more on the connections that are open, without closing them.
    pub fn fall_silent(&self) {
        for connection in self.server.core.open() {
            connection.wire.mute.store(true, Ordering::SeqCst);
        }
    }

    /// Answers every request for a device whose token starts with `device` by `fault`, until [`Apple::mend`]; such a
    /// request is not judged. The newest matching fault counts.
    pub fn fault(&self, device: &str, fault: Fault) {
        self.world.state().faults.add(device.to_owned(), fault, None);
    }

    /// As [`Apple::fault`], for the next `times` requests only.
    pub fn fault_times(&self, device: &str, times: usize, fault: Fault) {
        self.world.state().faults.add(device.to_owned(), fault, Some(times));
    }

    /// Lets `director` decide about each request that no other fault meets. It must not call this Apple.
    pub fn fault_by(&self, director: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        self.world.state().faults.set_director(director);
    }

    /// Takes back every fault.
    pub fn mend(&self) {
        self.world.state().faults.clear();
        self.server.core.set_silent(false);
    }

    /// GOAWAY on every connection: streams above `last` were not processed.
    pub fn go_away(&self, last: u32, reason: &str) {
        for connection in self.server.core.open() {
            connection.go_away_above(last, reason);
        }
    }

    /// Closes every connection when the client has received everything that was written before.
    pub fn cut(&self) {
        self.server.core.close_connections();
    }

    /// The requests so far, oldest first. Streams that a GOAWAY had left out are none.
    pub fn requests(&self) -> Vec<Request> {
        self.server.core.requests()
    }

    /// The requests so far for devices whose token starts with `device`.
    pub fn requests_for(&self, device: &str) -> Vec<Request> {
        self.server.core.requests_if(|request| request.device().starts_with(device))
    }

    /// How many TCP connections were opened, TLS or not.
    pub fn connections(&self) -> usize {
        self.server.core.connections()
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.server.core.open().len()
    }

    /// The most streams that were open at once on one connection.
    pub fn peak_streams(&self) -> usize {
        self.server.core.peak_streams()
    }

    /// How many streams were refused because the client had more than it was allowed.
    pub fn refused_streams(&self) -> usize {
        self.server.core.refused_streams()
    }

    /// PRIORITY frames and PINGs on the connections that are open.
    pub fn priorities_and_pings(&self) -> (usize, usize) {
        self.server.core.open().iter().fold((0, 0), |(priorities, pings), connection| {
            let wire = &connection.wire;
            (priorities + wire.priorities.load(Ordering::SeqCst), pings + wire.pings.load(Ordering::SeqCst))
        })
    }
}

impl Request {
    /// The device's token in the path; empty without one.
    pub fn device(&self) -> &str {
        self.target.strip_prefix("/3/device/").unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
