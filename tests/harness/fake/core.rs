//! What the connections of a server share with the test: TLS, limits, counts, the record of requests.
//!
//! Invariant: a request is recorded before the service reacts to it.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use tokio::sync::watch;

use super::{Connection, Request};

/// What the connections of a server share with the test.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) tls: Mutex<Option<Arc<ServerConfig>>>,
    /// Whether it accepts connections without reading or writing on them.
    pub(super) is_silent: AtomicBool,
    /// How many streams a new connection may have.
    pub(crate) streams: AtomicU32,
    pub(super) connections: AtomicUsize,
    pub(super) open: Mutex<Vec<Arc<Connection>>>,
    requests: Mutex<Vec<Request>>,
    /// Raised to close every open connection.
    pub(super) closed: watch::Sender<u64>,
    pub(super) bytes_sent: Arc<AtomicU64>,
    pub(super) peak_streams: AtomicUsize,
    pub(super) refused_streams: AtomicUsize,
}

/// A request in the record.
#[derive(Debug)]
pub(crate) struct Recorded<'a> {
    request: Request,
    number: usize,
    core: &'a Core,
}

impl Core {
    pub(super) fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        Self {
            tls: Mutex::new(tls),
            is_silent: AtomicBool::new(false),
            streams: AtomicU32::new(100),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            requests: Mutex::default(),
            closed: watch::Sender::new(0),
            bytes_sent: Arc::default(),
            peak_streams: AtomicUsize::new(0),
            refused_streams: AtomicUsize::new(0),
        }
    }

    /// Presents another certificate, or chooses another protocol, from the next connection on.
    pub(crate) fn set_tls(&self, tls: Arc<ServerConfig>) {
        *lock(&self.tls) = Some(tls);
    }

    /// Accepts connections without reading or writing on them, not even in the TLS handshake.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// The number of accepted TCP connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The connections that are open.
    pub(crate) fn open(&self) -> Vec<Arc<Connection>> {
        lock(&self.open).clone()
    }

    /// Closes every open connection; over HTTP/2 when the client has received everything that was written before.
    pub(crate) fn close_connections(&self) {
        self.closed.send_modify(|count| *count += 1);
    }

    /// The requests so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// The requests so far that `is_match` accepts, oldest first.
    pub(crate) fn requests_if(&self, is_match: impl Fn(&Request) -> bool) -> Vec<Request> {
        lock(&self.requests).iter().filter(|request| is_match(request)).cloned().collect()
    }

    /// Bytes of bodies that connections of HTTP/1.1 took over.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::SeqCst)
    }

    /// The most streams that were open at once on one connection.
    pub(crate) fn peak_streams(&self) -> usize {
        self.peak_streams.load(Ordering::SeqCst)
    }

    /// The number of streams that were refused because the client exceeded the limit.
    pub(crate) fn refused_streams(&self) -> usize {
        self.refused_streams.load(Ordering::SeqCst)
    }

    /// Records the request.
    pub(super) fn record(&self, request: Request) -> Recorded<'_> {
        let mut requests = lock(&self.requests);
        requests.push(request.clone());
        Recorded { request, number: requests.len() - 1, core: self }
    }
}

impl Recorded<'_> {
    /// Marks the request as accepted.
    pub(crate) fn accept(&self) {
        lock(&self.core.requests)[self.number].is_accepted = true;
    }

    /// Notes the status of the response.
    pub(crate) fn note_status(&self, status: u16) {
        lock(&self.core.requests)[self.number].status = Some(status);
    }
}

impl Deref for Recorded<'_> {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
