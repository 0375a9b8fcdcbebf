//! The listening side: TCP, TLS, HTTP/1.1.
//!
//! Invariant: a connection is counted before a single byte is read from it, and ends with the homeserver.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::fault::{Body, Fault};
use super::{Request, World, answers};

/// A request that is to be answered by closing the connection.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

/// Takes connections for ever. The set ends them all when this future is dropped.
pub(super) async fn accept(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        world.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(stream, Arc::clone(&world)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, world: Arc<World>) {
    let (tls, silent) = {
        let state = world.state();
        (Arc::clone(&state.tls), state.silent)
    };
    if silent {
        // Holds the connection, and looks at nothing that comes.
        return std::future::pending().await;
    }
    // A client that refuses the certificate ends the handshake: nothing more to do.
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let sni = stream.get_ref().1.server_name().map(str::to_owned);
    let service = service_fn(move |request| answer(request, Arc::clone(&world), sni.clone()));
    // An error here is the client's way of leaving, or a fault on purpose.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(
    request: hyper::Request<Incoming>,
    world: Arc<World>,
    sni: Option<String>,
) -> Result<hyper::Response<Body>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let request =
        Request { method: head.method.to_string(), target: head.uri.to_string(), headers: head.headers, body, sni };
    let fault = {
        let mut state = world.state();
        state.requests.push(request.clone());
        state.next_fault(&request.target)
    };
    match fault {
        None => {
            let answer = answers::answer(&world, &request).await;
            Ok(answer.map(|text| Body::whole(text.into(), &world.bytes_sent)))
        }
        Some(Fault::Silence) => unreachable(std::future::pending().await),
        Some(Fault::Close) => Err(Closed),
        Some(Fault::Reply(reply)) => Ok(reply.response(&world.bytes_sent)),
    }
}

fn unreachable<T>(never: Infallible) -> T {
    match never {}
}
