//! What a push service does instead of the right answer.

use std::time::Duration;

use crate::fake::{Loss, Reply};

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A response of the test.
    Reply(Reply),
    /// The right response, after this time.
    Delay(Duration),
    /// No response, on a connection that stays open.
    Silence,
    /// The stream is reset with this code.
    Reset(u32),
    /// The stream is refused (`REFUSED_STREAM`), and the connection takes no more of them (GOAWAY).
    GoAway,
    /// The connection closes when the client has received everything that was written before.
    Close,
    /// A valid message is taken, then its response gets lost.
    Lose(Loss),
}

impl Fault {
    /// This status and body.
    pub fn reply(status: u16, body: &'static str) -> Self {
        Self::Reply(Reply::new(status, body))
    }

    /// The same with a further header; unchanged without a response.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Self {
        self.map(|reply| reply.with_header(name, value))
    }

    /// The same, but the stream is reset where the body should end; unchanged without a response.
    #[must_use]
    pub fn cut_off(self) -> Self {
        self.map(Reply::cut_off)
    }

    fn map(self, change: impl FnOnce(Reply) -> Reply) -> Self {
        match self {
            Self::Reply(reply) => Self::Reply(change(reply)),
            other => other,
        }
    }
}
