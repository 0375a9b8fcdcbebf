//! What a fake push service does instead of the right response.
//!
//! Invariant: nothing is random.

use std::time::Duration;

use hyper::body::Bytes;

use super::{Loss, Reaction, Recorded, Reply};

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A response of the test; built by the functions of [`Fault`].
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
    /// A valid message is accepted, then its response gets lost.
    Lose(Loss),
}

impl Fault {
    /// This status and body.
    pub fn reply(status: u16, body: impl Into<Bytes>) -> Self {
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

    /// Carries it out; `Ok` if the right response follows, with how it gets lost.
    pub(crate) async fn meet(self, request: &Recorded<'_>) -> Result<Option<Loss>, Reaction> {
        Err(match self {
            Self::Reply(reply) => {
                if reply.status < 300 {
                    request.accept();
                }
                Reaction::Reply(reply)
            }
            Self::Silence => Reaction::Silence,
            Self::Reset(code) => Reaction::ResetStream(code),
            Self::GoAway => Reaction::GoAway,
            Self::Close => Reaction::Close,
            Self::Lose(loss) => return Ok(Some(loss)),
            Self::Delay(time) => {
                tokio::time::sleep(time).await;
                return Ok(None);
            }
        })
    }
}
