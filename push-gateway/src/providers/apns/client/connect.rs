//! Opens TLS connections that speak HTTP/2.
//!
//! Invariant: certificate and name are always verified, and a server that does not choose `h2` is none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::proxy::Proxy;

/// How long one address may be silent before the next is tried beside it (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// A name with more addresses than this is not tried any further.
const MAX_ADDRESSES: usize = 8;

/// Where Apple, or what stands for it, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Endpoint {
    host: Host<String>,
    port: u16,
    authority: Authority,
}

/// Opens connections to one endpoint.
pub(in super::super) struct Connector {
    endpoint: Endpoint,
    name: ServerName<'static>,
    tls: TlsConnector,
    proxy: Option<Proxy>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct NoConnection {
    /// A label from a closed set.
    pub(in super::super) reason: &'static str,
    /// When it will be tried again.
    pub(in super::super) retry_after: Option<Duration>,
}

/// Why an attempt to connect came to nothing, for the log too.
#[derive(Debug)]
pub(super) struct Unreachable {
    /// A label from a closed set.
    pub(super) reason: &'static str,
    /// Not escaped.
    pub(super) detail: String,
}

impl Unreachable {
    pub(super) fn new(reason: &'static str, error: &dyn std::fmt::Display) -> Self {
        Self { reason, detail: error.to_string() }
    }
}

impl Endpoint {
    /// Reads `https://host[:port]`; `None` for anything else.
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare = url.scheme() == "https" && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let (host, port) = (url.host()?.to_owned(), url.port_or_known_default()?);
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        Some(Self { host, port, authority: authority.parse().ok()? })
    }

    pub(in super::super) fn host(&self) -> String {
        self.host.to_string()
    }
}

impl Connector {
    /// `None` if the endpoint's host cannot be verified.
    pub(in super::super) fn new(
        endpoint: Endpoint,
        mut tls: rustls::ClientConfig,
        proxy: Option<Proxy>,
    ) -> Option<Self> {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let name = match &endpoint.host {
            Host::Domain(name) => ServerName::try_from(name.clone()).ok()?,
            Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
            Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
        };
        Some(Self { endpoint, name, tls: TlsConnector::from(Arc::new(tls)), proxy })
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.endpoint.authority
    }

    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, Unreachable> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let tcp = match (&self.proxy, host) {
            (Some(proxy), _) => proxy.tunnel(&host.to_string(), *port).await,
            (None, Host::Domain(name)) => {
                let addresses = tokio::net::lookup_host((name.as_str(), *port)).await;
                let addresses: Vec<_> =
                    addresses.map_err(|error| Unreachable::new("dns", &error))?.take(MAX_ADDRESSES).collect();
                race(&addresses).await
            }
            (None, Host::Ipv4(ip)) => TcpStream::connect((*ip, *port)).await,
            (None, Host::Ipv6(ip)) => TcpStream::connect((*ip, *port)).await,
        };
        let tcp = tcp.map_err(|error| Unreachable::new("connect", &error))?;
        // Without it each request waits for the acknowledgement of the one before, 40 ms.
        tcp.set_nodelay(true).map_err(|error| Unreachable::new("connect", &error))?;
        let stream = self.tls.connect(self.name.clone(), tcp).await.map_err(|error| Unreachable::new("tls", &error))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(Unreachable::new("tls", &"the server does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

/// Connects to whichever address answers first, in their order, without waiting for the silent ones.
async fn race(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut rest = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    attempts.extend(rest.next().map(TcpStream::connect));
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    loop {
        tokio::select! {
            finished = attempts.next() => match finished {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    last = error;
                    attempts.extend(rest.next().map(TcpStream::connect));
                }
                None => return Err(last),
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if rest.len() > 0 => {
                attempts.extend(rest.next().map(TcpStream::connect));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn an_endpoint_is_a_host_with_or_without_a_port() {
        for (text, authority, port) in [
            ("https://api.push.apple.com:443", "api.push.apple.com", 443),
            ("https://api.push.apple.com", "api.push.apple.com", 443),
            ("https://127.0.0.1:8443/", "127.0.0.1:8443", 8443),
            ("https://[::1]:2197", "[::1]:2197", 2197),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.authority.as_str(), endpoint.port), (authority, port), "{text}");
        }
        for text in [
            "",
            "api.push.apple.com:443",
            "http://a.example",
            "https://a.example/3",
            "https://u@a.example",
            "https://a.example?x",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
