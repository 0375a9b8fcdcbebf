//! The listening side: TCP, TLS, HTTP/2.
//!
//! Invariant: a connection is counted before a single byte is read from it, and a request is kept before it is answered.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::checks;
use super::fault::{Answer, Fault, Loss};
use super::world::{Request, World};
use crate::relay::{self, Order, Wire};

/// A connection as the test sees it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) wire: Wire,
    pub(super) orders: UnboundedSender<Order>,
    /// The highest stream whose push was taken: no GOAWAY may leave it out any more.
    processed: Mutex<u32>,
}

/// Takes connections for ever. The set ends them all when this future is dropped.
pub(super) async fn accept(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = world.connections.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(serve(stream, number, Arc::clone(&world)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, number: usize, world: Arc<World>) {
    let (tls, silent, limit) = {
        let state = world.state();
        (Arc::clone(&state.tls), state.silent, if state.one_stream_at_first { 1 } else { state.max_streams })
    };
    if silent {
        // Holds the connection, and looks at nothing that comes.
        return std::future::pending().await;
    }
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A client that refuses the certificate ends the handshake: nothing more to do.
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return;
    }
    let (orders, to_do) = unbounded_channel();
    let line = Arc::new(Line { number, wire: Wire::new(limit), orders, processed: Mutex::new(0) });
    world.state().lines.push(Arc::clone(&line));
    let (near, far) = tokio::io::duplex(1 << 20);
    let wire = Arc::clone(&line);
    tokio::select! {
        () = relay::relay(stream, near, &wire.wire, to_do) => {}
        () = speak(far, &line, &world) => {}
    }
    world.state().lines.retain(|other| !Arc::ptr_eq(other, &line));
}

async fn speak(io: tokio::io::DuplexStream, line: &Arc<Line>, world: &Arc<World>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(100_000).handshake(io).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        world.peak_streams.fetch_max(line.wire.peak(), Ordering::SeqCst);
        streams.spawn(answer(request, respond, Arc::clone(line), Arc::clone(world)));
        while streams.try_join_next().is_some() {}
    }
    // The wire has not passed everything on yet; it ends when the client is gone.
    std::future::pending::<()>().await;
}

