//! Errors and missing responses of APNs.
//!
//! Invariant: a response holds the bytes that the test gave; nothing is random.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{Loss, Reply};

/// What happens to a request instead of the right response.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This response.
    Reply {
        /// Status, headers and body.
        reply: Reply,
        /// Whether the response repeats the `apns-id` of the request.
        with_id: bool,
    },
    /// The right response, later.
    Delay(Duration),
    /// No response, on a stream that stays open.
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
    /// The connection closes when the client has received everything that was written before.
    Cut,
    /// A valid push is accepted, then its response gets lost.
    Lose(Loss),
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
        Self::Reply { reply: Reply::new(status, body.to_owned()), with_id: true }
    }

    /// The response without `apns-id`.
    #[must_use]
    pub fn without_id(self) -> Self {
        match self {
            Self::Reply { reply, .. } => Self::Reply { reply, with_id: false },
            other => other,
        }
    }

    /// The response, with the stream reset before its body ends.
    #[must_use]
    pub fn broken(self) -> Self {
        self.map(Reply::cut_off)
    }

    /// The response, with a body that never ends.
    #[must_use]
    pub fn endless(self) -> Self {
        self.map(Reply::endless)
    }

    /// The response with a further header.
    #[must_use]
    pub fn with_header(self, name: &'static str, value: &str) -> Self {
        self.map(|reply| reply.with_header(name, value))
    }

    fn map(self, change: impl FnOnce(Reply) -> Reply) -> Self {
        match self {
            Self::Reply { reply, with_id } => Self::Reply { reply: change(reply), with_id },
            other => other,
        }
    }
}
