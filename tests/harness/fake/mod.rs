//! The HTTP server under every fake service: accepts connections, terminates TLS, speaks HTTP/1.1 and HTTP/2, records
//! requests and injects faults.
//!
//! Invariant: a connection is counted before its first byte is read, a request is recorded before it is answered, and
//! all connections end with the server.

mod connection;
mod core;
mod fault;
mod faults;
mod frame;
mod http1;
mod http2;
mod relay;
mod reply;
mod request;
mod server;
mod wire;

pub(crate) use self::core::Recorded;
pub(crate) use connection::Connection;
pub use fault::Fault;
pub(crate) use faults::Faults;
pub use reply::Reply;
pub use request::Request;
pub(crate) use server::{HttpServer, Socket};

/// What a fake service does with a request.
pub(crate) trait Service: Send + Sync + 'static {
    /// Whether the service drops a request, and does not accept it any more, when the client resets its stream.
    const ENDS_WITH_THE_STREAM: bool = false;

    /// Decides the reaction to a request that arrived completely.
    fn react(&self, request: Recorded<'_>) -> impl Future<Output = Reaction> + Send;

    /// Whether the server resets the connection before it reads the next request.
    fn resets_unread(&self) -> bool {
        false
    }
}

/// What the server does with a request.
#[derive(Debug)]
pub(crate) enum Reaction {
    Reply(Reply),
    /// No response, on a connection that stays open.
    Silence,
    /// No response, and no end of the stream: a GOAWAY has left it out.
    LeftOut,
    /// RST_STREAM with this code; over HTTP/1.1 the connection closes.
    ResetStream(u32),
    /// The stream is refused (`REFUSED_STREAM`), and a GOAWAY ends the connection.
    GoAway,
    /// The connection closes when the client has received everything that was written before.
    Close,
    /// The connection ends with a TCP reset.
    ResetConnection,
}

/// How the response to an accepted request gets lost.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// RST_STREAM with this code.
    Reset(u32),
    /// The response never comes, on a stream that stays open.
    Silence,
    /// The connection closes when the client has received everything that was written before.
    Cut,
}

impl From<Loss> for Reaction {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Reset(code) => Self::ResetStream(code),
            Loss::Silence => Self::Silence,
            Loss::Cut => Self::Close,
        }
    }
}

/// The RST_STREAM code `INTERNAL_ERROR` (RFC 9113, section 7).
pub(crate) const INTERNAL_ERROR: u32 = 2;