async fn answer(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    line: Arc<Line>,
    world: Arc<World>,
) {
    let stream = respond.stream_id().as_u32();
    if line.wire.is_excess(stream) {
        world.refused.fetch_add(1, Ordering::SeqCst);
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let (head, body) = request.into_parts();
    let Some(body) = read(body).await else { return };
    if stream > line.wire.last_stream.load(Ordering::SeqCst) {
        return;
    }
    let request = Request {
        method: head.method.to_string(),
        authority: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body,
        connection: line.number,
        stream,
        status: None,
        is_accepted: false,
        line: Arc::clone(&line),
    };
    let (number, fault) = world.keep(request.clone());
    match fault {
        Some(Fault::Silence) => gone(&mut respond).await,
        Some(Fault::Reset(code)) => respond.send_reset(Reason::from(code)),
        Some(Fault::Cut) => line.order(Order::Cut),
        Some(Fault::Lose(loss)) => {
            if world.judge(&request).is_err() || !world.accept(number, &line) {
                return respond_rightly(&mut respond, &request, number, &line, &world).await;
            }
            match loss {
                Loss::Reset(code) => respond.send_reset(Reason::from(code)),
                Loss::Silence => gone(&mut respond).await,
                Loss::Cut => line.order(Order::Cut),
            }
        }
        Some(Fault::GoAway { reason, two_phase }) => {
            if two_phase {
                line.announce_end(reason);
                // The client hears the second one after the first, on a connection that is still open.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            if stream <= line.leave_out(stream, reason) {
                // Something that came later was taken before.
                respond_rightly(&mut respond, &request, number, &line, &world).await;
            }
        }
        Some(Fault::Answer(answer)) => {
            if answer.status != 200 || world.accept(number, &line) {
                world.note(number, answer.status);
                send(&mut respond, &answer, &request).await;
            }
        }
        Some(Fault::Delay(delay)) => {
            if tokio::time::timeout(delay, gone(&mut respond)).await.is_err() {
                respond_rightly(&mut respond, &request, number, &line, &world).await;
            }
        }
        None => respond_rightly(&mut respond, &request, number, &line, &world).await,
    }
}

/// Waits until the client has had enough of the stream.
async fn gone(respond: &mut SendResponse<Bytes>) {
    // An error is the end of the connection, and so of the stream.
    drop(poll_fn(|context| respond.poll_reset(context)).await);
}

async fn respond_rightly(
    respond: &mut SendResponse<Bytes>,
    request: &Request,
    number: usize,
    line: &Line,
    world: &World,
) {
    let fault = match world.judge(request) {
        Ok(()) if !world.accept(number, line) => return,
        Ok(()) => Fault::text(200, ""),
        Err((status, reason)) => Fault::error(status, reason),
    };
    let Fault::Answer(answer) = fault else { return };
    world.note(number, answer.status);
    send(respond, &answer, request).await;
    let max_streams = world.state().max_streams;
    if answer.status == 200 && line.wire.limit.load(Ordering::SeqCst) == 1 && max_streams != 1 {
        line.announce(max_streams);
    }
}

async fn send(respond: &mut SendResponse<Bytes>, answer: &Answer, request: &Request) {
    let mut response = Response::builder().status(answer.status);
    if answer.with_id
        && let Some(id) = request.headers.get("apns-id")
    {
        response = response.header("apns-id", id);
    }
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    let response = response.body(()).expect("a response of the test's own");
    let ends = answer.body.is_empty() && !answer.broken && !answer.endless;
    let Ok(mut stream) = respond.send_response(response, ends) else { return };
    if ends {
        return;
    }
    let body = Bytes::from(answer.body.clone());
    // An error here is the client's way of leaving.
    drop(stream.send_data(body, !answer.broken && !answer.endless));
    if answer.broken {
        // What was said before the reset is to arrive.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    } else if answer.endless {
        drop(poll_fn(|context| stream.poll_reset(context)).await);
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

impl World {
    /// What Apple says of a request.
    fn judge(&self, request: &Request) -> Result<(), checks::Refusal> {
        if request.authority != self.authority {
            return Err((421, "MisdirectedRequest"));
        }
        let device = checks::device(request)?;
        let mut state = self.state();
        let now = state.clock.now();
        if !state.by_certificate {
            state.key.check(&request.headers, now)?;
        }
        checks::headers(&request.headers, &state.topics)?;
        checks::body(&request.body, &request.headers)?;
        if state.unknown.iter().any(|unknown| unknown == device) { Err((400, "BadDeviceToken")) } else { Ok(()) }
    }
}

impl Line {
    /// Whether a push on this stream may be taken: from then on no GOAWAY leaves it out.
    pub(super) fn process(&self, stream: u32) -> bool {
        let mut processed = self.processed();
        let is_left_out = stream > self.wire.last_stream.load(Ordering::SeqCst);
        if !is_left_out {
            *processed = stream.max(*processed);
        }
        !is_left_out
    }

    /// Says that the end is near, unless that was said before: what a GOAWAY says may never rise again.
    fn announce_end(&self, reason: &str) {
        let _order_of_frames = self.processed();
        if self.wire.last_stream.load(Ordering::SeqCst) == u32::MAX {
            self.order(Order::Say(relay::go_away(i32::MAX as u32, 0, reason)));
        }
    }

    /// Leaves out this stream and those above it, if none of them was taken; gives the last one that is not left out.
    fn leave_out(&self, stream: u32, reason: &str) -> u32 {
        let processed = self.processed();
        let last = stream.saturating_sub(2).max(*processed).min(self.wire.last_stream.load(Ordering::SeqCst));
        self.wire.last_stream.store(last, Ordering::SeqCst);
        self.order(Order::Say(relay::go_away(last, 0, reason)));
        last
    }

    fn processed(&self) -> std::sync::MutexGuard<'_, u32> {
        self.processed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn order(&self, order: Order) {
        // A connection that has ended takes no orders.
        drop(self.orders.send(order));
    }

    /// Streams above `last` were not processed, and those up to it get their answers.
    pub(super) fn go_away(&self, last: u32, reason: &str) {
        self.wire.last_stream.store(last, Ordering::SeqCst);
        self.order(Order::Say(relay::go_away(last, 0, reason)));
    }

    pub(super) fn announce(&self, limit: u32) {
        self.order(Order::Say(self.wire.announce(limit)));
    }
}
