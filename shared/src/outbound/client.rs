//! An HTTP client for URLs that strangers choose or redirect: every address is judged before it is connected to.
//!
//! Invariant: it follows no redirect, decodes no content, keeps no cookie, and never holds more of a reply than the
//! caller asked for.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{Proxy, Request, StatusCode, Url};
use url::Host;

use super::dns::Dns;
use super::failure::Failure;
use super::guard::{AddressGuard, port_is_usual};

/// What a [`Client`] is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Judges every address.
    pub guard: AddressGuard,
    /// Resolves every name, except behind a proxy, where it serves the judgement alone.
    pub dns: Dns,
    /// From [`super::tls::client_config`].
    pub tls: rustls::ClientConfig,
    /// An `http://` proxy for everything. Its own address is the operator's, and exempt.
    pub proxy: Option<Url>,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// For everything from the name look-up to the last byte of the reply.
    pub total_timeout: Duration,
}

/// A guarded HTTP client with a pool of connections. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Client {
    usual_ports: reqwest::Client,
    other_ports: reqwest::Client,
    guard: AddressGuard,
    dns: Dns,
    proxied: bool,
    total_timeout: Duration,
}

/// A reply, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code, redirects included.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body as it was sent.
    pub body: Vec<u8>,
}

/// The HTTP library refused the settings.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client: {0}")]
pub struct SetupError(#[source] reqwest::Error);

impl Client {
    /// A client after `settings`.
    ///
    /// # Errors
    /// [`SetupError`] if the library refuses them, for example the proxy's URL.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let proxied = settings.proxy.is_some();
        // A resolver is not told the port. So that the port rule holds for exactly the addresses that are used, URLs
        // with an unusual port have a client of their own, whose resolver answers as for the first such port.
        let client = |port| {
            let guard = if proxied { AddressGuard::unrestricted() } else { settings.guard.clone() };
            build(settings, GuardedResolver { dns: settings.dns.clone(), guard, port })
        };
        Ok(Self {
            usual_ports: client(443)?,
            other_ports: client(1)?,
            guard: settings.guard.clone(),
            dns: settings.dns.clone(),
            proxied,
            total_timeout: settings.total_timeout,
        })
    }

    /// Sends `request` and reads at most `max_reply` bytes of the reply's body.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::Blocked`] means that nothing was sent to anyone.
    pub async fn send(&self, request: Request, max_reply: usize) -> Result<Reply, Failure> {
        let exchange = async {
            self.judge(request.url()).await?;
            let client = if self.has_usual_port(request.url()) { &self.usual_ports } else { &self.other_ports };
            let mut response = client.execute(request).await.map_err(|error| Failure::of(&error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of(&error))? {
                if body.len() + chunk.len() > max_reply {
                    return Err(Failure::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Reply { status, headers, body })
        };
        tokio::time::timeout(self.total_timeout, exchange).await.unwrap_or(Err(Failure::Timeout))
    }

    /// Judges what no resolver sees: addresses written in the URL and, behind a proxy, everything.
    async fn judge(&self, url: &Url) -> Result<(), Failure> {
        let port = url.port_or_known_default().ok_or(Failure::Blocked)?;
        let literal = match url.host().ok_or(Failure::Blocked)? {
            Host::Ipv4(ip) => IpAddr::V4(ip),
            Host::Ipv6(ip) => IpAddr::V6(ip),
            Host::Domain(name) if self.proxied => {
                return permitted(&self.dns, &self.guard, name, port).await.map(drop);
            }
            Host::Domain(_) => return Ok(()),
        };
        if self.guard.permits(SocketAddr::new(literal, port)) { Ok(()) } else { Err(Failure::Blocked) }
    }

    fn has_usual_port(&self, url: &Url) -> bool {
        url.port_or_known_default().is_some_and(port_is_usual)
    }
}

/// The addresses of `name` that the guard permits at `port`; at least one.
///
/// # Errors
/// [`Failure::Dns`] if the name has no address, [`Failure::Blocked`] if it has none that is permitted.
pub async fn permitted(dns: &Dns, guard: &AddressGuard, name: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let mut found = dns.addresses(name).await.map_err(|error| {
        tracing::debug!(%error, "a name does not resolve");
        Failure::Dns
    })?;
    if found.is_empty() {
        return Err(Failure::Dns);
    }
    found.retain(|&ip| guard.permits(SocketAddr::new(ip, port)));
    if found.is_empty() {
        return Err(Failure::Blocked);
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

#[expect(clippy::disallowed_types, reason = "to turn redirects off")]
fn build(settings: &Settings, resolver: GuardedResolver) -> Result<reqwest::Client, SetupError> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .tls_backend_preconfigured(settings.tls.clone())
        .dns_resolver(std::sync::Arc::new(resolver))
        .connect_timeout(settings.connect_timeout);
    if let Some(proxy) = &settings.proxy {
        builder = builder.proxy(Proxy::all(proxy.clone()).map_err(SetupError)?);
    }
    builder.build().map_err(SetupError)
}

/// Answers with the permitted addresses of a name only, so that what was judged is what is connected to.
struct GuardedResolver {
    dns: Dns,
    guard: AddressGuard,
    port: u16,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (dns, guard, port) = (self.dns.clone(), self.guard.clone(), self.port);
        let found = async move {
            let addresses = permitted(&dns, &guard, name.as_str(), port).await?;
            // Port 0 stands for "the one in the URL".
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address.ip(), 0))) as Addrs)
        };
        Box::pin(found) as Pin<Box<dyn Future<Output = _> + Send>>
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::{Method, Request};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Client, Settings};
    use crate::outbound::dns::Dns;
    use crate::outbound::failure::Failure;
    use crate::outbound::guard::AddressGuard;
    use crate::outbound::tls;

    /// A client that may go to `allowed` besides the public network, and knows no name but `localhost`.
    fn client(allowed: &[&str]) -> Client {
        let allowed: Vec<_> = allowed.iter().map(|cidr| cidr.parse().unwrap()).collect();
        Client::new(&Settings {
            guard: AddressGuard::new(&allowed, &[]),
            dns: Dns::new(&["127.0.0.1:9".parse().unwrap()]).unwrap(),
            tls: tls::client_config(None, false).unwrap(),
            proxy: None,
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(5),
        })
        .unwrap()
    }

    async fn get(client: &Client, url: &str, max: usize) -> Result<(u16, usize), Failure> {
        let reply = client.send(Request::new(Method::GET, url.parse().unwrap()), max).await?;
        Ok((reply.status.as_u16(), reply.body.len()))
    }

    #[tokio::test]
    async fn only_what_is_allowed_is_reached_and_only_what_is_wanted_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepted, mut connections) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.send(()).unwrap();
                let mut head = [0; 1024];
                let _read = stream.read(&mut head).await;
                let reply = "HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789";
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        let closed = client(&[]);
        for host in ["localhost", "127.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]", "[::1]", "0"] {
            assert_eq!(get(&closed, &format!("http://{host}:{port}/"), 10).await, Err(Failure::Blocked), "{host}");
        }
        assert_eq!(get(&closed, "http://9.9.9.9:25/", 10).await, Err(Failure::Blocked));
        assert!(connections.try_recv().is_err(), "a connection was made");

        let open = client(&["127.0.0.1"]);
        for host in ["localhost", "127.0.0.1", "127.1"] {
            assert_eq!(get(&open, &format!("http://{host}:{port}/"), 10).await, Ok((302, 10)), "{host}");
            assert_eq!(get(&open, &format!("http://{host}:{port}/"), 9).await, Err(Failure::TooLarge), "{host}");
        }
        // The operator's word also covers ports that nobody else may be sent to.
        assert_eq!(get(&open, "http://localhost:1/", 10).await, Err(Failure::Connect));
        assert_eq!(get(&closed, "http://localhost:1/", 10).await, Err(Failure::Blocked));
    }
}
