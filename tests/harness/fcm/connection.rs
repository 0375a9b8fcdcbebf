//! The listening side: TCP, TLS, HTTP/2 (and HTTP/1.1 for whoever asks for it).
//!
//! Invariant: a connection is counted before a single byte is read from it, and ends with Google.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;

use super::fault::{Fault, Reply};
use super::world::World;
use super::{Request, answers};

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

/// What requests can do to their connection.
#[derive(Default)]
struct Orders {
    go_away: Notify,
    cut: Notify,
}

async fn serve(stream: TcpStream, world: Arc<World>) {
    let mut killed = world.killed.subscribe();
    // Without it an answer may wait 40 ms for the client's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (tls, silent) = {
        let state = world.state();
        (Arc::clone(&state.tls), state.silent)
    };
    let orders = Arc::new(Orders::default());
    let serving = async {
        if silent {
            // Holds the connection, and looks at nothing that comes.
            return std::future::pending().await;
        }
        // A client that refuses the certificate ends the handshake: nothing more to do.
        let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
        let service = service_fn(|request| answer(request, Arc::clone(&world), Arc::clone(&orders)));
        let builder = auto::Builder::new(TokioExecutor::new());
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = orders.go_away.notified() => None,
        };
        if ended.is_none() {
            connection.as_mut().graceful_shutdown();
            // An error here is the client's way of leaving, or a fault on purpose.
            drop(connection.await);
        }
    };
    tokio::select! {
        () = serving => {}
        () = orders.cut.notified() => {}
        _ = killed.changed() => {}
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    world: Arc<World>,
    orders: Arc<Orders>,
) -> Result<Response<Body>, h2::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Reason::CANCEL)?.to_bytes();
    let request = Request {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body,
        is_http2: head.version == Version::HTTP_2,
    };
    let fault = answers::fault(&world, &request);
    match fault {
        Some(Fault::Reply(reply)) => return Ok(response(reply)),
        Some(Fault::Silence) => unreachable(std::future::pending().await),
        Some(Fault::Reset) => return Err(Reason::INTERNAL_ERROR.into()),
        Some(Fault::GoAway) => {
            orders.go_away.notify_one();
            return Err(Reason::REFUSED_STREAM.into());
        }
        Some(Fault::Close) => {
            orders.cut.notify_one();
            return unreachable(std::future::pending().await);
        }
        Some(Fault::Delay(time)) => sleep(time).await,
        None => {}
    }
    Ok(response(answers::answer(&world, &request)))
}

fn response(reply: Reply) -> Response<Body> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    // A reset overtakes what was not sent yet, and the status has to arrive.
    let break_off = reply.is_cut_off.then(|| Box::pin(sleep(Duration::from_millis(100))));
    let body = Body { bytes: reply.body, break_off };
    response.body(body).expect("a status and headers that a test wrote")
}

/// A body that may break off.
struct Body {
    bytes: Bytes,
    break_off: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut self.break_off {
            None => Poll::Ready(None),
            Some(time) => time.as_mut().poll(cx).map(|()| Some(Err(Reason::INTERNAL_ERROR.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && self.break_off.is_none()
    }
}

fn unreachable<T>(never: Infallible) -> T {
    match never {}
}
