//! Opens outbound connections: resolution, address guard, Happy Eyeballs, proxy and TLS.
//!
//! Invariant: every connection that the services open starts here, except those to PostgreSQL and to name
//! servers, whose clients open their own.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
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
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Host;

use super::failure::{ConnectError, Failure};
use super::failure_log::FailureLog;
use super::happy_eyeballs::{self, MAX_ADDRESSES};
use super::proxy::{Proxy, ProxyRule};
use super::resolver::Resolver;
use super::stream::{Hop, Stream};
use super::tls::server_name;

/// Opens connections. Clones share the settings and the TLS sessions.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    proxy: ProxyRule,
    tls: Option<TlsConnector>,
    /// For a proxy that is reached by TLS: the same roots, and HTTP/1.1.
    proxy_tls: Option<TlsConnector>,
    failures: FailureLog,
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
        Some(Self { tls: Some(server_name(&target.host)?), ..target })
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

/// How many addresses may still be tried.
#[derive(Clone, Copy, Debug)]
pub struct AddressBudget(usize);

impl AddressBudget {
    /// A budget of that many addresses.
    pub const fn new(addresses: usize) -> Self {
        Self(addresses)
    }

    /// Whether no address is left.
    pub fn is_used_up(self) -> bool {
        self.0 == 0
    }

    /// Shortens the addresses of one host to those that may be tried, and counts them.
    fn take(&mut self, addresses: &mut Vec<SocketAddr>) {
        addresses.truncate(self.0.min(MAX_ADDRESSES));
        self.0 -= addresses.len();
    }
}

impl Connector {
    /// A connector with `tls` from [`super::tls::client_config`], including the ALPN protocols. `timeout` limits each
    /// connection from resolution to the end of the TLS handshake.
    pub fn new(resolver: Resolver, proxy: ProxyRule, tls: ClientConfig, timeout: Duration) -> Self {
        let mut proxy_tls = tls.clone();
        proxy_tls.alpn_protocols.clear();
        let [tls, proxy_tls] = [tls, proxy_tls].map(|config| Some(TlsConnector::from(Arc::new(config))));
        Self(Arc::new(Inner { resolver, proxy, tls, proxy_tls, failures: FailureLog::default(), timeout }))
    }

    /// A connector without TLS and proxy, for hosts from the configuration.
    pub fn plain(timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            resolver: Resolver::System,
            proxy: ProxyRule::default(),
            tls: None,
            proxy_tls: None,
            failures: FailureLog::default(),
            timeout,
        }))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`ConnectError`] with the phase that failed.
    pub async fn connect(&self, target: &Target) -> Result<Stream, ConnectError> {
        self.connect_within(target, &mut AddressBudget::new(MAX_ADDRESSES)).await
    }

    /// As [`Connector::connect`], for one of several targets of the same server, whose addresses have a common budget.
    ///
    /// # Errors
    /// As [`Connector::connect`]; [`Failure::Connect`] if the budget is used up.
    pub async fn connect_within(&self, target: &Target, budget: &mut AddressBudget) -> Result<Stream, ConnectError> {
        self.in_time(async {
            let stream = self.tcp(target, budget).await?;
            match &target.tls {
                Some(name) => self.handshake(stream, name.clone()).await,
                None => Ok(Stream::plain(stream)),
            }
        })
        .await
    }

    /// Starts TLS on a connection that was opened without it, after the protocol's own request (STARTTLS).
    ///
    /// # Errors
    /// [`ConnectError`] if the handshake fails, or the connection has TLS already.
    pub async fn start_tls(&self, stream: Stream, name: ServerName<'static>) -> Result<Stream, ConnectError> {
        let stream = stream.into_plain().ok_or(Failure::Tls)?;
        self.in_time(self.handshake(stream, name)).await
    }

    async fn handshake(&self, stream: Hop, name: ServerName<'static>) -> Result<Stream, ConnectError> {
        let tls = self.0.tls.as_ref().ok_or(Failure::Tls)?;
        tls.connect(name.clone(), stream).await.map(Stream::tls).map_err(|error| {
            let error = ConnectError::new(Failure::Tls, &error);
            self.0.failures.tls(&name, &error);
            error
        })
    }

    async fn tcp(&self, target: &Target, budget: &mut AddressBudget) -> Result<Hop, ConnectError> {
        let Inner { resolver, proxy, proxy_tls, .. } = &*self.0;
        match (proxy.find(&target.host, target.port), resolver) {
            (Some(proxy), Resolver::System) => {
                self.through(proxy, proxy.tunnel(&target.authority(), proxy_tls.as_ref())).await
            }
            (proxy, resolver) => {
                let mut addresses = resolver.addresses(&target.host, target.port, target.is_exempt).await?;
                budget.take(&mut addresses);
                if let Some(proxy) = proxy {
                    return self.through(proxy, proxy.tunnel_to_first(&addresses, proxy_tls.as_ref())).await;
                }
                Ok(Hop::Tcp(happy_eyeballs::connect(&addresses).await?))
            }
        }
    }

    /// Opens a connection for requests to `uri`. A proxy forwards requests to `http` URLs and tunnels `https`.
    async fn connect_to_uri(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let target = Target::of(uri).ok_or(Failure::Dns)?;
        match (self.0.proxy.find(&target.host, target.port), &self.0.resolver, &target.tls) {
            (Some(proxy), Resolver::System, None) => {
                let connecting = self.through(proxy, proxy.connect(self.0.proxy_tls.as_ref()));
                self.in_time(async { connecting.await.map(Stream::forward_proxy) }).await
            }
            _ => self.connect(&target).await,
        }
    }

    /// `Proxy-Authorization` for a request to `uri` that a proxy forwards; a tunnel sends its own.
    pub(super) fn forward_authorization(&self, uri: &Uri) -> Option<&HeaderValue> {
        let Resolver::System = self.0.resolver else { return None };
        let target = Target::of(uri).filter(|target| target.tls.is_none())?;
        self.0.proxy.find(&target.host, target.port)?.authorization()
    }

    /// Names the proxy in the error of `connecting`, and in the log.
    async fn through<T>(
        &self,
        proxy: &Proxy,
        connecting: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        connecting.await.map_err(|error| {
            let error = error.through(proxy);
            self.0.failures.proxy(proxy, &error);
            error
        })
    }

    async fn in_time<T>(&self, opening: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
        tokio::time::timeout(self.0.timeout, opening).await.unwrap_or_else(|_| Err(Failure::ConnectTimeout.into()))
    }
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

#[cfg(test)]
mod tests {
    use super::{AddressBudget, MAX_ADDRESSES};

    #[test]
    fn the_targets_of_a_server_share_a_budget_of_addresses() {
        let mut budget = AddressBudget::new(16);
        let mut take = |number: u16| {
            let mut addresses = (0..number).map(|port| ([127, 0, 0, 1], port).into()).collect();
            budget.take(&mut addresses);
            (addresses.len(), budget.is_used_up())
        };
        assert_eq!([take(3), take(20), take(8), take(1)], [(3, false), (8, false), (5, true), (0, true)]);
        assert_eq!(MAX_ADDRESSES, 8);
    }
}
