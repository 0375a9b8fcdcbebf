//! HTTP client for endpoints that users choose.
//!
//! Invariant: a connection leads only to addresses that the guard permitted, all of a name's. It follows no redirect, and
//! reads at most 4 KiB of a response.

pub(super) mod pauses;
mod unreachable;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::clock::Clock;
use shared::outbound::backoff::Backoff;
use shared::outbound::connector::Connector;
use shared::outbound::dns::{Dns, DnsError};
use shared::outbound::failure::Failure;
use shared::outbound::guard::AddressGuard;
use shared::outbound::resolver::Resolver;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::{HTTP_1, HTTP_2};
use shared::outbound::tls::TlsError;
use url::Host;

use self::pauses::Pauses;
use self::unreachable::Unreachable;
use super::endpoint::Endpoint;
use super::response::Answer;
use crate::providers::{ProviderContext, SetupError};
use crate::upstream::no_response::NoResponse;
use crate::upstream::options::{Options, Timing};
use crate::upstream::origin::{Origin, Protocols};
use crate::upstream::origins::Origins;
use crate::upstream::request::UpstreamRequest;

/// The most push services with open connections.
const MAX_ORIGINS: u64 = 1000;

/// The limits for each push service.
const OPTIONS: Options = Options {
    protocols: Protocols::Any,
    max_connections: 32,
    max_http1_connections: 64,
    max_body: 4096,
    timing: Timing {
        connect: Duration::from_secs(5),
        attempt: Duration::from_secs(10),
        grow_after: Duration::from_millis(50),
        ping_after: Duration::from_secs(300),
        ping_timeout: Duration::from_secs(4),
        idle: Some(Duration::from_secs(90)),
        // The circuit breaker of the host stops the requests.
        backoff: Backoff::new(Duration::ZERO, Duration::ZERO),
    },
};

/// What all apps of a process share: connections, and pauses of endpoints. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections {
    transport: Arc<Mutex<Option<Transport>>>,
    pauses: Arc<Pauses>,
}

impl Connections {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { transport: Arc::default(), pauses: Arc::new(Pauses::new(clock)) }
    }

    /// The same pauses, with new connections.
    pub(in crate::providers) fn reconnected(&self) -> Self {
        Self { transport: Arc::default(), pauses: self.pauses.clone() }
    }

    pub(super) fn transport(&self, context: &ProviderContext) -> Result<Transport, SetupError> {
        let mut transport = self.transport.lock();
        if let Some(transport) = &*transport {
            return Ok(transport.clone());
        }
        let new = Transport::new(&context.outbound, &context.dns_servers, context.clock.clone())?;
        Ok(transport.insert(new).clone())
    }

    pub(super) fn pauses(&self) -> Arc<Pauses> {
        self.pauses.clone()
    }
}

/// Connections to any push service. Clones share them.
#[derive(Clone)]
pub(super) struct Transport {
    origins: Origins,
    dns: Dns,
    guard: AddressGuard,
    unreachable: Unreachable,
    clock: Clock,
}

/// Why the settings are unusable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Dns(#[from] DnsError),
}

impl Transport {
    /// A client with the operator's trusted roots, proxy and networks, that asks these name servers.
    ///
    /// # Errors
    /// [`TransportError`].
    pub(super) fn new(outbound: &Outbound, dns_servers: &[SocketAddr], clock: Clock) -> Result<Self, TransportError> {
        let mut tls = outbound.tls()?;
        tls.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        let (dns, guard) = (Dns::new(dns_servers)?, outbound.address_guard().requiring_all());
        let resolver = Resolver::Guarded { dns: dns.clone(), guard: guard.clone() };
        let connector = Connector::new(resolver, outbound.proxy_rule(), tls, OPTIONS.timing.connect);
        let origins = Origins::new(connector, MAX_ORIGINS, OPTIONS);
        Ok(Self { origins, dns, guard, unreachable: Unreachable::new(clock.clone()), clock })
    }

    /// Whether all addresses of the endpoint's host lie in networks that the operator allowed; a name that does not exist has
    /// none there. `None` if no name server answers at present.
    pub(super) async fn allows(&self, endpoint: &Endpoint) -> Option<bool> {
        match endpoint.host() {
            Host::Ipv4(ip) => Some(self.guard.allows((*ip).into())),
            Host::Ipv6(ip) => Some(self.guard.allows((*ip).into())),
            Host::Domain(name) => {
                let found = tokio::time::timeout(OPTIONS.timing.connect, self.dns.addresses(name)).await.ok()?.ok()?;
                Some(!found.is_empty() && found.iter().all(|ip| self.guard.allows(*ip)))
            }
        }
    }

    /// Sends a request to `origin`, the host of that name; resends only before `deadline`.
    ///
    /// # Errors
    /// [`NoResponse`] if no status arrives. A name that does not resolve, or leads where it must not, fails for a minute.
    pub(super) async fn send(
        &self,
        host: &str,
        origin: &Origin,
        request: &UpstreamRequest,
        deadline: Instant,
    ) -> Result<Answer, NoResponse> {
        if let Some(failure) = self.unreachable.find(host) {
            return Err(NoResponse::Unreachable { failure, retry_after: None });
        }
        let response = self.origins.send(origin, request, deadline).await.inspect_err(|missing| {
            if let NoResponse::Unreachable { failure: failure @ (Failure::Blocked | Failure::Dns), .. } = missing {
                self.unreachable.insert(host, *failure);
            }
        })?;
        let retry_after = response.retry_after(self.clock.now());
        Ok(Answer { status: response.status, retry_after, headers: response.headers, body: response.body })
    }
}
