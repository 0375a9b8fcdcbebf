//! Wrong, slow, huge and missing responses of a homeserver.
//!
//! Invariant: a response holds the bytes that the test gave; nothing is random.

use std::time::Duration;

use hyper::body::Bytes;
use serde_json::Value;

use crate::fake::Reply;

/// What happens to a request instead of the right response.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A response of the test.
    Reply(Reply),
    /// No response, on a connection that stays open.
    Silence,
    /// The connection closes without a response.
    Close,
}

impl Fault {
    /// This status and body.
    pub fn reply(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Reply(Reply::new(status, body))
    }

    /// This status and JSON body.
    pub fn json(status: u16, body: Value) -> Self {
        Self::Reply(Reply::json(status, body))
    }

    /// A redirect (302) to `location`.
    pub fn redirect(location: &str) -> Self {
        Self::reply(302, "").with_header("location", location)
    }

    /// 200 with a chunked body of `length` bytes: `start`, then `filler` again and again.
    pub fn stream(start: impl Into<Bytes>, filler: u8, length: u64) -> Self {
        Self::Reply(Reply::stream(start, filler, length))
    }

    /// 200 with this body, one byte each `every`.
    pub fn drip(body: impl Into<Bytes>, every: Duration) -> Self {
        Self::Reply(Reply::drip(body, every))
    }

    /// The same with a further header; unchanged without a response.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Self {
        match self {
            Self::Reply(reply) => Self::Reply(reply.with_header(name, value)),
            other => other,
        }
    }
}
