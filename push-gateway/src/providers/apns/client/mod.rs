//! Requests to APNs over a few long-lived HTTP/2 connections for each environment.
//!
//! Invariant: the client resends only pushes that APNs certainly did not process, and each at most twice.
//!
//! It uses `h2` directly: a pooling client neither opens a connection before the first request, nor reports that streams are
//! scarce, nor backs off before it reconnects. It also takes half the time: at 64 pushes in flight a whole delivery costs
//! 10–13 µs of CPU, where a bare request through reqwest costs 22.

mod connect;
mod connection;
mod pool;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::{Reason, RecvStream};
use http::header::RETRY_AFTER;
use http::uri::Authority;
use shared::clock::Clock;
use shared::outbound::backoff::Backoff;
use shared::outbound::connector::Connector;
use shared::outbound::resolver::Resolver;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::HTTP_2;
use shared::outbound::tls::TlsError;

use self::connect::{Endpoint, EndpointConnector};
use self::pool::{Pool, Ticket};
use self::report::Report;
use super::credentials::Credentials;
use super::request::Push;
use super::settings::Settings;
use crate::providers::outcome::Failure;

/// The most that is read of an error's body, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// How often an unprocessed push is resent.
const MAX_RESENDS: usize = 2;

/// The reason for a push that APNs did not process.
const NOT_PROCESSED: &str = "not_processed";

/// The timeouts of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// For TCP, proxy, TLS and the HTTP/2 preface together.
    pub(super) connect: Duration,
    /// From the wait for a free stream to the last byte of the answer.
    pub(super) attempt: Duration,
    /// How long all streams stay busy before another connection opens.
    pub(super) grow_after: Duration,
    /// A connection without traffic for this long gets a ping.
    pub(super) ping_after: Duration,
    pub(super) ping_timeout: Duration,
    /// The delay after consecutive failures to connect.
    pub(super) backoff: Backoff,
}

impl Timing {
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(5),
        attempt: Duration::from_secs(8),
        grow_after: Duration::from_millis(50),
        ping_after: Duration::from_secs(60),
        ping_timeout: Duration::from_secs(10),
        backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
    };
}

/// The clients of an app.
pub(super) struct Clients {
    /// For the environment of `platform`.
    pub(super) main: Client,
    /// For devices that this environment does not know.
    pub(super) fallback: Option<Client>,
}

