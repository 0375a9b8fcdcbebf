//! The way to Google: HTTP/2 over TLS, one attempt at a time.
//!
//! Invariant: a status that arrived decides, whatever becomes of the body; no more than 16 KiB of one is ever held, and
//! no redirect is followed.

pub(super) mod pauses;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Client, ClientBuilder, Method, Proxy, Request, Url};
use shared::clock::Clock;
use shared::config::{ConfigError, Globs};
use shared::outbound::failure::Failure;
use shared::outbound::retry_after;
use shared::outbound::tls::{self, TlsError};
use tokio::time::{Instant, timeout_at};

use crate::outbound::Outbound;

/// For everything from the connection to the last byte of the answer, of a message as of a token request.
const ATTEMPT: Duration = Duration::from_secs(10);

const CONNECT: Duration = Duration::from_secs(5);

/// How much of an answer is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// How many messages Google's front ends take on one connection at the same time.
const STREAMS: usize = 100;

/// The protocols by their names in TLS (ALPN).
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Connections for one app at most.
const MAX_SLOTS: usize = 8;

/// The way to one project of Google's.
#[derive(Debug)]
pub(super) struct Transport {
    url: Url,
    slots: Vec<ClientSlot>,
    clock: Clock,
}

/// A client that keeps one connection, opened when it is first needed.
#[derive(Debug)]
struct ClientSlot {
    client: Client,
    in_flight: AtomicUsize,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Retry-After`, if it says something.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of the body, or what arrived of it.
    pub(super) body: Vec<u8>,
}

/// How every connection is made: whom to trust, and through which proxy.
#[derive(Clone, Debug)]
pub(super) struct Route {
    tls: rustls::ClientConfig,
    proxy: Option<Proxy>,
    no_proxy: Globs,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// No TLS settings.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The proxy is given twice, or its file cannot be read.
    #[error(transparent)]
    ProxyFile(#[from] ConfigError),
    /// The proxy is no URL of a proxy; it may hold a password, so it is not shown.
    #[error("outbound.proxy: expected http://host:port")]
    Proxy,
    /// The HTTP library refused the settings.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

impl Transport {
    /// The way to `url`, for `concurrent` messages at the same time.
    ///
    /// # Errors
    /// [`TransportError::Client`].
    pub(super) fn new(url: Url, concurrent: usize, route: &Route, clock: Clock) -> Result<Self, TransportError> {
        let slot = |_| -> Result<ClientSlot, TransportError> {
            let is_https = url.scheme() == "https";
            let mut builder = route.builder(&url, if is_https { &[HTTP_2] } else { &[] });
            if is_https {
                // Said before the first connection: otherwise a burst would open one for each message. Without TLS it
                // is a test server, which speaks HTTP/1.1.
                builder = builder.http2_prior_knowledge();
            }
            let client = builder
                // A connection on which nothing comes back is dead before the attempts on it have timed out, so that
                // the next ones take another.
                .http2_keep_alive_interval(Duration::from_secs(5))
                .http2_keep_alive_timeout(Duration::from_secs(4))
                // Networks forget a silent connection without telling anyone.
                .pool_idle_timeout(Duration::from_secs(180))
                .build()
                .map_err(TransportError::Client)?;
            Ok(ClientSlot { client, in_flight: AtomicUsize::new(0) })
        };
        let slots = (0..concurrent.div_ceil(STREAMS).clamp(1, MAX_SLOTS)).map(slot).collect::<Result<_, _>>()?;
        Ok(Self { url, slots, clock })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`Failure`] if no status arrived.
    pub(super) async fn send(&self, authorization: HeaderValue, body: Bytes) -> Result<Answer, Failure> {
        let mut request = Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(Body::from(body));
        let slot = self.free_slot();
        let _flight = Flight::on(slot);
        exchange(&slot.client, request, &self.clock).await
    }

    /// The first slot with room, so that the others stay closed while they are not needed.
    fn free_slot(&self) -> &ClientSlot {
        let load = |slot: &&ClientSlot| slot.in_flight.load(Ordering::Relaxed);
        let free = self.slots.iter().find(|slot| load(slot) < STREAMS);
        free.or_else(|| self.slots.iter().min_by_key(load)).unwrap_or(&self.slots[0])
    }
}

impl Route {
    /// The way out that the operator set.
    ///
    /// # Errors
    /// [`TransportError`].
    pub(super) fn new(outbound: &Outbound) -> Result<Self, TransportError> {
        let tls = tls::client_config(outbound.extra_ca_file.as_deref(), true)?;
        let proxy = shared::config::secret("outbound.proxy", outbound.proxy.as_ref(), outbound.proxy_file.as_deref())?;
        let proxy =
            proxy.map(|url| Proxy::all(url.expose().as_str()).map_err(|_| TransportError::Proxy)).transpose()?;
        Ok(Self { tls, proxy, no_proxy: outbound.no_proxy.clone() })
    }

    /// A client for requests to the host of `url` alone.
    ///
    /// # Errors
    /// [`TransportError::Client`].
    pub(super) fn client(&self, url: &Url) -> Result<Client, TransportError> {
        self.builder(url, &[HTTP_2, HTTP_1]).build().map_err(TransportError::Client)
    }

    /// A client that goes through no proxy.
    ///
    /// # Errors
    /// [`TransportError::Client`].
    pub(super) fn direct_client(&self) -> Result<Client, TransportError> {
        self.direct_builder(&[HTTP_2, HTTP_1]).build().map_err(TransportError::Client)
    }

    fn builder(&self, url: &Url, protocols: &[&[u8]]) -> ClientBuilder {
        let builder = self.direct_builder(protocols);
        let is_exempt = url.host_str().is_some_and(|host| self.no_proxy.matches(host));
        match &self.proxy {
            Some(proxy) if !is_exempt => builder.proxy(proxy.clone()),
            Some(_) | None => builder,
        }
    }

    /// `protocols` are offered in TLS. The HTTP library leaves that to whoever brings the TLS settings, and a server that
    /// is offered nothing speaks HTTP/1.1 (RFC 9113 §3.2).
    #[expect(clippy::disallowed_types, reason = "to turn redirects off")]
    fn direct_builder(&self, protocols: &[&[u8]]) -> ClientBuilder {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(60))
            .connect_timeout(CONNECT)
    }
}

/// Sends `request`, and reads the answer as far as it comes within the time of one attempt.
///
/// # Errors
/// [`Failure`] if no status arrived.
pub(super) async fn exchange(client: &Client, request: Request, clock: &Clock) -> Result<Answer, Failure> {
    let end = Instant::now() + ATTEMPT;
    let sent = timeout_at(end, client.execute(request)).await.map_err(|_| Failure::Timeout)?;
    let mut response = sent.map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after::parse(value, clock.now()));
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) = timeout_at(end, response.chunk()).await {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(Answer { status, retry_after, body })
}

/// The kind of an error of reqwest.
fn failure(error: &reqwest::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_is_tls = cause.is::<rustls::Error>()
            || cause
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref)
                .is_some_and(|inner| inner.is::<rustls::Error>());
        if cause_is_tls {
            return Failure::Tls;
        }
        source = cause.source();
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::ConnectTimeout,
        (false, true) => Failure::Timeout,
        (true, false) => Failure::Connect,
        (false, false) => Failure::Other,
    }
}

/// Counts a message on its slot while it is under way.
struct Flight<'a>(&'a AtomicUsize);

impl<'a> Flight<'a> {
    fn on(slot: &'a ClientSlot) -> Self {
        slot.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(&slot.in_flight)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
