//! Requests to many origins, such as those that users choose.
//!
//! Invariant: the number of origins with connections is bounded. The least recently used one leaves first; its connections
//! close with their last request. The address guard is the connector's.

use std::sync::Arc;
use std::time::Instant;

use metrics::Gauge;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use shared::outbound::connector::Connector;
use shared::outbound::failure::Failure;

use super::client::Client;
use super::no_response::NoResponse;
use super::options::Options;
use super::origin::Origin;
use super::report::Quiet;
use super::request::UpstreamRequest;
use super::response::UpstreamResponse;

/// A client for each origin in use. Clones share them.
#[derive(Clone)]
pub(crate) struct Origins {
    clients: Cache<Origin, Arc<Client>>,
    connector: Connector,
    options: Options,
}

impl Origins {
    /// Clients for at most `max` origins, which share `connector` and have `options`.
    pub(crate) fn new(connector: Connector, max: u64, options: Options) -> Self {
        let clients = Cache::builder().max_capacity(max).eviction_policy(EvictionPolicy::lru());
        let clients = match options.timing.idle {
            Some(idle) => clients.time_to_idle(idle),
            None => clients,
        };
        Self { clients: clients.build(), connector, options }
    }

    /// Sends `request` to `origin`, as [`Client::send`].
    ///
    /// # Errors
    /// [`NoResponse`] if no status arrives.
    pub(crate) async fn send(
        &self,
        origin: &Origin,
        request: &UpstreamRequest,
        deadline: Instant,
    ) -> Result<UpstreamResponse, NoResponse> {
        self.client(origin).await?.send(request, deadline).await
    }

    async fn client(&self, origin: &Origin) -> Result<Arc<Client>, NoResponse> {
        if let Some(client) = self.clients.get(origin).await {
            return Ok(client);
        }
        let new = || Client::new(origin.clone(), self.connector.clone(), self.options, Arc::new(Quiet), Gauge::noop());
        let new = new().ok_or(NoResponse::Unreachable { failure: Failure::Dns, retry_after: None })?;
        let client = self.clients.get_with_by_ref(origin, std::future::ready(Arc::new(new))).await;
        // Without it the cache removes origins above its capacity some time later.
        self.clients.run_pending_tasks().await;
        Ok(client)
    }
}
