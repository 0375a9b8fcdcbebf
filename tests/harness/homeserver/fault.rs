//! The ways in which a homeserver answers wrongly, slowly, too much or not at all.
//!
//! Invariant: a fault is what the test says to the byte; none has chance in it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::connection::Closed;

/// What happens to a request instead of the right answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An answer of the test's own.
    Reply(Reply),
    /// No answer, on a connection that stays open.
    Silence,
    /// The connection is closed without an answer.
    Close,
}

/// An answer of the test's own; build it with the functions of [`Fault`].
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(String, String)>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Whole(Bytes),
    Stream { start: Bytes, filler: u8, length: u64 },
    Drip { bytes: Bytes, every: Duration },
}

impl Fault {
    /// This status and body.
    ///
    /// # Panics
    /// If `status` is not in 100..=999.
    pub fn reply(status: u16, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self::Reply(Reply { status, headers: Vec::new(), content: Content::Whole(body.into()) })
    }

    /// This status and JSON body.
    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    pub fn json(status: u16, body: Value) -> Self {
        Self::reply(status, body.to_string()).with_header("content-type", "application/json")
    }

    /// A redirect (302) to `location`.
    pub fn redirect(location: &str) -> Self {
        Self::reply(302, "").with_header("location", location)
    }

    /// 200 with a body of `length` bytes (a gigabyte costs nothing): `start`, then `filler` again and again; chunked,
    /// so that its length is not told before.
    pub fn stream(start: impl Into<Bytes>, filler: u8, length: u64) -> Self {
        Self::with_content(Content::Stream { start: start.into(), filler, length })
    }

    /// 200 with this body, one byte each `every`.
    pub fn drip(body: impl Into<Bytes>, every: Duration) -> Self {
        Self::with_content(Content::Drip { bytes: body.into(), every })
    }

    /// The same with a further header; nothing on silence.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Reply(reply) = &mut self {
            reply.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn with_content(content: Content) -> Self {
        Self::Reply(Reply { status: StatusCode::OK, headers: Vec::new(), content })
    }
}

impl Reply {
    pub(super) fn response(self, sent: &Arc<AtomicU64>) -> hyper::Response<Body> {
        let mut response = hyper::Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let kind = match self.content {
            Content::Whole(bytes) => Kind::Whole(bytes),
            Content::Stream { start, filler, length } => Kind::Stream {
                block: Bytes::from(vec![filler; 64 * 1024]),
                left: length.saturating_sub(start.len() as u64),
                start,
            },
            Content::Drip { bytes, every } => {
                let mut clock = interval(every);
                clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Kind::Drip { bytes, clock }
            }
        };
        response.body(Body { kind, sent: Arc::clone(sent) }).expect("headers that a test wrote are headers")
    }
}

/// A response's body, made while it is sent.
#[derive(Debug)]
pub(super) struct Body {
    kind: Kind,
    sent: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Stream { start: Bytes, block: Bytes, left: u64 },
    Drip { bytes: Bytes, clock: Interval },
}

impl Body {
    pub(super) fn whole(bytes: Bytes, sent: &Arc<AtomicU64>) -> Self {
        Self { kind: Kind::Whole(bytes), sent: Arc::clone(sent) }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let next = match &mut self.kind {
            Kind::Whole(bytes) => std::mem::take(bytes),
            Kind::Stream { start, .. } if !start.is_empty() => std::mem::take(start),
            Kind::Stream { block, left, .. } => {
                let length = block.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                block.slice(..length)
            }
            Kind::Drip { bytes, clock } if !bytes.is_empty() => match clock.poll_tick(cx) {
                Poll::Ready(_) => bytes.split_to(1),
                Poll::Pending => return Poll::Pending,
            },
            Kind::Drip { .. } => Bytes::new(),
        };
        self.sent.fetch_add(next.len() as u64, Ordering::SeqCst);
        Poll::Ready(if next.is_empty() { None } else { Some(Ok(Frame::data(next))) })
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream { .. } | Kind::Drip { .. } => hyper::body::SizeHint::default(),
        }
    }
}
