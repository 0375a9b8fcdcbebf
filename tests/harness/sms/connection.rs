//! The listening side: TCP, TLS if wanted, HTTP/1.1.
//!
//! Invariant: a connection ends with its gateway; one that is reset says nothing more, not even the end of TLS.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::exchange::Request;
use super::fault::{Body, Closed};
use super::world::{Act, World};

/// Takes connections for ever. The set ends them all when this future is dropped.
pub(super) async fn accept(listener: TcpListener, tls: Option<Arc<ServerConfig>>, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve(stream, tls.clone(), Arc::clone(&world)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, world: Arc<World>) {
    if world.state().resets_before_reading() {
        reset(&stream);
        return;
    }
    // Without it an answer may wait 40 ms for the client's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match tls {
        None => speak(stream, |stream| stream, &world).await,
        Some(tls) => {
            // A client that refuses the certificate ends the handshake: nothing more to do.
            let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
            speak(stream, |stream| stream.get_ref().0, &world).await;
        }
    }
}

async fn speak<Io>(io: Io, socket: impl FnOnce(&Io) -> &TcpStream, world: &World)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let cut = Notify::new();
    let service = service_fn(|request| answer(request, world, &cut));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    tokio::select! {
        // An error here is the client's way of leaving, or a fault on purpose.
        ended = &mut connection => drop(ended),
        () = cut.notified() => reset(socket(&connection.into_parts().io.into_inner())),
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    world: &World,
    cut: &Notify,
) -> Result<hyper::Response<Body>, Closed> {
    if world.state().resets_before_reading() {
        cut.notify_one();
        return unreachable(std::future::pending().await);
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let request =
        Request { method: head.method.to_string(), target: head.uri.to_string(), headers: head.headers, body };
    match world.act(request) {
        Act::Answer(reply, pace) => {
            let mut response = hyper::Response::builder().status(reply.status);
            for (name, value) in reply.headers {
                response = response.header(name, value);
            }
            Ok(response.body(Body::new(reply.body, pace)).expect("the headers of a vendor are headers"))
        }
        Act::Silence => unreachable(std::future::pending().await),
        Act::Reset => {
            cut.notify_one();
            unreachable(std::future::pending().await)
        }
    }
}

/// The connection ends with RST when the socket is dropped.
fn reset(socket: &TcpStream) {
    socket.set_zero_linger().expect("SO_LINGER");
}

fn unreachable<T>(never: Infallible) -> T {
    match never {}
}
