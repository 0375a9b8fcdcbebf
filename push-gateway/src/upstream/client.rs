//! Requests to one origin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Gauge;
use shared::outbound::connector::Connector;

use super::connection::Sender;
use super::exchange::{http1, http2};
use super::no_response::NoResponse;
use super::options::Options;
use super::origin::{Origin, OriginConnector};
use super::pool::Pool;
use super::report::Report;
use super::request::UpstreamRequest;
use super::response::{StartOfResponse, UpstreamResponse};

/// How often an unprocessed request is resent.
const MAX_RESENDS: usize = 2;

/// The connections to one origin.
pub(crate) struct Client {
    pool: Arc<Pool>,
    attempt: Duration,
    max_body: usize,
}

impl Client {
    /// Opens no connection yet. `open_connections` counts the open ones. `None` if no connection to the host is possible.
    pub(crate) fn new(
        origin: Origin,
        connector: Connector,
        options: Options,
        report: Arc<dyn Report>,
        open_connections: Gauge,
    ) -> Option<Self> {
        let Options { protocols, max_body, timing, .. } = options;
        let connector = OriginConnector::new(origin, connector, protocols)?;
        let pool = Pool::new(report, open_connections, connector, &options);
        Some(Self { pool, attempt: timing.attempt, max_body })
    }

    /// Connects unless there is a connection. Must run on a runtime that outlives the client, as must [`Client::send`].
    pub(crate) fn warm_up(&self) {
        self.pool.warm_up();
    }

    /// Connects unless there is a connection, and waits for it.
    ///
    /// # Errors
    /// [`NoResponse`] if there is none.
    pub(crate) async fn check(&self) -> Result<(), NoResponse> {
        self.pool.acquire().await.map(drop)
    }

    /// Sends `request` and waits for the response; resends only before `deadline`.
    ///
    /// # Errors
    /// [`NoResponse`] if no status arrives.
    pub(crate) async fn send(
        &self,
        request: &UpstreamRequest,
        deadline: Instant,
    ) -> Result<UpstreamResponse, NoResponse> {
        let mut resends = 0;
        loop {
            match self.attempt(request).await {
                Err(NoResponse::NotProcessed) if resends < MAX_RESENDS && Instant::now() < deadline => resends += 1,
                result => return result,
            }
        }
    }

    async fn attempt(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, NoResponse> {
        let end = Instant::now() + self.attempt;
        let start = tokio::time::timeout_at(end.into(), self.start(request)).await;
        let start = start.unwrap_or(Err(NoResponse::Timeout))?;
        Ok(start.read(self.max_body, end).await)
    }

    async fn start(&self, request: &UpstreamRequest) -> Result<StartOfResponse, NoResponse> {
        let ticket = self.pool.acquire().await?;
        let origin = self.pool.origin();
        match ticket.sender().ok_or(NoResponse::NotProcessed)? {
            Sender::Http2(sender) => http2(ticket, sender, origin, request).await,
            Sender::Http1(sender) => http1(ticket, sender, origin, request).await,
        }
    }
}
