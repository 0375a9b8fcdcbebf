//! The listening side: TCP, TLS, the choice of the protocol.
//!
//! Invariant: a connection is counted before its first byte is read, and ends with its server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::core::{Core, lock};
use super::relay::relay;
use super::{Connection, Service, http1, http2};

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
        let core = Arc::new(Core::new(tls));
        let task = tokio::spawn(accept(self.listener, Arc::clone(&core), service));
        HttpServer { core, address: self.address, task }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
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
