//! HTTP client for FCM and its token endpoints: HTTP/2 over TLS.
//!
//! Invariant: a status that arrived decides, even if the body does not arrive. The client holds at most 16 KiB of a body
//! and follows no redirect.

pub(super) mod pauses;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::uri::InvalidUri;
use http::{Request, Uri};
use http_body_util::Full;
use rustls::ClientConfig;
use shared::clock::Clock;
use shared::outbound::client::{Client, pool};
use shared::outbound::connector::Connector;
use shared::outbound::failure::Failure;
use shared::outbound::proxy::ProxyRule;
use shared::outbound::resolver::Resolver;
use shared::outbound::retry_after;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::{HTTP_1, HTTP_2};
use shared::outbound::tls::TlsError;
use url::Url;

use super::request::message_request;

/// The limit for one request, from the connection to the last byte of the response.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The limit for a connection, from DNS to the TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// The limit for a response body in bytes.
const MAX_BODY: usize = 16 * 1024;
/// The concurrent requests that Google's front ends accept on one connection.
const STREAMS: usize = 100;
/// The maximum number of connections for one app.
const MAX_SLOTS: usize = 8;

/// The connections for the messages of one project.
#[derive(Debug)]
pub(super) struct Transport {
    url: Uri,
    slots: Vec<ClientSlot>,
    clock: Clock,
}

/// A client that keeps one connection and opens it on first use.
#[derive(Debug)]
struct ClientSlot {
    client: Client,
    in_flight: AtomicUsize,
}

/// A response of FCM or a token endpoint.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The delay from `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of the body: as much as arrived in time.
    pub(super) body: Vec<u8>,
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
}

impl Transport {
    /// Connections to `url` for `concurrent` messages at the same time.
    ///
    /// # Errors
    /// [`TransportError::Url`].
    pub(super) fn new(url: &Url, concurrent: usize, route: &Route, clock: Clock) -> Result<Self, TransportError> {
        let is_https = url.scheme() == "https";
        let mut pool = pool();
        // Without the declaration in advance a burst would open one connection for each message. Without TLS the server
        // is a fake one, which speaks HTTP/1.1.
        pool.http2_only(is_https)
            // Closes a connection without responses before its requests time out, so that the next ones open another.
            .http2_keep_alive_interval(Duration::from_secs(5))
            .http2_keep_alive_timeout(Duration::from_secs(4))
            // Networks drop idle connections silently.
            .pool_idle_timeout(Duration::from_secs(180));
        let slot = |_| {
            let connector = route.connector(if is_https { &[HTTP_2] } else { &[] }, route.proxy.clone());
            ClientSlot { client: Client::new(connector, &pool, ATTEMPT), in_flight: AtomicUsize::new(0) }
        };
        let slots = (0..concurrent.div_ceil(STREAMS).clamp(1, MAX_SLOTS)).map(slot).collect();
        Ok(Self { url: url.as_str().parse()?, slots, clock })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`Failure`] if no status arrives.
    pub(super) async fn send(&self, authorization: HeaderValue, body: Bytes) -> Result<Answer, Failure> {
        let request = message_request(self.url.clone(), authorization, body);
        let slot = self.free_slot();
        let _flight = Flight::on(slot);
        exchange(&slot.client, request, &self.clock).await
    }

    /// The first slot with a free stream, so that the others stay closed until they are needed.
    fn free_slot(&self) -> &ClientSlot {
        let load = |slot: &&ClientSlot| slot.in_flight.load(Ordering::Relaxed);
        let free = self.slots.iter().find(|slot| load(slot) < STREAMS);
        free.or_else(|| self.slots.iter().min_by_key(load)).unwrap_or(&self.slots[0])
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
    pub(super) fn client(&self) -> Client {
        self.client_through(self.proxy.clone())
    }

    /// A client without the proxy.
    pub(super) fn direct_client(&self) -> Client {
        self.client_through(ProxyRule::default())
    }

    fn client_through(&self, proxy: ProxyRule) -> Client {
        Client::new(self.connector(&[HTTP_2, HTTP_1], proxy), &pool(), ATTEMPT)
    }

    /// A connector that offers `protocols` by ALPN.
    fn connector(&self, protocols: &[&[u8]], proxy: ProxyRule) -> Connector {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Connector::new(Resolver::System, proxy, tls, CONNECT)
    }
}

/// Sends `request` and reads the response, as much as arrives within [`ATTEMPT`].
///
/// # Errors
/// [`Failure`] if no status arrives.
pub(super) async fn exchange(client: &Client, request: Request<Full<Bytes>>, clock: &Clock) -> Result<Answer, Failure> {
    let response = client.send(request).await?;
    let (status, retry_after) = (response.status.as_u16(), retry_after::of(&response.headers, clock.now()));
    Ok(Answer { status, retry_after, body: response.read_prefix(MAX_BODY).await })
}

/// Counts a message on its slot until it is dropped.
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
