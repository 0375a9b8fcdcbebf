//! Requests to one of Apple's worlds over a few long-lived HTTP/2 connections.
//!
//! Invariant: a push that Apple may have processed is never sent again from here; one that it did not process, by its
//! own word, is sent again at most twice.
//!
//! It stands on `h2` itself, since a pooling client neither opens a connection ahead of the first request, nor tells
//! when streams are scarce, nor backs off before it reconnects. It also takes half the time: at 64 pushes in flight a
//! whole delivery costs 10–13 µs of CPU, where a bare request through reqwest costs 22.

mod connect;
mod connection;
mod pool;

use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::{Reason, RecvStream};
use http::header::RETRY_AFTER;
use http::uri::Authority;
use shared::outbound::backoff::Backoff;

pub(super) use self::connect::{Endpoint, EndpointConnector, NoConnection};

use self::pool::{Pool, Ticket};
use super::request::Push;

/// More of an error's body is not read.
const MAX_BODY: usize = 16 * 1024;
/// How often a push is sent again that was not processed.
const MAX_RESENDS: usize = 2;

/// The patience of a transport.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// For TCP, proxy, TLS and the beginning of HTTP/2 together.
    pub(super) connect: Duration,
    /// From the search for a free stream to the last byte of the answer.
    pub(super) attempt: Duration,
    /// How long all streams have to be busy before there is a further connection.
    pub(super) grow_after: Duration,
    /// A connection on which nothing came for this long is asked for a sign of life.
    pub(super) ping_after: Duration,
    /// How long that sign may take.
    pub(super) ping_timeout: Duration,
    /// The delay after consecutive failures to connect.
    pub(super) backoff: Backoff,
}

impl Timing {
    /// What is right for Apple.
    pub(super) const USUAL: Self = Self {
        connect: Duration::from_secs(5),
        attempt: Duration::from_secs(8),
        grow_after: Duration::from_millis(50),
        ping_after: Duration::from_secs(60),
        ping_timeout: Duration::from_secs(10),
        backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
    };
}

/// The connections to one address with one set of credentials.
pub(super) struct Transport {
    pool: Arc<Pool>,
    authority: Authority,
    attempt: Duration,
}

/// What Apple said.
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Retry-After`, as it came.
    pub(super) retry_after: Option<String>,
    /// Empty for a success; cut off where it was cut off.
    pub(super) body: Vec<u8>,
    ticket: Ticket,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It took too long.
    Timeout,
    /// The stream or the connection broke off; the push may have been processed.
    Lost,
    /// Apple did not process it, again and again.
    Unprocessed,
    /// There is no connection.
    NoConnection(NoConnection),
}

impl Transport {
    /// Nothing is connected yet. `app` is a label for metrics and logs.
    pub(super) fn new(app: &str, connector: EndpointConnector, max_connections: usize, timing: Timing) -> Self {
        let authority = connector.authority().clone();
        Self { pool: Pool::new(app, connector, max_connections, timing), authority, attempt: timing.attempt }
    }

    /// Connects if there is no connection yet. Must run on a runtime that outlives the transport, as must
    /// [`Transport::send`].
    pub(super) fn warm_up(&self) {
        self.pool.warm_up();
    }

    /// Connects if there is no connection yet, and waits until there is one.
    pub(super) async fn connect(&self) -> Result<(), NoConnection> {
        self.pool.acquire().await.map(drop)
    }

    /// Sends `push` and waits for the answer; what is sent again must be sent before `deadline`.
    pub(super) async fn send(&self, push: &Push, deadline: Instant) -> Result<Answer, Failure> {
        let mut resends = 0;
        loop {
            let attempt = tokio::time::timeout(self.attempt, self.exchange(push)).await;
            match attempt.unwrap_or(Err(Failure::Timeout)) {
                Err(Failure::Unprocessed) if resends < MAX_RESENDS && Instant::now() < deadline => resends += 1,
                result => return result,
            }
        }
    }

    async fn exchange(&self, push: &Push) -> Result<Answer, Failure> {
        let ticket = self.pool.acquire().await.map_err(Failure::NoConnection)?;
        let mut sender = ticket.sender().ok_or(Failure::Unprocessed)?;
        // What fails here has not left this process.
        let (response, mut stream) =
            sender.send_request(push.head(&self.authority), false).map_err(|_| Failure::Unprocessed)?;
        drop(sender);
        if let Err(error) = stream.send_data(push.body(), true) {
            tracing::debug!(%error, "the push could not be sent in full; what became of it, the answer says");
        }
        let response = response.await.map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        ticket.answered(status);
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = if response.status().is_success() { Vec::new() } else { read(response.into_body()).await };
        Ok(Answer { status, retry_after, body, ticket })
    }
}

impl Answer {
    /// Sends nothing more on the connection on which it came.
    pub(super) fn retire_connection(&self) {
        self.ticket.retire();
    }
}

fn failure(error: &h2::Error) -> Failure {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // A stream sees a GOAWAY as its own error only if it lies above the last one that Apple processed.
    if error.is_remote() && (refused || error.is_go_away()) { Failure::Unprocessed } else { Failure::Lost }
}

/// What can be read of a body: that it breaks off matters to nobody, the status has said what is to be known.
async fn read(mut stream: RecvStream) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(Ok(part)) = stream.data().await {
        body.extend_from_slice(&part[..part.len().min(MAX_BODY - body.len())]);
        if body.len() == MAX_BODY || stream.flow_control().release_capacity(part.len()).is_err() {
            break;
        }
    }
    body
}
