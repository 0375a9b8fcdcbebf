//! The client for requests to homeservers.
//!
//! Invariant: an error contains the server and the kind of failure, never a path, a query or a token.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use shared::clock::Clock;
use shared::outbound::client::{Client, pool};
use shared::outbound::connector::Connector;
use shared::outbound::dns::{Dns, DnsError};
use shared::outbound::failure::Failure;
use shared::outbound::resolver::Resolver;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::HTTP_1;
use shared::outbound::{retry_after, tls};
use shared::random::Random;

use super::connect::HomeserverConnector;
use super::resolve::Discovery;
use super::well_known::WellKnown;
use crate::config::federation::Federation;
use crate::domain::server_name::ServerName;

/// The lifetime of an idle connection: shorter than the usual timeout of servers.
const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_IDLE_PER_SERVER: usize = 16;
/// The limit for the head of a response; the body has its own.
const MAX_BUFFER: usize = 32 * 1024;

/// A client for all homeservers. Clones share the connection pool.
#[derive(Clone)]
pub struct HomeserverClient {
    http: Client<HomeserverConnector>,
    pub(super) connector: HomeserverConnector,
    pub(super) discovery: Arc<Discovery>,
    clock: Clock,
    timeout: Duration,
}

/// The purpose of a request: a label of the error metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The owner of an OpenID token.
    Openid,
    /// The server's signing keys.
    Keys,
    /// The onbind notification.
    Onbind,
}

/// A request to a homeserver. It has no `Debug`, because the path may contain a token.
pub struct FederationRequest<'a> {
    /// A label of the error metric.
    pub purpose: Purpose,
    /// The HTTP method.
    pub method: Method,
    /// The server name before discovery.
    pub server: &'a ServerName,
    /// The path and query, percent-encoded.
    pub path_and_query: &'a str,
    /// The JSON body.
    pub body: Option<String>,
    /// The size limit of the response body in bytes.
    pub max_reply: usize,
}

/// A homeserver's response with any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationReply {
    /// The HTTP status. The client does not follow redirects.
    pub status: StatusCode,
    /// The delay from `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The complete body.
    pub body: Vec<u8>,
}

/// A homeserver gave no usable response.
///
/// Clients see this text. It reports a blocked address as a name that does not resolve; otherwise clients could find out
/// which names exist in the private network. The log contains the difference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot contact homeserver {server}: {}", public(*.failure))]
pub struct ContactError {
    /// The server.
    pub server: ServerName,
    /// The kind of failure: [`Failure::Timeout`] becomes a 504, all others a 502.
    pub failure: Failure,
}

/// Why the settings are unusable.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system's resolver configuration cannot be read.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// `extra_ca_file` is unusable, or the system has no trusted roots.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl HomeserverClient {
    /// A client with these settings. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`] contains the invalid setting.
    pub fn new(settings: &Federation, outbound: &Outbound, clock: Clock, random: Random) -> Result<Self, SetupError> {
        if !settings.tls_verify {
            tracing::warn!("[federation] tls_verify is off: an attacker on the network can impersonate homeservers");
        }
        let dns = Dns::new(settings.dns_servers.as_slice())?;
        let mut tls = tls::client_config(outbound.extra_ca_file.as_deref(), settings.tls_verify)?;
        tls.alpn_protocols = vec![HTTP_1.to_vec()];
        let resolver = Resolver::Guarded { dns: dns.clone(), guard: outbound.address_guard() };
        let connector = Connector::new(resolver, outbound.proxy_rule(), tls, settings.connect_timeout.get());
        let timeout = settings.timeout.get();
        let web = Client::new(connector.clone(), &pool(), timeout);
        let well_known = WellKnown::new(web, clock.clone(), settings.well_known_port, timeout / 2);
        let discovery = Arc::new(Discovery::new(settings.overrides.clone(), dns, well_known, random));
        let mut pool = pool();
        pool.pool_idle_timeout(POOL_IDLE).pool_max_idle_per_host(POOL_IDLE_PER_SERVER).http1_max_buf_size(MAX_BUFFER);
        let connector = HomeserverConnector::new(Arc::clone(&discovery), connector);
        let http = Client::over(connector.clone(), &pool, timeout).repeating_get();
        Ok(Self { http, connector, discovery, clock, timeout })
    }

    /// Discovers the server, sends the request and reads the complete response.
    ///
    /// # Errors
    /// [`ContactError`] if no complete response arrives within the limits. The client has logged and counted it.
    pub async fn send(&self, request: FederationRequest<'_>) -> Result<FederationReply, ContactError> {
        let (purpose, server) = (request.purpose, request.server);
        let exchange = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        exchange.unwrap_or(Err(Failure::Timeout)).map_err(|failure| {
            tracing::warn!(%server, purpose = purpose.label(), %failure, "request to homeserver failed");
            count_error(purpose, failure.label());
            ContactError { server: server.clone(), failure }
        })
    }

    async fn exchange(&self, request: FederationRequest<'_>) -> Result<FederationReply, Failure> {
        let name = self.discovery.delegate(request.server).await;
        let max_reply = request.max_reply;
        let request = to_http(request, &name).ok_or(Failure::Other)?;
        let reply = self.http.fetch(request, max_reply).await.map_err(|failure| match failure {
            // To the caller a server without a connection in time is as slow as one without a response.
            Failure::ConnectTimeout => Failure::Timeout,
            other => other,
        })?;
        let retry_after = retry_after::of(&reply.headers, self.clock.now());
        Ok(FederationReply { status: reply.status, retry_after, body: reply.body })
    }
}

impl Purpose {
    /// The value of log fields and metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Openid => "openid",
            Self::Keys => "keys",
            Self::Onbind => "onbind",
        }
    }
}

fn public(failure: Failure) -> Failure {
    if failure == Failure::Blocked { Failure::Dns } else { failure }
}

/// Counts a request without a usable response. `kind` never comes from outside.
pub(super) fn count_error(purpose: Purpose, kind: &'static str) {
    metrics::counter!("identity_federation_errors_total", "purpose" => purpose.label(), "kind" => kind).increment(1);
}

/// Sets `Host` to the name after delegation, with a port only if the name has one: hyper itself would drop `:443`.
fn to_http(request: FederationRequest<'_>, name: &ServerName) -> Option<Request<Full<Bytes>>> {
    let uri = Uri::builder().scheme("https").authority(name.as_str()).path_and_query(request.path_and_query);
    let mut builder = Request::builder()
        .method(request.method)
        .uri(uri.build().ok()?)
        .header(HOST, name.as_str())
        .header(USER_AGENT, concat!("identity/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json");
    if request.body.is_some() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    builder.body(Full::new(Bytes::from(request.body.unwrap_or_default()))).ok()
}

#[cfg(test)]
mod tests {
    use super::{ContactError, Failure, ServerName};

    #[test]
    fn the_error_for_clients_reports_a_blocked_address_as_an_unresolved_name() {
        let text = |failure| ContactError { server: ServerName::parse("hs.example").unwrap(), failure }.to_string();
        assert_eq!(text(Failure::Blocked), text(Failure::Dns));
        assert_ne!(text(Failure::Blocked), text(Failure::Tls));
    }
}
