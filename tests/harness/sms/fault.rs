//! The ways in which a vendor, or something on the way to it, answers badly, slowly or not at all.
//!
//! Invariant: of each fault it is certain whether the message was taken; none has chance in it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How far the bytes of [`Fault::Drip`] lie apart.
const DRIP: Duration = Duration::from_millis(250);

/// How long an answer that breaks off waits before it does: what was written until then has to arrive.
const FAREWELL: Duration = Duration::from_millis(50);

/// What happens to a request instead of the right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status (300 and more), with the vendor's usual body for it. Not taken.
    Status(u16),
    /// The vendor's own error of that name or number: `21610`, `OptedOut`. Not taken.
    Error(&'static str),
    /// No answer, on a connection that stays open. Not taken.
    Hang,
    /// The message is taken if it is in order, and then there is no answer, on a connection that stays open.
    AcceptAndHang,
    /// The message is taken if it is in order, and then the connection is reset.
    AcceptAndReset,
    /// The connection is reset when the request was read. Not taken.
    Reset,
    /// The connection is reset before anything is read: as soon as it is there or, on one that is there already, with the
    /// next request's head. Not taken, nor counted as a request.
    ResetBeforeReading,
    /// The right answer, but its body comes a byte each quarter of a second. Taken.
    Drip,
    /// 200 with a page for people, as a captive portal or a proxy sends it. Not taken.
    Garbage,
    /// The right answer, but the connection ends in the middle of its body. Taken.
    TruncatedBody,
    /// 429 with the vendor's usual body, and a `Retry-After` of so many seconds. Not taken.
    RetryAfter(u32),
    /// 307 to another path here. Not taken; a client that follows is complained of.
    Redirect,
}

/// How the body of an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Whole,
    Drip,
    BreakOff,
}

/// An answer's body, made while it is sent.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    /// How much comes at once.
    step: usize,
    clock: Option<Interval>,
    /// What is never sent though it was promised.
    missing: usize,
}

/// A connection that is closed on purpose.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

impl Body {
    pub(super) fn new(mut bytes: Bytes, pace: Pace) -> Self {
        match pace {
            Pace::Whole => Self { step: bytes.len(), bytes, clock: None, missing: 0 },
            Pace::Drip => Self { step: 1, bytes, clock: Some(clock(DRIP)), missing: 0 },
            Pace::BreakOff => {
                // An empty body has nothing to break off, but a length that it does not keep.
                let missing = bytes.len().div_ceil(2).max(1);
                bytes.truncate(bytes.len() / 2);
                Self { step: bytes.len(), bytes, clock: Some(clock(FAREWELL)), missing }
            }
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if self.bytes.is_empty() && self.missing == 0 {
            return Poll::Ready(None);
        }
        if let Some(clock) = &mut self.clock
            && clock.poll_tick(cx).is_pending()
        {
            return Poll::Pending;
        }
        if self.bytes.is_empty() {
            return Poll::Ready(Some(Err(Closed)));
        }
        let step = self.step.min(self.bytes.len());
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(step)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && self.missing == 0
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact((self.bytes.len() + self.missing) as u64)
    }
}

fn clock(period: Duration) -> Interval {
    let mut clock = interval(period);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}
