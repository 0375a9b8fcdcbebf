//! The HTTP proxy for outbound connections.
//!
//! Invariant: no error, log line or debug output contains its password.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::{Host, Url};

use super::failure::{ConnectError, Failure};
use super::happy_eyeballs::{self, MAX_ADDRESSES};
use super::no_proxy::Exemption;
use super::resolver::system_addresses;
use super::stream::Hop;
use super::tls::server_name;
use crate::config::Globs;

/// A proxy that supports CONNECT: `http://[user:password@]host:port`, or `https://` for one that is reached by TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    is_tls: bool,
    host: Host<String>,
    port: u16,
    authorization: Option<HeaderValue>,
}

/// The text is not the URL of a proxy. The error does not repeat it, because it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    /// No URL of an HTTP proxy.
    #[error("expected \"http://[user:password@]host:port\" or \"https://…\"")]
    Form,
    /// SOCKS.
    #[error("SOCKS proxies are not supported; expected \"http://[user:password@]host:port\" or \"https://…\"")]
    Socks,
}

/// The proxy, and the hosts that are connected to without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyRule {
    proxy: Option<Proxy>,
    exempt: Vec<Exemption>,
}

impl Proxy {
    /// The value of `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Connects to the proxy itself. The operator configured its address, so the address guard does not apply.
    pub(super) async fn connect(&self, tls: Option<&TlsConnector>) -> Result<Hop, ConnectError> {
        let addresses = system_addresses(&self.host, self.port).await?;
        let stream = happy_eyeballs::connect(&addresses).await?;
        if !self.is_tls {
            return Ok(Hop::Tcp(stream));
        }
        let tls = tls.ok_or(Failure::Tls)?;
        let name = server_name(&self.host).ok_or(Failure::Tls)?;
        let stream = tls.connect(name, stream).await.map_err(|error| ConnectError::new(Failure::Tls, &error))?;
        Ok(Hop::Tls(Box::new(stream)))
    }

    /// Opens a tunnel to the first address that the proxy can connect to.
    pub(super) async fn tunnel_to_first(
        &self,
        addresses: &[SocketAddr],
        tls: Option<&TlsConnector>,
    ) -> Result<Hop, ConnectError> {
        let mut last = ConnectError::from(Failure::Connect);
        for address in addresses.iter().take(MAX_ADDRESSES) {
            match self.tunnel(&address.to_string(), tls).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Opens a tunnel to `authority`, a host or an address with a port.
    pub(super) async fn tunnel(&self, authority: &str, tls: Option<&TlsConnector>) -> Result<Hop, ConnectError> {
        let invalid = |error: hyper::http::Error| ConnectError::new(Failure::Connect, &error);
        let uri = |authority: &str| Uri::builder().scheme("https").authority(authority).path_and_query("/").build();
        let hop = FirstHop { proxy: self.clone(), tls: tls.cloned() };
        let mut tunnel = Tunnel::new(uri(&format!("{}:{}", self.host, self.port)).map_err(invalid)?, hop);
        if let Some(authorization) = &self.authorization {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let stream = tunnel.call(uri(authority).map_err(invalid)?).await;
        stream.map(TokioIo::into_inner).map_err(|error| ConnectError::new(Failure::Connect, &error))
    }
}

/// Connects to the proxy, for [`Tunnel`].
struct FirstHop {
    proxy: Proxy,
    tls: Option<TlsConnector>,
}

impl Service<Uri> for FirstHop {
    type Response = TokioIo<Hop>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (proxy, tls) = (self.proxy.clone(), self.tls.clone());
        Box::pin(async move { proxy.connect(tls.as_ref()).await.map(TokioIo::new) })
    }
}

impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let text = text.trim();
        // Without a scheme, as curl reads it; then the port is needed.
        let written = match text.split_once("://") {
            Some(_) => text.to_owned(),
            None if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                format!("http://{text}")
            }
            None => return Err(InvalidProxy::Form),
        };
        let url = Url::parse(&written).map_err(|_| InvalidProxy::Form)?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            scheme if scheme.starts_with("socks") => return Err(InvalidProxy::Socks),
            _ => return Err(InvalidProxy::Form),
        };
        let host = url.host().ok_or(InvalidProxy::Form)?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(InvalidProxy::Form)?;
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(basic(user, password.unwrap_or_default())?),
        };
        Ok(Self { is_tls, host, port, authorization })
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", if self.is_tls { "https://" } else { "" }, self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl ProxyRule {
    /// `proxy` for all hosts except those of `no_proxy`: patterns, networks, and either with a port.
    pub fn new(proxy: Option<Proxy>, no_proxy: &Globs) -> Self {
        Self { proxy, exempt: no_proxy.patterns().iter().filter_map(|entry| Exemption::parse(entry)).collect() }
    }

    /// The proxy for connections to this port of `host`.
    pub fn find(&self, host: &Host<String>, port: u16) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.exempt.iter().any(|exempt| exempt.matches(host, port)))
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, InvalidProxy> {
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let mut value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).map_err(|_| InvalidProxy::Form)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use url::Host;

    use super::{InvalidProxy, Proxy, ProxyRule};
    use crate::config::Globs;

    #[test]
    fn user_and_password_are_percent_decoded_and_never_printed() {
        let proxy: Proxy = "http://us%40er:pa:ss@proxy.example:3128".parse().unwrap();
        assert_eq!(proxy.authorization().unwrap(), "Basic dXNAZXI6cGE6c3M=");
        assert_eq!(format!("{proxy:?}"), "Proxy(proxy.example:3128)");
        let other: Proxy = "http://us%40er:other@proxy.example:3128".parse().unwrap();
        assert_ne!(proxy, other);
        let tls: Proxy = "https://proxy.example".parse().unwrap();
        assert_eq!((tls.is_tls, format!("{tls:?}")), (true, "Proxy(proxy.example:443)".to_owned()));
        let open: Proxy = "http://[::1]".parse().unwrap();
        assert_eq!((format!("{open:?}"), open.authorization()), ("Proxy([::1]:80)".to_owned(), None));
    }

    #[test]
    fn only_http_and_https_urls_are_proxies_and_errors_do_not_repeat_them() {
        for text in ["", "hunter2", "ftp://user:hunter2@host:1", "user:hunter2@host", "http://host:0"] {
            assert_eq!(text.parse::<Proxy>(), Err(InvalidProxy::Form), "{text}");
        }
        assert_eq!("socks5h://user:hunter2@host:1".parse::<Proxy>(), Err(InvalidProxy::Socks));
        let without_scheme: Proxy = " user:hunter2@proxy.example:3128 ".parse().unwrap();
        assert_eq!(without_scheme, "http://user:hunter2@proxy.example:3128".parse().unwrap());
        assert_eq!(without_scheme.to_string(), "proxy.example:3128");
        assert_eq!("https://u:p@proxy".parse::<Proxy>().unwrap().to_string(), "https://proxy:443");
    }

    #[test]
    fn exempt_hosts_are_connected_to_without_the_proxy() {
        let rule =
            ProxyRule::new("http://proxy:3128".parse().ok(), &Globs::from(["*.internal", "127.0.0.*", "10.1.0.0/16"]));
        let is_proxied = |host: &str| rule.find(&Host::parse(host).unwrap(), 443).is_some();
        assert!(is_proxied("hs.example") && is_proxied("10.0.0.1"));
        assert!(!is_proxied("hs.internal") && !is_proxied("127.0.0.5") && !is_proxied("10.1.2.3"));
    }
}
