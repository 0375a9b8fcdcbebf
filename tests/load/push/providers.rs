//! Push services of minimal cost: they accept every push without checks, and count.
//!
//! Invariant: they do all their work on one thread of this process, so that none of it counts for the gateway.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use harness::certificates::Authority;
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::connection::Reply;

/// The concurrent streams that both allow on one connection, as Apple does.
const MAX_STREAMS: u32 = 1000;

/// The window of a connection: more than its concurrent requests need, so that none of them waits.
const WINDOW: u32 = 1 << 24;

/// The push service of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
    /// A browser's push service.
    WebPush,
    /// A UnifiedPush distributor's.
    UnifiedPush,
    /// Huawei Push Kit.
    Huawei,
    /// APNs, behind the relay of Web Push.
    Relay,
}

/// A push service that runs until the process exits.
#[derive(Clone, Debug)]
pub(super) struct PushService {
    /// Its address.
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

/// A push as received.
#[derive(Clone, Debug)]
pub(super) struct Specimen {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Seen {
    pushes: AtomicUsize,
    first: Mutex<Option<Specimen>>,
}

impl Provider {
    pub(super) const ALL: [Self; 6] =
        [Self::Apns, Self::Fcm, Self::WebPush, Self::UnifiedPush, Self::Huawei, Self::Relay];

    /// Its name in the table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Apns => "APNs",
            Self::Fcm => "FCM",
            Self::WebPush => "Web Push",
            Self::UnifiedPush => "UnifiedPush",
            Self::Huawei => "Huawei",
            Self::Relay => "relay to APNs",
        }
    }

    /// Its name in settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::WebPush => "webpush",
            Self::UnifiedPush => "unifiedpush",
            Self::Huawei => "huawei",
            Self::Relay => "relay",
        }
    }

    /// The numbers of devices in one request.
    pub(super) fn devices(self) -> &'static [usize] {
        if self == Self::Relay { &[1] } else { &[1, 10] }
    }

    /// Whether the gateway reports that everything was delivered.
    pub(super) fn is_delivered(self, reply: &Reply<'_>) -> bool {
        match self {
            Self::Relay => reply.status == 201,
            _ => reply.status == 200 && reply.body == br#"{"rejected":[]}"#,
        }
    }
}

impl PushService {
    /// Starts one on the current runtime, which responds after `delay`, with a certificate from `authority`.
    ///
    /// # Panics
    /// If no port is free.
    pub(super) async fn start(provider: Provider, delay: Duration, authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system gives a port");
        let address = listener.local_addr().expect("it is bound");
        let (tls, seen) = (authority.issue(&["127.0.0.1"]).server_config(&["h2"]), Arc::new(Seen::default()));
        tokio::spawn(accept(listener, tls, Answers { provider, delay, seen: Arc::clone(&seen) }));
        Self { address, seen }
    }

    /// The number of accepted pushes.
    pub(super) fn pushes(&self) -> usize {
        self.seen.pushes.load(Ordering::Relaxed)
    }

    /// The first accepted push.
    pub(super) fn first(&self) -> Option<Specimen> {
        self.seen.first().clone()
    }
}

impl Seen {
    fn first(&self) -> std::sync::MutexGuard<'_, Option<Specimen>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Answers {
    provider: Provider,
    delay: Duration,
    seen: Arc<Seen>,
}

async fn accept(listener: TcpListener, tls: Arc<ServerConfig>, answers: Answers) {
    let tls = TlsAcceptor::from(tls);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve(stream, tls.clone(), answers.clone()));
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, answers: Answers) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let stream = tls.accept(stream).await.ok()?;
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(MAX_STREAMS).initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut connection = builder.handshake(stream).await.ok()?;
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answers.clone().answer(request, respond));
    }
    Some(())
}

impl Answers {
    /// An error means that the client has closed the connection; it needs no action.
    async fn answer(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<()> {
        let (head, mut stream) = request.into_parts();
        let is_first = self.seen.first().is_none();
        let mut body = Vec::new();
        while let Some(Ok(part)) = stream.data().await {
            stream.flow_control().release_capacity(part.len()).ok()?;
            if is_first {
                body.extend_from_slice(&part);
            }
        }
        if is_first {
            *self.seen.first() =
                Some(Specimen { path: head.uri.path().to_owned(), headers: head.headers.clone(), body });
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let taken = match self.provider {
            Provider::Apns | Provider::Relay => {
                let response = Response::builder().header("apns-id", head.headers.get("apns-id")?);
                respond.send_response(response.body(()).ok()?, true).ok().map(drop)
            }
            Provider::Fcm => {
                let sent = respond.send_response(google(), false).ok()?.send_data(Bytes::from_static(NAME), true);
                sent.ok()
            }
            Provider::Huawei => {
                let response = Response::builder().header("content-type", "application/json");
                let mut sent = respond.send_response(response.body(()).ok()?, false).ok()?;
                sent.send_data(Bytes::from_static(SUCCESS), true).ok()
            }
            Provider::WebPush | Provider::UnifiedPush => {
                let response = Response::builder().status(201).header("ttl", head.headers.get("ttl")?);
                respond.send_response(response.body(()).ok()?, true).ok().map(drop)
            }
        };
        self.seen.pushes.fetch_add(1, Ordering::Relaxed);
        taken
    }
}

/// The body of FCM's success response.
const NAME: &[u8] = b"{\n  \"name\": \"projects/demo-project/messages/0:1500415314455276%31bd1c9631bd1c96\"\n}\n";

/// The body of Huawei's success response.
const SUCCESS: &[u8] = br#"{"code":"80000000","msg":"Success","requestId":"157440955549500001002006"}"#;

/// The head of FCM's responses.
fn google() -> Response<()> {
    let mut response = Response::new(());
    for (name, value) in [
        ("content-type", "application/json; charset=UTF-8"),
        ("vary", "Origin"),
        ("server", "scaffolding on HTTPServer2"),
        ("cache-control", "private"),
        ("x-xss-protection", "0"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-content-type-options", "nosniff"),
    ] {
        response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    response
}
