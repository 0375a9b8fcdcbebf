//! HTTP/1.1 on one connection.
//!
//! Invariant: a connection that is reset sends nothing more, not even the end of TLS.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::core::Core;
use super::reply::{Body, Closed};
use super::{Connection, Reaction, Request, Service};

/// How a connection ends on purpose.
enum End {
    Close,
    Reset,
}

pub(super) async fn speak<Io, S: Service>(
    io: Io,
    socket: impl FnOnce(&Io) -> &TcpStream,
    connection: &Arc<Connection>,
    core: &Core,
    service: &S,
) where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (end, mut ended) = unbounded_channel();
    let answer = service_fn(|request| answer(request, connection, core, service, end.clone()));
    let mut serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), answer);
    let end = tokio::select! {
        // An error is the client's way to leave, or a fault on purpose.
        _ = &mut serving => return,
        end = ended.recv() => end,
    };
    if let Some(End::Reset) = end {
        reset(socket(&serving.into_parts().io.into_inner()));
    }
}

async fn answer<S: Service>(
    request: hyper::Request<Incoming>,
    connection: &Arc<Connection>,
    core: &Core,
    service: &S,
    end: UnboundedSender<End>,
) -> Result<hyper::Response<Body>, Closed> {
    let end_by = |how| {
        // The receiver lives as long as the connection.
        drop(end.send(how));
        std::future::pending::<Infallible>()
    };
    if service.resets_unread() {
        return unreachable(end_by(End::Reset).await);
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let request = Request::new(head, body, 0, connection);
    match service.react(core.record(request)).await {
        Reaction::Reply(reply) => Ok(reply.head().map(|()| reply.into_body(&core.bytes_sent))),
        Reaction::Silence | Reaction::LeftOut => unreachable(std::future::pending().await),
        Reaction::ResetConnection => unreachable(end_by(End::Reset).await),
        // HTTP/1.1 has no streams.
        Reaction::Close | Reaction::ResetStream(_) | Reaction::GoAway => unreachable(end_by(End::Close).await),
    }
}

/// The connection ends with RST when the socket is dropped.
pub(super) fn reset(socket: &TcpStream) {
    socket.set_zero_linger().expect("SO_LINGER");
}

fn unreachable<T>(never: Infallible) -> T {
    match never {}
}
