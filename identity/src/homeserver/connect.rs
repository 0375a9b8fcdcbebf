//! Opens TLS connections to homeservers for the HTTP client's pool.
//!
//! Invariant: the certificate is verified for the name in the URL, wherever the connection goes; and it goes only to
//! addresses that [`Resolver`] judged.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::pki_types;
use shared::outbound::failure::Failure;
use shared::secret::Secret;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;
use url::Url;

use super::resolve::{Resolver, Target};
use crate::domain::server_name::ServerName;

/// How long one address may be silent before the next is tried beside it (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// A name with more addresses than this is not tried any further.
const MAX_ADDRESSES: usize = 8;

/// Opens a connection for a URL whose authority is a server name after delegation.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    resolver: Arc<Resolver>,
    tls: TlsConnector,
    proxy: Option<Proxy>,
    timeout: Duration,
}

/// A proxy that is asked to CONNECT. It is told addresses, never names, so it cannot resolve to something else.
pub(super) struct Proxy {
    url: Url,
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// The `proxy` setting cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("federation.proxy: expected \"http://[user:password@]host:port\"")]
pub struct InvalidProxy;

/// A TLS connection to a homeserver.
pub(super) struct Wire(TokioIo<TlsStream<TcpStream>>);

impl Connector {
    pub(super) fn new(
        resolver: Arc<Resolver>,
        tls: rustls::ClientConfig,
        proxy: Option<Proxy>,
        timeout: Duration,
    ) -> Self {
        Self(Arc::new(Inner { resolver, tls: TlsConnector::from(Arc::new(tls)), proxy, timeout }))
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let authority = uri.authority().ok_or(Failure::Other)?;
            let name = ServerName::parse(authority.as_str()).map_err(|_| Failure::Other)?;
            inner.connect(&name).await
        })
    }
}

impl Inner {
    /// Tries one target after the other; the last one's failure is the answer if none serves.
    async fn connect(&self, name: &ServerName) -> Result<Wire, Failure> {
        let targets = self.resolver.targets(name).await?;
        let tls_name = match name.ip() {
            Some(ip) => pki_types::ServerName::from(ip),
            None => pki_types::ServerName::try_from(name.host().to_owned()).map_err(|_| Failure::Dns)?,
        };
        let mut last = Failure::Dns;
        for target in targets {
            let reached = tokio::time::timeout(self.timeout, self.reach(&target, tls_name.clone())).await;
            match reached.unwrap_or(Err(Failure::Timeout)) {
                Ok(stream) => return Ok(Wire(TokioIo::new(stream))),
                Err(failure) => {
                    tracing::debug!(server = %name, ?target, "no connection: {failure}");
                    last = failure;
                }
            }
        }
        Err(last)
    }

    async fn reach(
        &self,
        target: &Target,
        tls_name: pki_types::ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let mut addresses = self.resolver.addresses(target).await?;
        addresses.truncate(MAX_ADDRESSES);
        let tcp = match &self.proxy {
            Some(proxy) => proxy.tunnel(&addresses).await?,
            None => race(&addresses).await?,
        };
        tcp.set_nodelay(true).map_err(|_| Failure::Connect)?;
        self.tls.connect(tls_name, tcp).await.map_err(|error| {
            tracing::debug!(?target, %error, "no TLS session");
            Failure::Tls
        })
    }
}

/// Connects to whichever address answers first, in their order, without waiting for the silent ones.
async fn race(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut rest = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    attempts.extend(rest.next().map(TcpStream::connect));
    loop {
        tokio::select! {
            finished = attempts.next() => match finished {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(_)) => attempts.extend(rest.next().map(TcpStream::connect)),
                None => return Err(Failure::Connect),
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if rest.len() > 0 => {
                attempts.extend(rest.next().map(TcpStream::connect));
            }
        }
    }
}

impl Proxy {
    /// Reads the setting; the error does not repeat it, since it may hold a password.
    pub(super) fn parse(setting: &Secret<String>) -> Result<Self, InvalidProxy> {
        let url = Url::parse(setting.expose()).map_err(|_| InvalidProxy)?;
        let host = url.host_str().filter(|_| url.scheme() == "http").ok_or(InvalidProxy)?;
        let port = url.port_or_known_default().ok_or(InvalidProxy)?;
        let uri = format!("http://{host}:{port}").parse().map_err(|_| InvalidProxy)?;
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(basic(user, password.unwrap_or_default())?),
        };
        Ok(Self { url, uri, authorization })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    async fn tunnel(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        for address in addresses {
            let mut tunnel = Tunnel::new(self.uri.clone(), HttpConnector::new());
            if let Some(authorization) = &self.authorization {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            let uri = format!("https://{address}").parse().map_err(|_| Failure::Other)?;
            match tunnel.call(uri).await {
                Ok(stream) => return Ok(stream.into_inner()),
                Err(error) => tracing::debug!(%address, %error, "the proxy makes no connection"),
            }
        }
        Err(Failure::Connect)
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, InvalidProxy> {
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).map_err(|_| InvalidProxy)
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
