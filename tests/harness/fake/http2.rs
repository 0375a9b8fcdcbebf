//! HTTP/2 on one connection.
//!
//! Invariant: a stream beyond the limit, or left out by a GOAWAY, never reaches the service.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hyper::body::Bytes;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use super::core::Core;
use super::reply::{Content, Reply};
use super::{Connection, Reaction, Request, Service};

/// More streams than any test allows: the relay enforces the limit.
const ALL_STREAMS: u32 = 100_000;

pub(super) async fn speak<S: Service>(io: DuplexStream, over: &Arc<Connection>, core: &Arc<Core>, service: &Arc<S>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(ALL_STREAMS).handshake(io).await else { return };
    let mut streams = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = over.go_away.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { break };
        core.peak_streams.fetch_max(over.wire.peak(), Ordering::SeqCst);
        streams.spawn(answer(request, respond, Arc::clone(over), Arc::clone(core), Arc::clone(service)));
        while streams.try_join_next().is_some() {}
    }
    // The relay ends when it has passed everything on or the client has left.
    std::future::pending::<()>().await;
}

async fn answer<S: Service>(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    over: Arc<Connection>,
    core: Arc<Core>,
    service: Arc<S>,
) {
    let stream = respond.stream_id().as_u32();
    if over.wire.is_excess(stream) {
        core.refused_streams.fetch_add(1, Ordering::SeqCst);
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let (head, body) = request.into_parts();
    let Some(body) = read(body).await else { return };
    if stream > over.wire.last_stream.load(Ordering::SeqCst) {
        return;
    }
    let request = Request::new(head, body, stream, &over);
    let reaction = tokio::select! {
        reaction = service.react(core.record(request)) => reaction,
        // An error is the end of the connection, and of the stream.
        _ = poll_fn(|context| respond.poll_reset(context)), if S::ENDS_WITH_THE_STREAM => return,
    };
    match reaction {
        Reaction::Reply(reply) => send(&mut respond, &reply, &over).await,
        Reaction::Silence => drop(poll_fn(|context| respond.poll_reset(context)).await),
        Reaction::LeftOut => {}
        Reaction::ResetStream(code) => respond.send_reset(Reason::from(code)),
        Reaction::GoAway => {
            respond.send_reset(Reason::REFUSED_STREAM);
            over.go_away.notify_one();
        }
        Reaction::Close | Reaction::ResetConnection => over.close(),
    }
}

async fn send(respond: &mut SendResponse<Bytes>, reply: &Reply, over: &Connection) {
    let body = reply.bytes();
    let is_open = match reply.content {
        Content::Endless(_) => true,
        Content::BreakOff { .. } => {
            over.wire.break_off(respond.stream_id().as_u32());
            false
        }
        Content::Whole(_) | Content::Stream { .. } | Content::Drip { .. } => false,
    };
    let ends = body.is_empty() && !is_open;
    let Ok(mut stream) = respond.send_response(reply.head(), ends) else { return };
    if ends {
        return;
    }
    // An error is the client's way to leave.
    drop(stream.send_data(body, !is_open));
    if is_open {
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
