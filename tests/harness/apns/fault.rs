//! The ways in which Apple answers otherwise than with a success.
//!
//! Invariant: a fault is what the test says to the byte; none has chance in it.

use std::time::Duration;

use serde_json::{Value, json};

/// What happens to a request that is in order.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer.
    Answer(Answer),
    /// The right answer, later.
    Delay(Duration),
    /// No answer, on a stream that stays open.
    Silence,
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY that leaves this stream out: it was not processed.
    GoAway {
        /// The `reason` in the frame's JSON.
        reason: &'static str,
        /// First a GOAWAY that leaves out nothing, and the real one with the next request.
        two_phase: bool,
    },
    /// The connection is cut without a word, as soon as everything said on it before has arrived.
    Cut,
    /// The push is taken if it is in order, and then its answer gets lost.
    Lose(Loss),
}

/// How an answer gets lost.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// RST_STREAM with this code.
    Reset(u32),
    /// It never comes, on a stream that stays open.
    Silence,
    /// The connection is cut, as by [`Fault::Cut`].
    Cut,
}

/// An answer of the test's own.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) with_id: bool,
    /// The stream is reset before the end of the body.
    pub(super) broken: bool,
    /// The body does not end.
    pub(super) endless: bool,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Fault {
    /// An error as Apple words it.
    pub fn error(status: u16, reason: &str) -> Self {
        Self::json(status, &json!({"reason": reason}))
    }

    /// 410: the device has been gone since `timestamp` (milliseconds).
    pub fn gone(reason: &str, timestamp: i64) -> Self {
        Self::json(410, &json!({"reason": reason, "timestamp": timestamp}))
    }

    /// This status with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string())
    }

    /// This status with this body, or with none if it is empty.
    pub fn text(status: u16, body: &str) -> Self {
        Self::Answer(Answer {
            status,
            body: body.to_owned(),
            with_id: true,
            broken: false,
            endless: false,
            headers: Vec::new(),
        })
    }

    /// The answer, without `apns-id`.
    #[must_use]
    pub fn without_id(self) -> Self {
        self.changed(|answer| answer.with_id = false)
    }

    /// The answer, whose stream is reset before its body ends.
    #[must_use]
    pub fn broken(self) -> Self {
        self.changed(|answer| answer.broken = true)
    }

    /// The answer, whose body never ends.
    #[must_use]
    pub fn endless(self) -> Self {
        self.changed(|answer| answer.endless = true)
    }

    /// The answer, with a header field.
    #[must_use]
    pub fn with_header(self, name: &'static str, value: &str) -> Self {
        self.changed(|answer| answer.headers.push((name, value.to_owned())))
    }

    fn changed(self, change: impl FnOnce(&mut Answer)) -> Self {
        match self {
            Self::Answer(mut answer) => {
                change(&mut answer);
                Self::Answer(answer)
            }
            other => other,
        }
    }
}
