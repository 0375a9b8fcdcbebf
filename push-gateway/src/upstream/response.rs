//! A response, independent of the protocol of the connection.
//!
//! Invariant: the status alone decides; a body is read as far as it arrives.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use http::header::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use shared::clock::Timestamp;
use shared::outbound::retry_after;
use tokio::time::timeout_at;

use super::pool::Ticket;

/// The response of a server.
pub(crate) struct UpstreamResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The beginning of the body: as much as arrived in time, up to the client's limit.
    pub(crate) body: Vec<u8>,
    ticket: Ticket,
}

/// A response whose body has not been read yet.
pub(super) struct StartOfResponse {
    pub(super) head: http::response::Parts,
    pub(super) body: Body,
    pub(super) ticket: Ticket,
}

/// A body on its way.
pub(super) enum Body {
    Http2(RecvStream),
    /// With the sender of the connection, which is free after the last byte.
    Http1(Incoming, SendRequest<Full<Bytes>>),
}

impl StartOfResponse {
    /// Reads at most `max` bytes of the body until `end`.
    pub(super) async fn read(self, max: usize, end: Instant) -> UpstreamResponse {
        let Self { head, body, ticket } = self;
        let body = match body {
            Body::Http2(stream) if stream.is_end_stream() => Vec::new(),
            Body::Http2(stream) => read_stream(stream, max, end).await,
            Body::Http1(incoming, sender) => {
                let (body, is_complete) = read_incoming(incoming, max, end).await;
                if is_complete {
                    ticket.give_back(sender);
                }
                body
            }
        };
        UpstreamResponse { status: head.status.as_u16(), headers: head.headers, body, ticket }
    }
}

async fn read_stream(mut stream: RecvStream, max: usize, end: Instant) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(Ok(part))) = timeout_at(end.into(), stream.data()).await {
        body.extend_from_slice(&part[..part.len().min(max - body.len())]);
        if body.len() == max || stream.flow_control().release_capacity(part.len()).is_err() {
            break;
        }
    }
    body
}

/// The body, and whether that is all of it.
async fn read_incoming(mut incoming: Incoming, max: usize, end: Instant) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match timeout_at(end.into(), incoming.frame()).await {
            Ok(None) => return (body, true),
            Ok(Some(Ok(frame))) => {
                let Some(part) = frame.data_ref() else { continue };
                let room = max - body.len();
                body.extend_from_slice(&part[..part.len().min(room)]);
                if part.len() > room {
                    return (body, false);
                }
            }
            Ok(Some(Err(_))) | Err(_) => return (body, false),
        }
    }
}

impl UpstreamResponse {
    /// The delay from `Retry-After`.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        retry_after::of(&self.headers, now)
    }

    /// Starts no new request on the connection of this response.
    pub(crate) fn retire_connection(&self) {
        self.ticket.retire();
    }
}
