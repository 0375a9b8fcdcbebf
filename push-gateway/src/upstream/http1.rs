//! The life of a connection that speaks HTTP/1.1.

use std::fmt::Display;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use shared::outbound::stream::Stream;

use super::connection::{Connection, Owner, Sender};
use super::options::Timing;

/// A connection that [`drive`] has to run.
pub(super) type Http1 = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// Makes a client connection that [`drive`] has to run.
pub(super) async fn begin(io: Stream) -> Result<(Connection, Http1), hyper::Error> {
    let (sender, http1) = http1::handshake(TokioIo::new(io)).await?;
    Ok((Connection::new(Sender::Http1(sender)), http1))
}

/// Runs the connection until it ends, and reports to the owner while there is one.
pub(super) async fn drive<O: Owner>(owner: Weak<O>, connection: Arc<Connection>, mut http1: Http1, timing: Timing) {
    let mut idle = std::pin::pin!(connection.unused_for(timing.idle));
    let mut is_idle = false;
    let ended = loop {
        tokio::select! {
            ended = &mut http1 => break ended,
            () = &mut idle, if !is_idle => {
                is_idle = true;
                owner.upgrade().into_iter().for_each(|owner| owner.idle(&connection));
            }
        }
    };
    if let Some(owner) = owner.upgrade() {
        owner.ended(&connection, ended.err().as_ref().map(|error| error as &dyn Display));
    }
}
