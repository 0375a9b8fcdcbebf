//! The SMS vendors: each checks what reaches it as its documentation says, and answers as the real one does, until a
//! test sets a fault.
//!
//! Invariant: it listens on 127.0.0.1 alone; a message is taken only if the vendor would take it, and whatever a
//! request does that the vendor's documentation forbids is kept as a complaint, also while a fault is on.

mod exchange;
mod exec;
mod fault;
mod form;
mod generic;
mod infobip;
mod openmarket;
mod rules;
mod signature;
mod sns;
mod state;
mod twilio;
mod vendor;
mod vonage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use exec::{Ending, Script};
pub use fault::Fault;
pub use twilio::{
    API_KEY_SECRET as TWILIO_API_KEY_SECRET, API_KEY_SID as TWILIO_API_KEY_SID,
    MESSAGING_SERVICE_SID as TWILIO_MESSAGING_SERVICE_SID,
};
pub use vendor::Vendor;

pub use crate::fake::Request;

use crate::certificates::Authority;
use crate::fake::{HttpServer, Reply, Socket};
use crate::wait::wait_for;
use state::World;

/// A vendor's gateway that runs until it is dropped.
#[derive(Debug)]
pub struct SmsGateway {
    world: Arc<World>,
    server: HttpServer,
}

/// A message that a vendor took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sms {
    /// Whom it is for: the number's digits.
    pub to: String,
    /// Whom it comes from, as the request says; empty if the vendor was left to choose.
    pub from: String,
    /// What it says.
    pub text: String,
}

impl SmsGateway {
    /// Starts one over plain HTTP.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(vendor: Vendor) -> Self {
        Self::listen(vendor, None).await
    }

    /// Starts one over TLS, with a certificate for 127.0.0.1 and `localhost` from `authority`.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start_tls(vendor: Vendor, authority: &Authority) -> Self {
        Self::listen(vendor, Some(authority)).await
    }

    async fn listen(vendor: Vendor, authority: Option<&Authority>) -> Self {
        let socket = Socket::bind("127.0.0.1:0").await;
        let tls = authority.map(|authority| authority.issue(&["127.0.0.1", "localhost"]).server_config(&["http/1.1"]));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let world = Arc::new(World::new(vendor, socket.address, scheme));
        let server = socket.serve(tls, Arc::clone(&world));
        Self { world, server }
    }

    /// Whose it is.
    pub fn vendor(&self) -> Vendor {
        self.world.vendor
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Its address as a URL, without a path.
    pub fn url(&self) -> String {
        self.world.base.clone()
    }

    /// The table of this vendor under `[sms]`, with header, URL and credentials, to which further keys may be appended.
    pub fn config(&self) -> String {
        self.world.vendor.config(&self.world.base)
    }

    /// The messages taken so far, oldest first.
    pub fn accepted(&self) -> Vec<Sms> {
        self.world.state().accepted.clone()
    }

    /// The messages taken so far for the number with these digits.
    pub fn accepted_for(&self, to: &str) -> Vec<Sms> {
        self.world.state().accepted.iter().filter(|sms| sms.to == to).cloned().collect()
    }

    /// Waits for the `number`th message to `to`; the first is 1.
    ///
    /// # Panics
    /// If it does not come within `deadline`.
    pub async fn wait_for(&self, to: &str, number: usize, deadline: Duration) -> Sms {
        assert!(number > 0, "the first message is number 1");
        let what = format!("message {number} to {to}");
        wait_for(&what, deadline, async || self.accepted_for(to).into_iter().nth(number - 1)).await
    }

    /// How many requests arrived in full, refused or not.
    pub fn requests(&self) -> usize {
        self.server.core.requests().len()
    }

    /// The requests that arrived in full, oldest first.
    pub fn received(&self) -> Vec<Request> {
        self.server.core.requests()
    }

    /// What the requests so far did that the vendor's documentation forbids.
    pub fn complaints(&self) -> Vec<String> {
        self.world.state().complaints.clone()
    }

    /// Meets every request with `fault`, until [`SmsGateway::heal`]. The newest fault counts.
    ///
    /// # Panics
    /// If the vendor knows no such error, or the status is no failure.
    pub fn fail(&self, fault: Fault) {
        self.world.add_fault(fault, None);
    }

    /// Meets the next `times` requests with `fault`.
    ///
    /// # Panics
    /// As [`SmsGateway::fail`].
    pub fn fail_next(&self, times: usize, fault: Fault) {
        self.world.add_fault(fault, Some(times));
    }

    /// Takes back every fault.
    pub fn heal(&self) {
        self.world.state().faults.clear();
    }

    /// Answers this to every message that it takes from now on: other gateways say "taken" in other words.
    pub fn set_success(&self, status: u16, content_type: &str, body: &str) {
        self.world.state().success = Some(Reply::of_type(status, content_type, body.to_owned()));
    }
}

impl Sms {
    /// The code in the text: its run of 6 to 8 digits.
    ///
    /// # Panics
    /// If it has none, or several.
    pub fn code(&self) -> String {
        let runs = self.text.split(|c: char| !c.is_ascii_digit());
        let codes: Vec<&str> = runs.filter(|run| (6..=8).contains(&run.len())).collect();
        let [code] = codes[..] else { panic!("not one code in {:?}", self.text) };
        code.to_owned()
    }
}

#[cfg(test)]
mod tests;
