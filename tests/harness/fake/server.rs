//! The listening side: TCP, TLS, the choice of the protocol, the record of requests.
//!
//! Invariant: a connection is counted before its first byte is read, and ends with its server.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::relay::relay;
use super::{Connection, Request, Service, http1, http2};

/// A bound socket, before anything is served on it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct HttpServer {
    pub(crate) core: Arc<Core>,
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

/// What the connections of a server share with the test.
#[derive(Debug)]
pub(crate) struct Core {
    tls: Mutex<Option<Arc<ServerConfig>>>,
    /// Whether it accepts connections without reading or writing on them.
    is_silent: AtomicBool,
    /// How many streams a new connection may have.
    pub(crate) streams: AtomicU32,
    connections: AtomicUsize,
    open: Mutex<Vec<Arc<Connection>>>,
    requests: Mutex<Vec<Request>>,
    /// Raised to close every open connection.
    closed: watch::Sender<u64>,
    pub(super) bytes_sent: Arc<AtomicU64>,
    pub(super) peak_streams: AtomicUsize,
    pub(super) refused_streams: AtomicUsize,
}

/// A request in the record.
#[derive(Debug)]
pub(crate) struct Recorded<'a> {
    request: Request,
    number: usize,
    core: &'a Core,
}

impl Socket {
    /// Binds to `bind`, an address with port 0 or with a certain port.
    ///
    /// # Panics
    /// If the address is in use.
    pub(crate) async fn bind(bind: &str) -> Self {
        let listener = TcpListener::bind(bind).await.unwrap_or_else(|error| panic!("{bind}: {error}"));
        let address = listener.local_addr().expect("a bound socket has an address");
        Self { listener, address }
    }

    /// Serves `service`, over TLS with a configuration.
    pub(crate) fn serve<S: Service>(self, tls: Option<Arc<ServerConfig>>, service: Arc<S>) -> HttpServer {
        let core = Arc::new(Core {
            tls: Mutex::new(tls),
            is_silent: AtomicBool::new(false),
            streams: AtomicU32::new(100),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            requests: Mutex::default(),
            closed: watch::Sender::new(0),
            bytes_sent: Arc::default(),
            peak_streams: AtomicUsize::new(0),
            refused_streams: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(self.listener, Arc::clone(&core), service));
        HttpServer { core, address: self.address, task }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Core {
    /// Presents another certificate, or chooses another protocol, from the next connection on.
    pub(crate) fn set_tls(&self, tls: Arc<ServerConfig>) {
        *lock(&self.tls) = Some(tls);
    }

    /// Accepts connections without reading or writing on them, not even in the TLS handshake.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// The number of accepted TCP connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The connections that are open.
    pub(crate) fn open(&self) -> Vec<Arc<Connection>> {
        lock(&self.open).clone()
    }

    /// Closes every open connection; over HTTP/2 when the client has received everything that was written before.
    pub(crate) fn close_connections(&self) {
        self.closed.send_modify(|count| *count += 1);
    }

    /// The requests so far, oldest first.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// The requests so far that `is_match` accepts, oldest first.
    pub(crate) fn requests_if(&self, is_match: impl Fn(&Request) -> bool) -> Vec<Request> {
        lock(&self.requests).iter().filter(|request| is_match(request)).cloned().collect()
    }

    /// Bytes of bodies that connections of HTTP/1.1 took over.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::SeqCst)
    }

    /// The most streams that were open at once on one connection.
    pub(crate) fn peak_streams(&self) -> usize {
        self.peak_streams.load(Ordering::SeqCst)
    }

    /// The number of streams that were refused because the client exceeded the limit.
    pub(crate) fn refused_streams(&self) -> usize {
        self.refused_streams.load(Ordering::SeqCst)
    }

    /// Records the request.
    pub(super) fn record(&self, request: Request) -> Recorded<'_> {
        let mut requests = lock(&self.requests);
        requests.push(request.clone());
        Recorded { request, number: requests.len() - 1, core: self }
    }
}

impl Recorded<'_> {
    /// Marks the request as accepted.
    pub(crate) fn accept(&self) {
        lock(&self.core.requests)[self.number].is_accepted = true;
    }

    /// Notes the status of the response.
    pub(crate) fn note_status(&self, status: u16) {
        lock(&self.core.requests)[self.number].status = Some(status);
    }
}

impl Deref for Recorded<'_> {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

/// Accepts connections until the future is dropped, which ends them all.
async fn accept<S: Service>(listener: TcpListener, core: Arc<Core>, service: Arc<S>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let number = core.connections.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(serve(stream, number, Arc::clone(&core), Arc::clone(&service)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve<S: Service>(stream: TcpStream, number: usize, core: Arc<Core>, service: Arc<S>) {
    let mut closed = core.closed.subscribe();
    if service.resets_unread() {
        http1::reset(&stream);
        return;
    }
    // Without it a response may wait 40 ms for the client's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    if core.is_silent.load(Ordering::SeqCst) {
        // An error is the end of the server.
        drop(closed.changed().await);
        return;
    }
    let tls = lock(&core.tls).clone();
    let streams = core.streams.load(Ordering::SeqCst);
    let Some(tls) = tls else {
        let connection = Arc::new(Connection::new(number, None, streams).0);
        tokio::select! {
            () = http1::speak(stream, |stream| stream, &connection, &core, &*service) => {}
            _ = closed.changed() => {}
        }
        return;
    };
    let speaks_http1 = tls.alpn_protocols.is_empty() || tls.alpn_protocols.iter().any(|name| name == b"http/1.1");
    // A client that refuses the certificate ends the handshake.
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let session = stream.get_ref().1;
    let (is_http2, sni) = (session.alpn_protocol() == Some(b"h2"), session.server_name().map(str::to_owned));
    let (connection, orders) = Connection::new(number, sni, streams);
    let connection = Arc::new(connection);
    if is_http2 {
        lock(&core.open).push(Arc::clone(&connection));
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::select! {
            () = relay(stream, near, &connection.wire, orders) => {}
            () = http2::speak(far, &connection, &core, &service) => {}
            () = close(&mut closed, &connection) => {}
        }
        lock(&core.open).retain(|other| !Arc::ptr_eq(other, &connection));
    } else if speaks_http1 {
        tokio::select! {
            () = http1::speak(stream, |stream| stream.get_ref().0, &connection, &core, &*service) => {}
            _ = closed.changed() => {}
        }
    }
}

async fn close(closed: &mut watch::Receiver<u64>, connection: &Connection) {
    // An error is the end of the server, and of this connection.
    if closed.changed().await.is_ok() {
        connection.close();
        std::future::pending::<()>().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
