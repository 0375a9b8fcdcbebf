//! Push services that cost next to nothing: they take every push unseen, say that they have taken it, and count.
//!
//! Invariant: they do all their work on one thread of this process, so that none of it is the gateway's.

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

/// Streams that both allow on one connection, as Apple does.
const MAX_STREAMS: u32 = 1000;

/// More than a connection's requests hold at the same time, so that no request waits for a stream.
const WINDOW: u32 = 1 << 24;

/// Whom a push goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
}

/// A push service that runs as long as the process does.
#[derive(Clone, Debug)]
pub(super) struct PushService {
    /// Where it listens.
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

/// A push as it came.
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
    /// Its name, for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Apns => "APNs",
            Self::Fcm => "FCM",
        }
    }

    /// Its name in settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
        }
    }
}

impl PushService {
    /// Starts one on the present runtime, which answers after `delay`, with a certificate from `authority`.
    ///
    /// # Panics
    /// If there is no port for it.
    pub(super) async fn start(provider: Provider, delay: Duration, authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system gives a port");
        let address = listener.local_addr().expect("it is bound");
        let (tls, seen) = (authority.issue(&["127.0.0.1"]).server_config(&["h2"]), Arc::new(Seen::default()));
        tokio::spawn(accept(listener, tls, Answers { provider, delay, seen: Arc::clone(&seen) }));
        Self { address, seen }
    }

    /// How many pushes it has taken.
    pub(super) fn pushes(&self) -> usize {
        self.seen.pushes.load(Ordering::Relaxed)
    }

    /// The first push that it took.
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
    /// An error is the client's way of leaving: nothing is to be done about it.
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
            Provider::Apns => {
                let response = Response::builder().header("apns-id", head.headers.get("apns-id")?);
                respond.send_response(response.body(()).ok()?, true).ok().map(drop)
            }
            Provider::Fcm => {
                let sent = respond.send_response(google(), false).ok()?.send_data(Bytes::from_static(NAME), true);
                sent.ok()
            }
        };
        self.seen.pushes.fetch_add(1, Ordering::Relaxed);
        taken
    }
}

/// What Google answers to a message that it took.
const NAME: &[u8] = b"{\n  \"name\": \"projects/demo-project/messages/0:1500415314455276%31bd1c9631bd1c96\"\n}\n";

/// The head of Google's answers.
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
