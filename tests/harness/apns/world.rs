//! What the connections of the fake share with the test: requests, faults, and what Apple knows.
//!
//! Invariant: a request is kept before it is answered, and its answer is noted before it is on the wire.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use rustls::ServerConfig;
use serde_json::Value;
use shared::clock::Clock;

use super::connection::Line;
use super::fault::Fault;
use super::provider_token::ProviderKey;

/// A request that reached it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// `:authority`
    pub authority: String,
    /// `:path`
    pub path: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The connection, counted from 1.
    pub connection: usize,
    /// The stream's identifier.
    pub stream: u32,
    /// The status it was answered with, if it was.
    pub status: Option<u16>,
    /// Whether the push was taken, whatever became of the answer.
    pub is_accepted: bool,
    pub(super) line: Arc<Line>,
}

impl Request {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The device's token in the path; empty if there is none.
    pub fn device(&self) -> &str {
        self.path.strip_prefix("/3/device/").unwrap_or_default()
    }

    /// Whether the gateway has heard how it was answered, or is bound to. What was accepted without that may come again.
    pub fn was_told(&self) -> bool {
        self.line.wire.has_told(self.stream)
    }

    /// The payload.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// Decides about each request.
pub(super) struct Director(pub(super) Decide);

pub(super) type Decide = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

/// What the connections share with the test.
#[derive(Debug)]
pub(super) struct World {
    pub(super) authority: String,
    state: Mutex<State>,
    pub(super) connections: AtomicUsize,
    pub(super) peak_streams: AtomicUsize,
    pub(super) refused: AtomicUsize,
}

/// What a test may change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) silent: bool,
    pub(super) clock: Clock,
    pub(super) key: ProviderKey,
    pub(super) by_certificate: bool,
    pub(super) topics: Vec<String>,
    pub(super) unknown: Vec<String>,
    pub(super) max_streams: u32,
    pub(super) one_stream_at_first: bool,
    pub(super) requests: Vec<Request>,
    pub(super) faults: Vec<(String, Fault, Option<usize>)>,
    pub(super) director: Option<Director>,
    pub(super) lines: Vec<Arc<Line>>,
}

impl World {
    pub(super) fn new(authority: String, state: State) -> Self {
        Self {
            authority,
            state: Mutex::new(state),
            connections: AtomicUsize::new(0),
            peak_streams: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a request; gives its number, and the fault that meets it.
    pub(super) fn keep(&self, request: Request) -> (usize, Option<Fault>) {
        let mut state = self.state();
        let fault = state.next_fault(&request);
        state.requests.push(request);
        (state.requests.len() - 1, fault)
    }

    /// Notes how a request was answered.
    pub(super) fn note(&self, number: usize, status: u16) {
        self.state().requests[number].status = Some(status);
    }

    /// Takes a push for good, unless a GOAWAY has said before that it was not processed.
    pub(super) fn accept(&self, number: usize, line: &Line) -> bool {
        let mut state = self.state();
        let request = &mut state.requests[number];
        request.is_accepted = line.process(request.stream);
        request.is_accepted
    }
}

impl State {
    fn next_fault(&mut self, request: &Request) -> Option<Fault> {
        let fits =
            |(start, _, left): &(String, Fault, Option<usize>)| request.device().starts_with(start) && *left != Some(0);
        let Some(at) = self.faults.iter().rposition(fits) else {
            return self.director.as_mut().and_then(|director| (director.0)(request));
        };
        let (_, fault, left) = &mut self.faults[at];
        *left = left.map(|left| left - 1);
        Some(fault.clone())
    }
}

impl std::fmt::Debug for Director {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Director")
    }
}
