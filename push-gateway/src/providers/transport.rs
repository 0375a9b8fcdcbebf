//! Connections to a push service whose address the operator knows, and to its token endpoint.
//!
//! Invariant: a status that arrived decides, even if the body does not arrive. The client holds at most 16 KiB of a body
//! and follows no redirect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
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
use url::{Host, Position, Url};

use super::connection_report::ConnectionReport;
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
pub(crate) const MAX_TOKEN_BODY: usize = 64 * 1024;
/// The concurrent requests that front ends such as Google's accept on one connection.
const STREAMS: usize = 100;
/// The maximum number of connections for one app.
const MAX_CONNECTIONS: usize = 16;
/// The same over HTTP/1.1.
const MAX_HTTP1_CONNECTIONS: usize = 512;

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
    max_http1_connections: 1,
    max_body: MAX_TOKEN_BODY,
    timing: Timing { backoff: Backoff::new(Duration::ZERO, Duration::ZERO), ..TIMING },
};

/// The connections for the messages to one URL.
pub(crate) struct Transport {
    path: PathAndQuery,
    client: Client,
}

/// The push service at the other end, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    /// What to check if it refuses connections.
    pub(crate) advice: &'static str,
}

/// How connections are opened: trusted roots and the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Route {
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
    #[error("expected an https URL without a password")]
    Origin,
}

impl Transport {
    /// Posts one message.
    ///
    /// # Errors
    /// [`NoResponse`] if no status arrives.
    pub(crate) async fn post(
        &self,
        mut headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<UpstreamResponse, NoResponse> {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        self.client.send(&UpstreamRequest::post(self.path.clone(), headers, body), deadline).await
    }

    /// Connects unless there is a connection, and waits for it.
    ///
    /// # Errors
    /// [`NoResponse`] if there is none.
    pub(crate) async fn check(&self) -> Result<(), NoResponse> {
        self.client.check().await
    }
}

impl Route {
    /// The route from the operator's settings.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(crate) fn new(outbound: &Outbound) -> Result<Self, TlsError> {
        Ok(Self { tls: outbound.tls()?, proxy: outbound.proxy_rule() })
    }

    /// Connections to `url` for `concurrent` messages of `app` at the same time.
    ///
    /// # Errors
    /// [`TransportError`] if the URL is unusable.
    pub(crate) fn to(
        &self,
        url: &Url,
        service: Service,
        app: &str,
        concurrent: usize,
        clock: Clock,
    ) -> Result<Transport, TransportError> {
        let connector = self.connector(&[HTTP_2, HTTP_1], self.proxy.clone());
        let options = Options {
            protocols: Protocols::Any,
            max_connections: concurrent.div_ceil(STREAMS).clamp(1, MAX_CONNECTIONS),
            max_http1_connections: concurrent.min(MAX_HTTP1_CONNECTIONS),
            max_body: MAX_BODY,
            timing: TIMING,
        };
        let report = Arc::new(ConnectionReport::new(app, service.name, service.advice, clock));
        let client = Origin::of(url).and_then(|origin| Client::new(origin, connector, options, report, Gauge::noop()));
        let path = url[Position::BeforePath..Position::AfterQuery].parse()?;
        Ok(Transport { path, client: client.ok_or(TransportError::Origin)? })
    }

    /// A client for token endpoints.
    pub(crate) fn client(&self) -> Origins {
        self.client_through(self.proxy.clone())
    }

    /// A client without the proxy.
    pub(crate) fn direct_client(&self) -> Origins {
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
pub(crate) async fn exchange(client: &Origins, request: Request<Full<Bytes>>) -> Result<UpstreamResponse, NoResponse> {
    let (head, body) = request.into_parts();
    let origin = Url::parse(&head.uri.to_string()).ok().and_then(|url| Origin::of(&url));
    let origin = origin.ok_or(NoResponse::Unreachable { failure: Failure::Dns, retry_after: None })?;
    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let request = UpstreamRequest { method: head.method, path, headers: head.headers, body };
    client.send(&origin, &request, Instant::now() + TIMING.attempt).await
}

/// The warning about a URL of plain http, with its key; the gateway's own host is fine.
pub(crate) fn unencrypted_notice(key: &'static str, text: &str) -> Option<(&'static str, String)> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http")?;
    let is_own = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    (!is_own).then(|| (key, String::from("is http: notifications and credentials travel unencrypted; use https")))
}

/// Reads an `https` or `http` URL without a query.
///
/// # Errors
/// The problem, with its key.
pub(crate) fn plain_url(key: &str, text: &str) -> Result<Url, String> {
    let is_plain = |url: &Url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_bare = !has_user && url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "https" | "http") && url.has_host() && is_bare
    };
    let url = Url::parse(text).ok().filter(is_plain);
    url.ok_or_else(|| format!("{key}: expected an https URL without a query and a password"))
}
