//! HTTP client for endpoints that users choose.
//!
//! Invariant: a connection leads only to addresses that the guard permitted, all of a name's. It follows no redirect, and
//! reads at most 4 KiB of a response.

pub(super) mod pauses;
mod unreachable;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use shared::clock::Clock;
use shared::outbound::client::{Client, pool};
use shared::outbound::connector::Connector;
use shared::outbound::dns::{Dns, DnsError};
use shared::outbound::failure::Failure;
use shared::outbound::guard::AddressGuard;
use shared::outbound::resolver::Resolver;
use shared::outbound::retry_after;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::{HTTP_1, HTTP_2};
use shared::outbound::tls::TlsError;
use url::Host;

use self::unreachable::Unreachable;
use super::endpoint::Endpoint;
use super::response::Answer;

/// The limit for one request, from the connection to the last byte of the response.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The limit for a connection, from DNS to the TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// The limit for a response body in bytes.
const MAX_BODY: usize = 4096;
/// The most idle connections to one push service.
const MAX_IDLE: usize = 32;

/// Connections to any push service. Clones share them.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
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
        let connector = Connector::new(resolver, outbound.proxy_rule(), tls, CONNECT);
        let mut pool = pool();
        pool.pool_max_idle_per_host(MAX_IDLE);
        let client = Client::new(connector, &pool, ATTEMPT);
        Ok(Self { client, dns, guard, unreachable: Unreachable::new(clock.clone()), clock })
    }

    /// Whether all addresses of the endpoint's host lie in networks that the operator allowed; a name that does not exist has
    /// none there. `None` if no name server answers at present.
    pub(super) async fn allows(&self, endpoint: &Endpoint) -> Option<bool> {
        match endpoint.host() {
            Host::Ipv4(ip) => Some(self.guard.allows((*ip).into())),
            Host::Ipv6(ip) => Some(self.guard.allows((*ip).into())),
            Host::Domain(name) => {
                let found = tokio::time::timeout(CONNECT, self.dns.addresses(name)).await.ok()?.ok()?;
                Some(!found.is_empty() && found.iter().all(|ip| self.guard.allows(*ip)))
            }
        }
    }

    /// Sends a request to the host of that name.
    ///
    /// # Errors
    /// [`Failure`] if no status arrives. A name that does not resolve, or leads where it must not, fails for a minute.
    pub(super) async fn send(&self, host: &str, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        if let Some(failure) = self.unreachable.find(host) {
            return Err(failure);
        }
        let response = self.client.send(request).await.inspect_err(|failure| {
            if matches!(failure, Failure::Blocked | Failure::Dns) {
                self.unreachable.insert(host, *failure);
            }
        })?;
        let status = response.status.as_u16();
        let retry_after = retry_after::of(&response.headers, self.clock.now());
        let headers = response.headers.clone();
        Ok(Answer { status, retry_after, headers, body: response.read_prefix(MAX_BODY).await })
    }
}
