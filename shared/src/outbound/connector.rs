//! Opens outbound connections: resolution, address guard, Happy Eyeballs, proxy and TLS.
//!
//! Invariant: every connection that the services open starts here, except those to PostgreSQL and to name
//! servers, whose clients open their own.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Host;

use super::failure::{ConnectError, Failure};
use super::happy_eyeballs;
use super::proxy::ProxyRule;
use super::resolver::Resolver;
use super::stream::Stream;
use super::tls_failures::TlsFailures;

/// TCP keep-alive: networks drop idle connections silently.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

/// Opens connections. Clones share the settings and the TLS sessions.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    proxy: ProxyRule,
    tls: Option<TlsConnector>,
    tls_failures: TlsFailures,
    timeout: Duration,
}

/// The destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host to connect to.
    pub host: Host<String>,
    /// The TCP port.
    pub port: u16,
    /// The name in the server's certificate; without it the connection has no TLS.
    pub tls: Option<ServerName<'static>>,
    /// Whether the operator configured this host, so that the address guard permits all its addresses.
    pub is_exempt: bool,
}

impl Target {
    /// A target without TLS. `None` if `host` is neither a host name nor an address, with or without brackets.
    pub fn tcp(host: &str, port: u16) -> Option<Self> {
        let host = match host.parse() {
            Ok(IpAddr::V4(ip)) => Host::Ipv4(ip),
            Ok(IpAddr::V6(ip)) => Host::Ipv6(ip),
            Err(_) => Host::parse(host).ok()?,
        };
        Some(Self { host, port, tls: None, is_exempt: false })
    }

    /// A target with TLS and a certificate for the host. `None` as for [`Target::tcp`].
    pub fn tls(host: &str, port: u16) -> Option<Self> {
        let target = Self::tcp(host, port)?;
        let name = match &target.host {
            Host::Domain(name) => ServerName::try_from(name.clone()).ok()?,
            Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
        };
        Some(Self { tls: Some(name), ..target })
    }

    /// The target of an `http` or `https` URL.
    fn of(uri: &Uri) -> Option<Self> {
        let host = uri.host()?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Self::tls(host, uri.port_u16().unwrap_or(443)),
            Some(scheme) if *scheme == Scheme::HTTP => Self::tcp(host, uri.port_u16().unwrap_or(80)),
            _ => None,
        }
    }

    /// The authority in a CONNECT request.
    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Connector {
    /// A connector with `tls` from [`super::tls::client_config`], including the ALPN protocols. `timeout` limits each
    /// connection from resolution to the end of the TLS handshake.
    pub fn new(resolver: Resolver, proxy: ProxyRule, tls: ClientConfig, timeout: Duration) -> Self {
        let tls = Some(TlsConnector::from(Arc::new(tls)));
        Self(Arc::new(Inner { resolver, proxy, tls, tls_failures: TlsFailures::default(), timeout }))
    }

    /// A connector without TLS and proxy, for hosts from the configuration.
    pub fn plain(timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            resolver: Resolver::System,
            proxy: ProxyRule::default(),
            tls: None,
            tls_failures: TlsFailures::default(),
            timeout,
        }))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`ConnectError`] with the phase that failed.
    pub async fn connect(&self, target: &Target) -> Result<Stream, ConnectError> {
        self.in_time(async {
            let stream = self.tcp(target).await?;
            match &target.tls {
                Some(name) => self.handshake(stream, name.clone()).await,
                None => Ok(Stream::tcp(stream)),
            }
        })
        .await
    }

    /// Starts TLS on a connection that was opened without it, after the protocol's own request (STARTTLS).
    ///
    /// # Errors
    /// [`ConnectError`] if the handshake fails, or the connection has TLS already.
    pub async fn start_tls(&self, stream: Stream, name: ServerName<'static>) -> Result<Stream, ConnectError> {
        let stream = stream.into_tcp().ok_or(Failure::Tls)?;
        self.in_time(self.handshake(stream, name)).await
    }

    async fn handshake(&self, stream: TcpStream, name: ServerName<'static>) -> Result<Stream, ConnectError> {
        let tls = self.0.tls.as_ref().ok_or(Failure::Tls)?;
        tls.connect(name.clone(), stream).await.map(Stream::tls).map_err(|error| {
            let error = ConnectError::new(Failure::Tls, &error);
            self.0.tls_failures.report(&name, &error);
            error
        })
    }

    async fn tcp(&self, target: &Target) -> Result<TcpStream, ConnectError> {
        let Inner { resolver, proxy, .. } = &*self.0;
        let stream = match (proxy.find(&target.host), resolver) {
            (Some(proxy), Resolver::System) => proxy.tunnel(&target.authority()).await?,
            (proxy, resolver) => {
                let addresses = resolver.addresses(&target.host, target.port, target.is_exempt).await?;
                match proxy {
                    Some(proxy) => proxy.tunnel_to_first(&addresses).await?,
                    None => happy_eyeballs::connect(&addresses).await?,
                }
            }
        };
        set_options(&stream)?;
        Ok(stream)
    }

    /// Opens a connection for requests to `uri`. A proxy forwards requests to `http` URLs and tunnels `https`.
    async fn connect_to_uri(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let target = Target::of(uri).ok_or(Failure::Dns)?;
        match (self.0.proxy.find(&target.host), &self.0.resolver, &target.tls) {
            (Some(proxy), Resolver::System, None) => {
                self.in_time(async {
                    let stream = proxy.connect().await?;
                    set_options(&stream)?;
                    Ok(Stream::forward_proxy(stream))
                })
                .await
            }
            _ => self.connect(&target).await,
        }
    }

    /// `Proxy-Authorization` for a request to `uri` that a proxy forwards; a tunnel sends its own.
    pub(super) fn forward_authorization(&self, uri: &Uri) -> Option<&HeaderValue> {
        let Resolver::System = self.0.resolver else { return None };
        let target = Target::of(uri).filter(|target| target.tls.is_none())?;
        self.0.proxy.find(&target.host)?.authorization()
    }

    async fn in_time<T>(&self, opening: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
        tokio::time::timeout(self.0.timeout, opening).await.unwrap_or_else(|_| Err(Failure::ConnectTimeout.into()))
    }
}

/// Without `TCP_NODELAY` each request waits up to 40 ms for the acknowledgement of the previous one.
fn set_options(stream: &TcpStream) -> Result<(), ConnectError> {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    let set = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    set.map_err(|error| ConnectError::new(Failure::Connect, &error))
}

/// For the connection pool of the HTTP client.
impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect_to_uri(&uri).await.map(TokioIo::new) })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}
