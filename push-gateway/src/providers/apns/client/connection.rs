//! One connection, from its first byte to its last.
//!
//! Invariant: a connection that APNs shuts down, or that stops responding, gets no new stream from that moment on; the streams
//! in flight on it may complete.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Connection as Http2, SendRequest};
use h2::{Ping, PingPong};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Timing;

/// What a connection reports to its owner.
pub(super) trait Owner: Send + Sync + 'static {
    /// APNs changed the number of streams.
    fn limit_changed(self: &Arc<Self>, connection: &Connection, limit: usize);

    /// APNs accepts no new streams.
    fn going_away(self: &Arc<Self>, connection: &Arc<Connection>, reason: &dyn Display);

    /// The connection is closed; with a reason after an error.
    fn ended(self: &Arc<Self>, connection: &Arc<Connection>, reason: Option<&dyn Display>);
}

/// A connection as its owner sees it. The counters change only under the owner's lock.
pub(super) struct Connection {
    /// `None` from the moment on at which it gets no new streams.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    pub(super) in_flight: AtomicUsize,
    /// The number of streams that APNs allows.
    pub(super) limit: AtomicUsize,
    /// Whether a response arrived.
    pub(super) answered: AtomicBool,
    /// Whether the owner left it because of failures: its end is no failure of its own.
    pub(super) retired: AtomicBool,
    /// Consecutive pushes without an answer below 500.
    pub(super) failures: AtomicUsize,
    /// Whether APNs accepted a push. Until then it may allow only one stream.
    pub(super) proven: AtomicBool,
    last_received: Mutex<Instant>,
    suspect: Notify,
}

/// Makes a client connection that [`drive`] has to run.
pub(super) async fn begin<T>(io: T) -> Result<(Connection, Http2<T, Bytes>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = h2::client::Builder::new();
    // One stream until the SETTINGS of APNs arrive: a second one could exceed its limit.
    builder.initial_max_send_streams(1).enable_push(false);
    let (sender, http2) = builder.handshake(io).await?;
    let connection = Connection {
        limit: AtomicUsize::new(sender.current_max_send_streams()),
        sender: Mutex::new(Some(sender)),
        in_flight: AtomicUsize::new(0),
        answered: AtomicBool::new(false),
        retired: AtomicBool::new(false),
        failures: AtomicUsize::new(0),
        proven: AtomicBool::new(false),
        last_received: Mutex::new(Instant::now()),
        suspect: Notify::new(),
    };
    Ok((connection, http2))
}

impl Connection {
    /// Starts a stream; `None` if the connection gets no new ones.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.sender.lock().clone()
    }

    /// Starts no new streams. The connection closes with its last stream.
    pub(super) fn close(&self) {
        self.sender.lock().take();
    }

    /// Records that data arrived.
    pub(super) fn received(&self) {
        *self.last_received.lock() = Instant::now();
    }

    /// A response is missing: pings at once.
    pub(super) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Whether nothing arrived since `began`.
    pub(super) fn is_silent_since(&self, began: Instant) -> bool {
        self.last_received() < began
    }

    fn last_received(&self) -> Instant {
        *self.last_received.lock()
    }

    /// The error with which APNs announced that it accepts no new streams.
    fn shutdown_error(&self, context: &mut std::task::Context<'_>) -> Option<h2::Error> {
        match self.sender.lock().as_mut()?.poll_ready(context) {
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        }
    }
}

/// Runs the connection until it ends, and reports to the owner while there is one.
pub(super) async fn drive<T, O>(owner: Weak<O>, connection: Arc<Connection>, mut http2: Http2<T, Bytes>, timing: Timing)
where
    T: AsyncRead + AsyncWrite + Unpin,
    O: Owner,
{
    let pings = http2.ping_pong();
    let traffic = poll_fn(|context| {
        let ended = Pin::new(&mut http2).poll(context);
        let limit = http2.max_concurrent_send_streams();
        if connection.limit.load(Ordering::Relaxed) != limit
            && let Some(owner) = owner.upgrade()
        {
            owner.limit_changed(&connection, limit);
        }
        if ended.is_pending()
            && let Some(error) = connection.shutdown_error(context)
            && let Some(owner) = owner.upgrade()
        {
            owner.going_away(&connection, &error);
        }
        ended
    });
    let error: Option<Box<dyn Display + Send>> = tokio::select! {
        ended = traffic => ended.err().map(|error| Box::new(error) as _),
        () = keep_alive(&connection, pings, timing) => Some(Box::new("no answer to a ping")),
    };
    if let Some(owner) = owner.upgrade() {
        owner.ended(&connection, error.as_ref().map(|error| &**error as &dyn Display));
    }
}

/// Returns when the other side stops answering pings.
async fn keep_alive(connection: &Connection, pings: Option<PingPong>, timing: Timing) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        let due = connection.last_received() + timing.ping_after;
        tokio::select! {
            () = connection.suspect.notified() => {}
            () = tokio::time::sleep_until(due.into()) => {
                if connection.last_received() + timing.ping_after > Instant::now() {
                    continue;
                }
            }
        }
        match timeout(timing.ping_timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => connection.received(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
