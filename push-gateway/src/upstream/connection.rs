//! One connection as its pool sees it.
//!
//! Invariant: a connection that the server shuts down, or that stops responding, gets no new request from that moment on; the
//! requests in flight on it may complete.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http_body_util::Full;
use hyper::client::conn::http1;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a connection reports to its owner.
pub(super) trait Owner: Send + Sync + 'static {
    /// The server changed the number of streams.
    fn limit_changed(self: &Arc<Self>, connection: &Connection, limit: usize);

    /// The server accepts no new streams.
    fn going_away(self: &Arc<Self>, connection: &Arc<Connection>, reason: &dyn Display);

    /// No request used the connection for long.
    fn idle(self: &Arc<Self>, connection: &Arc<Connection>);

    /// The connection is closed; with a reason after an error.
    fn ended(self: &Arc<Self>, connection: &Arc<Connection>, reason: Option<&dyn Display>);
}

/// A connection as its owner sees it. The counters change only under the owner's lock.
pub(super) struct Connection {
    sender: Mutex<SenderSlot>,
    pub(super) in_flight: AtomicUsize,
    /// The number of requests that the server allows at the same time.
    pub(super) limit: AtomicUsize,
    /// Whether a response arrived.
    pub(super) answered: AtomicBool,
    /// Whether the owner left it because of failures: its end is no failure of its own.
    pub(super) retired: AtomicBool,
    /// Consecutive requests without a response below 500.
    pub(super) failures: AtomicUsize,
    /// Whether the server accepted a request. Until then APNs may allow only one stream.
    pub(super) proven: AtomicBool,
    last_received: Mutex<Instant>,
    suspect: Notify,
}

/// Sends requests on a connection.
pub(super) enum Sender {
    Http2(SendRequest<Bytes>),
    Http1(http1::SendRequest<Full<Bytes>>),
}

enum SenderSlot {
    Http2(SendRequest<Bytes>),
    /// `None` while a request is in flight.
    Http1(Option<http1::SendRequest<Full<Bytes>>>),
    /// From the moment on at which the connection gets no new requests.
    Closed,
}

impl Connection {
    pub(super) fn new(sender: Sender) -> Self {
        let (sender, limit) = match sender {
            Sender::Http2(sender) => {
                let limit = sender.current_max_send_streams();
                (SenderSlot::Http2(sender), limit)
            }
            Sender::Http1(sender) => (SenderSlot::Http1(Some(sender)), 1),
        };
        Self {
            limit: AtomicUsize::new(limit),
            sender: Mutex::new(sender),
            in_flight: AtomicUsize::new(0),
            answered: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            failures: AtomicUsize::new(0),
            proven: AtomicBool::new(false),
            last_received: Mutex::new(Instant::now()),
            suspect: Notify::new(),
        }
    }

    /// Starts a request; `None` if the connection gets no new ones.
    pub(super) fn sender(&self) -> Option<Sender> {
        match &mut *self.sender.lock() {
            SenderSlot::Http2(sender) => Some(Sender::Http2(sender.clone())),
            SenderSlot::Http1(sender) => sender.take().map(Sender::Http1),
            SenderSlot::Closed => None,
        }
    }

    /// Permits the next request after a complete response.
    pub(super) fn give_back(&self, sender: http1::SendRequest<Full<Bytes>>) {
        if let SenderSlot::Http1(slot) = &mut *self.sender.lock() {
            *slot = Some(sender);
        }
    }

    /// Whether no request can follow the last one: its response is incomplete.
    pub(super) fn is_used_up(&self) -> bool {
        matches!(*self.sender.lock(), SenderSlot::Http1(None))
    }

    /// Starts no new requests. The connection closes with its last one.
    pub(super) fn close(&self) {
        *self.sender.lock() = SenderSlot::Closed;
    }

    /// Records that data arrived.
    pub(super) fn received(&self) {
        *self.last_received.lock() = Instant::now();
    }

    /// A response is missing: pings at once.
    pub(super) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Waits until a response is missing.
    pub(super) async fn suspected(&self) {
        self.suspect.notified().await;
    }

    /// Whether nothing arrived since `began`.
    pub(super) fn is_silent_since(&self, began: Instant) -> bool {
        self.last_received() < began
    }

    pub(super) fn last_received(&self) -> Instant {
        *self.last_received.lock()
    }

    /// Waits until nothing was in flight and nothing arrived for this time; without one forever.
    pub(super) async fn unused_for(&self, time: Option<Duration>) {
        let Some(time) = time else { return std::future::pending().await };
        loop {
            let due = self.last_received() + time;
            if Instant::now() < due {
                tokio::time::sleep_until(due.into()).await;
            } else if self.in_flight.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(time).await;
            } else {
                return;
            }
        }
    }

    /// The error with which the server announced that it accepts no new streams.
    pub(super) fn shutdown_error(&self, context: &mut std::task::Context<'_>) -> Option<h2::Error> {
        let SenderSlot::Http2(sender) = &mut *self.sender.lock() else { return None };
        match sender.poll_ready(context) {
            std::task::Poll::Ready(Err(error)) => Some(error),
            std::task::Poll::Ready(Ok(())) | std::task::Poll::Pending => None,
        }
    }
}
