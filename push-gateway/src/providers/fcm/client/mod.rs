//! HTTP client for FCM and its token endpoints.
//!
//! Invariant: a status that arrived decides, even if the body does not arrive. The client holds at most 16 KiB of a body
//! and follows no redirect.

pub(super) mod pauses;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::uri::{InvalidUri, PathAndQuery};
use http_body_util::{BodyExt, Collected, Full};
use metrics::Gauge;
use rustls::ClientConfig;
use shared::clock::Clock;
use shared::outbound::backoff::Backoff;
use shared::outbound::connector::Connector;
use shared::outbound::failure::Failure;
use shared::outbound::proxy::ProxyRule;
use shared::outbound::resolver::Resolver;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::{HTTP_1, HTTP_2};
use shared::outbound::tls::TlsError;
use url::Url;

use super::request::{Authorization, message_request};
use crate::providers::connection_report::ConnectionReport;
use crate::upstream::client::Client;
use crate::upstream::no_response::NoResponse;
use crate::upstream::options::{Options, Timing};
use crate::upstream::origin::{Origin, Protocols};
use crate::upstream::origins::Origins;
use crate::upstream::request::UpstreamRequest;
use crate::upstream::response::UpstreamResponse;

/// The limit for a response body in bytes.
const MAX_BODY: usize = 16 * 1024;
/// The limit for a response of a token endpoint in bytes.
pub(super) const MAX_TOKEN_BODY: usize = 64 * 1024;
/// The concurrent requests that Google's front ends accept on one connection.
const STREAMS: usize = 100;
/// The maximum number of connections for one app.
const MAX_CONNECTIONS: usize = 16;

/// Idle connections are closed, because networks drop them silently; a ping tests one without a response.
const TIMING: Timing = Timing {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(10),
    grow_after: Duration::from_millis(50),
    ping_after: Duration::from_secs(300),
    ping_timeout: Duration::from_secs(4),
    idle: Some(Duration::from_secs(180)),
    backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
};

/// More token endpoints than one account has.
const MAX_TOKEN_ORIGINS: u64 = 8;

/// An account has one request in flight, and backs off itself.
const TOKEN_OPTIONS: Options = Options {
    protocols: Protocols::Any,
    max_connections: 1,
    max_body: MAX_TOKEN_BODY,
    timing: Timing { backoff: Backoff::new(Duration::ZERO, Duration::ZERO), ..TIMING },
};

/// The connections for the messages of one project.
pub(super) struct Transport {
    path: PathAndQuery,
    client: Client,
}

/// How connections are opened: trusted roots and the proxy.
#[derive(Clone, Debug)]
pub(super) struct Route {
    tls: ClientConfig,
    proxy: ProxyRule,
}

/// Why the settings are unusable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// The TLS settings are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The URL of the messages is invalid.
    #[error("invalid URL for messages: {0}")]
    Url(#[from] InvalidUri),
    /// The URL of the messages contains a password, or no host that a connection can have.
    #[error("base_url: expected an https URL without a password")]
    Origin,
}

impl Transport {
    /// Connections to `url` for `concurrent` messages at the same time.
    ///
    /// # Errors
    /// [`TransportError`] if the URL is unusable.
    pub(super) fn new(
        app: &str,
        url: &Url,
        concurrent: usize,
        route: &Route,
        clock: Clock,
    ) -> Result<Self, TransportError> {
        let connector = route.connector(&[HTTP_2, HTTP_1], route.proxy.clone());
        let options = Options {
            protocols: Protocols::Any,
            max_connections: concurrent.div_ceil(STREAMS).clamp(1, MAX_CONNECTIONS),
            max_body: MAX_BODY,
            timing: TIMING,
        };
        let report = Arc::new(ConnectionReport::new(app, "FCM", "base_url, [outbound] proxy", clock));
        let client = Origin::of(url).and_then(|origin| Client::new(origin, connector, options, report, Gauge::noop()));
        Ok(Self { path: url.path().parse()?, client: client.ok_or(TransportError::Origin)? })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`NoResponse`] if no status arrives.
    pub(super) async fn send(
        &self,
        authorization: Authorization,
        body: Bytes,
        deadline: Instant,
    ) -> Result<UpstreamResponse, NoResponse> {
        self.client.send(&message_request(self.path.clone(), authorization, body), deadline).await
    }
}

impl Route {
    /// The route from the operator's settings.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) fn new(outbound: &Outbound) -> Result<Self, TlsError> {
        Ok(Self { tls: outbound.tls()?, proxy: outbound.proxy_rule() })
    }

    /// A client for token endpoints.
    pub(super) fn client(&self) -> Origins {
        self.client_through(self.proxy.clone())
    }

    /// A client without the proxy.
    pub(super) fn direct_client(&self) -> Origins {
        self.client_through(ProxyRule::default())
    }

    fn client_through(&self, proxy: ProxyRule) -> Origins {
        Origins::new(self.connector(&[HTTP_2, HTTP_1], proxy), MAX_TOKEN_ORIGINS, TOKEN_OPTIONS)
    }

    /// A connector that offers `protocols` by ALPN.
    fn connector(&self, protocols: &[&[u8]], proxy: ProxyRule) -> Connector {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Connector::new(Resolver::System, proxy, tls, TIMING.connect)
    }
}

/// Sends `request` to a token endpoint.
///
/// # Errors
/// [`NoResponse`] if no status arrives.
pub(super) async fn exchange(client: &Origins, request: Request<Full<Bytes>>) -> Result<UpstreamResponse, NoResponse> {
    let (head, body) = request.into_parts();
    let origin = Url::parse(&head.uri.to_string()).ok().and_then(|url| Origin::of(&url));
    let origin = origin.ok_or(NoResponse::Unreachable { failure: Failure::Dns, retry_after: None })?;
    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let request = UpstreamRequest { method: head.method, path, headers: head.headers, body };
    client.send(&origin, &request, Instant::now() + TIMING.attempt).await
}
