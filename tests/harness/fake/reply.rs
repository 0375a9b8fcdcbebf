//! A response, and its body while it is sent.
//!
//! Invariant: the bytes are those that the test or the service gave; nothing is random.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame};
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Whole(Bytes),
    /// `start`, then `filler` up to `length` bytes; chunked.
    Stream {
        start: Bytes,
        filler: u8,
        length: u64,
    },
    /// One byte each `every`.
    Drip {
        bytes: Bytes,
        every: Duration,
    },
    /// The body breaks off after these bytes: over HTTP/1.1 `missing` bytes of its length never come, over HTTP/2 the
    /// stream is reset.
    BreakOff {
        bytes: Bytes,
        missing: usize,
    },
    /// The body stays open after these bytes; HTTP/2 only.
    Endless(Bytes),
}

impl Reply {
    /// This status and body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), content: Content::Whole(body.into()) }
    }

    /// This status and body of this type.
    pub fn of_type(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(status, body).with_header("content-type", content_type)
    }

    /// This status and JSON body.
    #[expect(clippy::needless_pass_by_value, reason = "callers write json!(…) in place")]
    pub fn json(status: u16, body: Value) -> Self {
        Self::of_type(status, "application/json", body.to_string())
    }

    /// 200 with a chunked body of `length` bytes: `start`, then `filler` again and again. A gigabyte costs nothing.
    pub fn stream(start: impl Into<Bytes>, filler: u8, length: u64) -> Self {
        Self { status: 200, headers: Vec::new(), content: Content::Stream { start: start.into(), filler, length } }
    }

    /// 200 with this body, one byte each `every`.
    pub fn drip(body: impl Into<Bytes>, every: Duration) -> Self {
        Self::new(200, body).dripping(every)
    }

    /// The same with a further header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same with one byte of the body each `every`.
    #[must_use]
    pub fn dripping(self, every: Duration) -> Self {
        let bytes = self.bytes();
        Self { content: Content::Drip { bytes, every }, ..self }
    }

    /// The same, with the stream reset where the body should end; HTTP/2 only.
    #[must_use]
    pub fn cut_off(self) -> Self {
        let bytes = self.bytes();
        Self { content: Content::BreakOff { bytes, missing: 0 }, ..self }
    }

    /// The same with only the first half of the body, then the end of the connection; HTTP/1.1 only.
    #[must_use]
    pub fn halved(self) -> Self {
        let mut bytes = self.bytes();
        // An empty body breaks the promise of its length.
        let missing = bytes.len().div_ceil(2).max(1);
        bytes.truncate(bytes.len() / 2);
        Self { content: Content::BreakOff { bytes, missing }, ..self }
    }

    /// The same with a body that stays open; HTTP/2 only.
    #[must_use]
    pub fn endless(self) -> Self {
        let bytes = self.bytes();
        Self { content: Content::Endless(bytes), ..self }
    }

    /// The bytes of the body that were given.
    pub(super) fn bytes(&self) -> Bytes {
        match &self.content {
            Content::Whole(bytes) | Content::Drip { bytes, .. } | Content::Endless(bytes) => bytes.clone(),
            Content::Stream { start: bytes, .. } | Content::BreakOff { bytes, .. } => bytes.clone(),
        }
    }

    /// The head of the response.
    pub(super) fn head(&self) -> http::Response<()> {
        let mut response = http::Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response.body(()).expect("the status and the headers are valid")
    }

    /// The body over HTTP/1.1; adds the bytes that it hands to the connection to `sent`.
    pub(super) fn into_body(self, sent: &Arc<AtomicU64>) -> Body {
        let mut body = Body {
            parts: VecDeque::new(),
            pace: None,
            filler: None,
            missing: None,
            length: None,
            sent: Arc::clone(sent),
        };
        match self.content {
            Content::Whole(bytes) | Content::Endless(bytes) => {
                body.length = Some(bytes.len());
                body.parts.push_back(bytes);
            }
            Content::BreakOff { bytes, missing } => {
                body.length = Some(bytes.len() + missing);
                body.missing = Some(Missing::Flush);
                body.parts.push_back(bytes);
            }
            Content::Drip { bytes, every } => {
                let mut clock = interval(every);
                clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
                body.pace = Some(clock);
                body.parts.extend(bytes.chunks(1).map(Bytes::copy_from_slice));
            }
            Content::Stream { start, filler, length } => {
                let left = length.saturating_sub(start.len() as u64);
                body.filler = Some((Bytes::from(vec![filler; 64 * 1024]), left));
                body.parts.push_back(start);
            }
        }
        body.parts.retain(|part| !part.is_empty());
        body
    }
}

/// A body of HTTP/1.1, made while it is sent.
#[derive(Debug)]
pub(super) struct Body {
    parts: VecDeque<Bytes>,
    pace: Option<Interval>,
    /// A block, and how many bytes of it repeated are left.
    filler: Option<(Bytes, u64)>,
    missing: Option<Missing>,
    length: Option<usize>,
    sent: Arc<AtomicU64>,
}

/// How far a body that breaks off has come.
#[derive(Debug)]
enum Missing {
    /// The connection first writes out what it has.
    Flush,
    Close,
}

/// A connection that the fake closes on purpose.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let body = &mut *self;
        if !body.parts.is_empty() && body.pace.as_mut().is_some_and(|pace| pace.poll_tick(cx).is_pending()) {
            return Poll::Pending;
        }
        let next = body.parts.pop_front().or_else(|| {
            let (block, left) = body.filler.as_mut()?;
            let length = block.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= length as u64;
            Some(block.slice(..length)).filter(|block| !block.is_empty())
        });
        if let Some(next) = next {
            body.sent.fetch_add(next.len() as u64, Ordering::SeqCst);
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        match body.missing {
            None => Poll::Ready(None),
            Some(Missing::Flush) => {
                // A pending body makes hyper flush the head and the first half.
                body.missing = Some(Missing::Close);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Missing::Close) => Poll::Ready(Some(Err(Closed))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0) && self.missing.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.length
            .map_or_else(hyper::body::SizeHint::default, |length| hyper::body::SizeHint::with_exact(length as u64))
    }
}
