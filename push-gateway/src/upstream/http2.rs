//! The life of a connection that speaks HTTP/2.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::client::Connection as Http2;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::connection::{Connection, Owner, Sender};
use super::options::Timing;

/// Makes a client connection that [`drive`] has to run.
pub(super) async fn begin<T>(io: T) -> Result<(Connection, Http2<T, Bytes>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = h2::client::Builder::new();
    // One stream until the SETTINGS of the server arrive: a second one could exceed its limit.
    builder.initial_max_send_streams(1).enable_push(false);
    let (sender, http2) = builder.handshake(io).await?;
    Ok((Connection::new(Sender::Http2(sender)), http2))
}

/// Runs the connection until it ends, and reports to the owner while there is one.
pub(super) async fn drive<T, O>(owner: Weak<O>, connection: Arc<Connection>, mut http2: Http2<T, Bytes>, timing: Timing)
where
    T: AsyncRead + AsyncWrite + Unpin,
    O: Owner,
{
    let pings = http2.ping_pong();
    let mut has_yielded = false;
    let mut traffic = poll_fn(|context| {
        // Requests that are ready by now leave together, in one TLS record and one write.
        has_yielded = !has_yielded;
        if has_yielded {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
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
    let mut idle = std::pin::pin!(connection.unused_for(timing.idle));
    let mut keep_alive = std::pin::pin!(keep_alive(&connection, pings, timing));
    let mut is_idle = false;
    let error: Option<Box<dyn Display + Send>> = loop {
        tokio::select! {
            ended = &mut traffic => break ended.err().map(|error| Box::new(error) as _),
            () = &mut keep_alive => break Some(Box::new("no answer to a ping")),
            () = &mut idle, if !is_idle => {
                is_idle = true;
                owner.upgrade().into_iter().for_each(|owner| owner.idle(&connection));
            }
        }
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
            () = connection.suspected() => {}
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
