//! The listening side: TCP, TLS, HTTP/2 (and HTTP/1.1 for whoever asks for it).
//!
//! Invariant: a connection is counted before a single byte is read from it, and ends with Google; a message is accepted
//! before it is answered.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::fault::{Fault, Loss, Reply};
use super::world::World;
use super::{Request, answers};
use crate::relay::{self, Order, Wire};

/// How many streams a connection may have, as Google's front ends say.
const STREAMS: u32 = 100;

/// A connection as requests see it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) wire: Wire,
    orders: UnboundedSender<Order>,
    go_away: Notify,
}

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
    let mut killed = world.killed.subscribe();
    // Without it an answer may wait 40 ms for the client's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (tls, silent) = {
        let state = world.state();
        (Arc::clone(&state.tls), state.silent)
    };
    if silent {
        // Holds the connection, and looks at nothing that comes.
        drop(killed.changed().await);
        return;
    }
    // A client that refuses the certificate ends the handshake: nothing more to do.
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (orders, to_do) = unbounded_channel();
    let line = Arc::new(Line { wire: Wire::new(STREAMS), orders, go_away: Notify::new() });
    let (near, far) = tokio::io::duplex(1 << 20);
    if is_http2 {
        tokio::select! {
            () = relay::relay(stream, near, &line.wire, to_do) => {}
            () = speak_http2(far, &line, &world) => {}
            () = kill(&mut killed, &line) => {}
        }
    } else {
        tokio::select! {
            () = speak_http1(stream, &line, &world) => {}
            _ = killed.changed() => {}
        }
    }
}

async fn kill(killed: &mut tokio::sync::watch::Receiver<u64>, line: &Line) {
    // An error is the end of Google, and so of this connection.
    if killed.changed().await.is_ok() {
        line.order(Order::Cut);
        std::future::pending::<()>().await;
    }
}

async fn speak_http2(io: impl AsyncRead + AsyncWrite + Unpin, line: &Arc<Line>, world: &Arc<World>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(STREAMS).handshake(io).await else { return };
    let mut streams = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = line.go_away.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { break };
        streams.spawn(answer_http2(request, respond, Arc::clone(line), Arc::clone(world)));
        while streams.try_join_next().is_some() {}
    }
    // The wire has not passed everything on yet; it ends when the client is gone.
    std::future::pending::<()>().await;
}

async fn answer_http2(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    line: Arc<Line>,
    world: Arc<World>,
) {
    let stream = respond.stream_id().as_u32();
    let (head, body) = request.into_parts();
    let Some(body) = read(body).await else { return };
    let request = request_of(head, body, Some((Arc::clone(&line), stream)));
    match decide(&world, request).await {
        Decision::Answer(reply) => send(&mut respond, reply).await,
        Decision::Reset(reason) => respond.send_reset(reason),
        Decision::GoAway => {
            respond.send_reset(Reason::REFUSED_STREAM);
            line.go_away.notify_one();
        }
        Decision::Silence => drop(poll_fn(|context| respond.poll_reset(context)).await),
        Decision::Cut => line.order(Order::Cut),
    }
}

async fn send(respond: &mut SendResponse<Bytes>, reply: Reply) {
    let (response, body, is_cut_off) = response(reply);
    let ends = body.is_empty() && !is_cut_off;
    let Ok(mut stream) = respond.send_response(response, ends) else { return };
    if ends {
        return;
    }
    // An error here is the client's way of leaving.
    drop(stream.send_data(body, !is_cut_off));
    if is_cut_off {
        // A reset overtakes what was not sent yet, and the status has to arrive.
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
}

async fn read(mut stream: RecvStream) -> Option<Bytes> {
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part.ok()?;
        body.extend_from_slice(&part);
        stream.flow_control().release_capacity(part.len()).ok()?;
    }
    Some(body.into())
}

async fn speak_http1(io: impl AsyncRead + AsyncWrite + Unpin, line: &Line, world: &Arc<World>) {
    let service = service_fn(|request: hyper::Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        match decide(world, request_of(head, body, None)).await {
            Decision::Answer(reply) => {
                let (response, body, _) = response(reply);
                Ok::<_, hyper::Error>(response.map(|()| Full::new(body)))
            }
            Decision::Silence => unreachable(std::future::pending().await),
            // There are no streams to be reset.
            Decision::Reset(_) | Decision::GoAway | Decision::Cut => {
                line.go_away.notify_one();
                unreachable(std::future::pending().await)
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    tokio::select! {
        // An error here is the client's way of leaving.
        ended = connection => drop(ended),
        () = line.go_away.notified() => {}
    }
}

/// What becomes of a request.
enum Decision {
    Answer(Reply),
    Reset(Reason),
    GoAway,
    Silence,
    Cut,
}

async fn decide(world: &World, request: Request) -> Decision {
    let (number, fault) = answers::fault(world, &request);
    match fault {
        Some(Fault::Reply(reply)) => {
            if reply.status < 300 {
                world.accept(number);
            }
            return Decision::Answer(reply);
        }
        Some(Fault::Silence) => return Decision::Silence,
        Some(Fault::Reset) => return Decision::Reset(Reason::INTERNAL_ERROR),
        Some(Fault::GoAway) => return Decision::GoAway,
        Some(Fault::Close) => return Decision::Cut,
        Some(Fault::Lose(loss)) => {
            let reply = answers::answer(world, &request);
            if reply.status != 200 {
                return Decision::Answer(reply);
            }
            world.accept(number);
            return match loss {
                Loss::Reset => Decision::Reset(Reason::INTERNAL_ERROR),
                Loss::Silence => Decision::Silence,
                Loss::Cut => Decision::Cut,
            };
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        None => {}
    }
    let reply = answers::answer(world, &request);
    if reply.status == 200 {
        world.accept(number);
    }
    Decision::Answer(reply)
}

fn request_of(head: http::request::Parts, body: Bytes, stream: Option<(Arc<Line>, u32)>) -> Request {
    Request {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body,
        is_http2: head.version == Version::HTTP_2,
        is_accepted: false,
        stream,
    }
}

/// The head, the body, and whether the body breaks off.
fn response(reply: Reply) -> (Response<()>, Bytes, bool) {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    (response.body(()).expect("a status and headers that a test wrote"), reply.body, reply.is_cut_off)
}

impl Line {
    fn order(&self, order: Order) {
        // A connection that has ended takes no orders.
        drop(self.orders.send(order));
    }
}

fn unreachable<T>(never: Infallible) -> T {
    match never {}
}
