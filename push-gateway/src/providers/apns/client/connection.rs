//! One connection, from its first byte to its last.
//!
//! Invariant: a connection that Apple wants to end, or that gives no sign of life, gets no new streams from the moment
//! on in which that is known; the streams that are on it may come to their end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Connection as Http2, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Timing;
use super::pool::Pool;

/// A connection as the pool sees it. The counters change only under the pool's lock.
pub(super) struct Connection {
    /// `None` from the moment on in which it gets no new streams.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Streams that are in use.
    pub(super) in_flight: AtomicUsize,
    /// Streams that Apple allows.
    pub(super) limit: AtomicUsize,
    /// Whether there was an answer.
    pub(super) answered: AtomicBool,
    /// Whether a push was accepted. Until then Apple may allow one stream only.
    pub(super) proven: AtomicBool,
    heard: Mutex<Instant>,
    suspect: Notify,
}

/// A new client connection that is not driven yet.
pub(super) async fn begin<T>(io: T) -> Result<(Connection, Http2<T, Bytes>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = h2::client::Builder::new();
    // One stream until Apple's SETTINGS have come: more could be more than it allows.
    builder.initial_max_send_streams(1).enable_push(false);
    let (sender, http2) = builder.handshake(io).await?;
    let connection = Connection {
        limit: AtomicUsize::new(sender.current_max_send_streams()),
        sender: Mutex::new(Some(sender)),
        in_flight: AtomicUsize::new(0),
        answered: AtomicBool::new(false),
        proven: AtomicBool::new(false),
        heard: Mutex::new(Instant::now()),
        suspect: Notify::new(),
    };
    Ok((connection, http2))
}

impl Connection {
    /// What starts a stream, if one may be started.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts no more streams. The connection is closed when its last stream is.
    pub(super) fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Something came.
    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// An answer is missing: better see at once whether there is anybody.
    pub(super) fn doubt(&self) {
        self.suspect.notify_one();
    }

    fn last_heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What Apple said when it asked for no more streams.
    fn going_away(&self, context: &mut std::task::Context<'_>) -> Option<h2::Error> {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.as_mut()?.poll_ready(context) {
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        }
    }
}

/// Keeps the connection going until it ends, and tells the pool what comes of it.
pub(super) async fn drive<T>(pool: Weak<Pool>, connection: Arc<Connection>, mut http2: Http2<T, Bytes>, timing: Timing)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let pings = http2.ping_pong();
    let traffic = poll_fn(|context| {
        let ended = Pin::new(&mut http2).poll(context);
        let limit = http2.max_concurrent_send_streams();
        if connection.limit.load(Ordering::Relaxed) != limit
            && let Some(pool) = pool.upgrade()
        {
            pool.set_limit(&connection, limit);
        }
        if ended.is_pending()
            && let Some(error) = connection.going_away(context)
            && let Some(pool) = pool.upgrade()
        {
            pool.log_end(&error);
            pool.retire(&connection);
        }
        ended
    });
    tokio::select! {
        ended = traffic => if let (Err(error), Some(pool)) = (ended, pool.upgrade()) {
            pool.log_end(&error);
        },
        () = keep_alive(&connection, pings, timing) => if let Some(pool) = pool.upgrade() {
            pool.log_end(&"no sign of life");
        },
    }
    if let Some(pool) = pool.upgrade() {
        pool.ended(&connection);
    }
}

/// Returns when the other side gives no sign of life.
async fn keep_alive(connection: &Connection, pings: Option<PingPong>, timing: Timing) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        let due = connection.last_heard() + timing.ping_after;
        tokio::select! {
            () = connection.suspect.notified() => {}
            () = tokio::time::sleep_until(due.into()) => if connection.last_heard() + timing.ping_after > Instant::now() {
                continue;
            },
        }
        match timeout(timing.ping_timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => connection.hear(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
