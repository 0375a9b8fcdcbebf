//! An outbound connection: TCP, or TLS over TCP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::failure::{ConnectError, Failure};

/// TCP keep-alive: networks drop idle connections silently.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

/// The ALPN name of HTTP/2.
pub const HTTP_2: &[u8] = b"h2";
/// The ALPN name of HTTP/1.1.
pub const HTTP_1: &[u8] = b"http/1.1";

/// An established connection.
///
/// It does not support vectored writes. `h2` then copies the frames of many requests into one buffer; otherwise each
/// request is a TLS record and a system call of its own.
#[derive(Debug)]
pub struct Stream {
    transport: Transport,
    is_forward_proxy: bool,
}

#[derive(Debug)]
enum Transport {
    Plain(Hop),
    Tls(Box<TlsStream<Hop>>),
}

/// The connection under TLS: to the server, or to a proxy on the way.
#[derive(Debug)]
pub(super) enum Hop {
    Tcp(TcpStream),
    /// To a proxy that is reached by TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Hop {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Stream {
    pub(super) fn plain(stream: Hop) -> Self {
        Self { transport: Transport::Plain(stream), is_forward_proxy: false }
    }

    pub(super) fn tls(stream: TlsStream<Hop>) -> Self {
        Self { transport: Transport::Tls(Box::new(stream)), is_forward_proxy: false }
    }

    /// A connection to a proxy that forwards requests for `http` URLs.
    pub(super) fn forward_proxy(stream: Hop) -> Self {
        Self { transport: Transport::Plain(stream), is_forward_proxy: true }
    }

    /// The server's certificate.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.get_ref().1.peer_certificates()?.first(),
        }
    }

    /// The protocol that the server chose by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The connection without TLS to the server.
    pub(super) fn into_plain(self) -> Option<Hop> {
        match self.transport {
            Transport::Plain(stream) => Some(stream),
            Transport::Tls(_) => None,
        }
    }

    /// The socket under the connection, for its options.
    fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(stream) => stream.socket(),
            Transport::Tls(stream) => stream.get_ref().0.socket(),
        }
    }

    /// The address of the server or the proxy.
    ///
    /// # Errors
    /// The operating system's, for a connection that has been closed.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }
}

/// Without `TCP_NODELAY` each request waits up to 40 ms for the acknowledgement of the previous one.
/// Sets the options that all connections have.
///
/// # Errors
/// If the operating system refuses an option.
pub(super) fn set_options(stream: &TcpStream) -> Result<(), ConnectError> {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    let set = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    set.map_err(|error| ConnectError::new(Failure::Connect, &error))
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_forward_proxy);
        if self.alpn() == Some(HTTP_2) { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Hop {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Hop {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