/// Why no connection can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{0}: expected \"https://host[:port]\"")]
    Endpoint(&'static str),
    /// There are no trusted roots.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The connections to one environment with one set of credentials.
pub(super) struct Client {
    pool: Arc<Pool>,
    authority: Authority,
    attempt: Duration,
}

/// What APNs sent back.
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Retry-After` as received.
    pub(super) retry_after: Option<String>,
    /// Empty for a success; as much as arrived otherwise.
    pub(super) body: Vec<u8>,
    ticket: Ticket,
}

impl Clients {
    /// Opens no connection yet.
    pub(super) fn new(
        app: &str,
        settings: &Settings,
        outbound: &Outbound,
        credentials: &Credentials,
        timing: Timing,
        clock: &Clock,
    ) -> Result<Self, ClientError> {
        let mut tls = outbound.tls()?;
        tls.alpn_protocols = vec![HTTP_2.to_vec()];
        credentials.present(&mut tls);
        let connector = Connector::new(Resolver::System, outbound.proxy_rule(), tls, timing.connect);
        let client = |key, given: Option<&String>, default: &str| {
            let endpoint = Endpoint::parse(given.map_or(default, String::as_str)).ok_or(ClientError::Endpoint(key))?;
            let connector = EndpointConnector::new(endpoint, connector.clone());
            Ok::<_, ClientError>(Client::new(app, connector, settings.max_connections, timing, clock.clone()))
        };
        let main = client("endpoint", settings.endpoint.as_ref(), settings.platform.endpoint())?;
        let other = settings.platform.other().endpoint();
        let fallback = settings
            .sandbox_fallback
            .then(|| client("fallback_endpoint", settings.fallback_endpoint.as_ref(), other))
            .transpose()?;
        Ok(Self { main, fallback })
    }

    /// Connects to every environment of the app.
    ///
    /// # Errors
    /// The problem and what to check.
    pub(super) async fn check(&self) -> Result<(), String> {
        for client in std::iter::once(&self.main).chain(&self.fallback) {
            client.pool.acquire().await.map_err(|Failure { reason, .. }| {
                let advice = match reason {
                    "dns" => "the name does not resolve: check endpoint and this machine's name servers",
                    "tls" => "no TLS with HTTP/2: check endpoint, cert_file, [outbound] extra_ca_file and the clock",
                    "connect_timeout" => "no answer in time: check the firewall, endpoint and [outbound] proxy",
                    _ => "the connection is refused: check the firewall, endpoint and [outbound] proxy",
                };
                format!("no connection to Apple ({reason}): {advice}")
            })?;
        }
        Ok(())
    }
}

impl Client {
    /// `app` is a label for metrics and logs.
    fn new(app: &str, connector: EndpointConnector, max_connections: usize, timing: Timing, clock: Clock) -> Self {
        let authority = connector.authority().clone();
        Self {
            pool: Pool::new(Report::new(app, clock), app, connector, max_connections, timing),
            authority,
            attempt: timing.attempt,
        }
    }

    /// Connects unless there is a connection. Must run on a runtime that outlives the client, as must [`Client::send`].
    pub(super) fn warm_up(&self) {
        self.pool.warm_up();
    }

    /// Sends `push` and waits for the response; resends only before `deadline`.
    pub(super) async fn send(&self, push: &Push, deadline: Instant) -> Result<Answer, Failure> {
        let mut resends = 0;
        loop {
            let attempt = tokio::time::timeout(self.attempt, self.exchange(push)).await;
            match attempt.unwrap_or(Err(Failure::outage("timeout", None))) {
                Err(Failure { reason: NOT_PROCESSED, .. }) if resends < MAX_RESENDS && Instant::now() < deadline => {
                    resends += 1;
                }
                result => return result,
            }
        }
    }

    async fn exchange(&self, push: &Push) -> Result<Answer, Failure> {
        let ticket = self.pool.acquire().await?;
        let mut sender = ticket.sender().ok_or(not_processed())?;
        // A failure here happens before anything is written.
        let (response, mut stream) =
            sender.send_request(push.head(&self.authority), false).map_err(|_| not_processed())?;
        drop(sender);
        if let Err(error) = stream.send_data(push.body(), true) {
            tracing::debug!(%error, "the push was not sent in full; the response decides its outcome");
        }
        let response = response.await.map_err(|error| {
            let failure = failure(&error);
            if error.is_go_away() && error.is_remote() {
                ticket.going_away(&error);
            }
            if error.is_reset() || failure.reason == NOT_PROCESSED {
                ticket.reset(failure.reason != NOT_PROCESSED);
            }
            failure
        })?;
        let status = response.status().as_u16();
        ticket.answered(status);
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = if response.status().is_success() { Vec::new() } else { read(response.into_body()).await };
        Ok(Answer { status, retry_after, body, ticket })
    }
}

impl Answer {
    /// Opens no new stream on the connection of this answer.
    pub(super) fn retire_connection(&self) {
        self.ticket.retire();
    }
}

fn failure(error: &h2::Error) -> Failure {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // A stream reports a GOAWAY as its own error only above the last stream that APNs processed.
    if error.is_remote() && (refused || error.is_go_away()) {
        not_processed()
    } else {
        // APNs may have processed the push.
        Failure::outage("connection_lost", None)
    }
}

fn not_processed() -> Failure {
    Failure::outage(NOT_PROCESSED, None)
}

/// Reads a body as far as it arrives: the status alone decides the outcome.
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
