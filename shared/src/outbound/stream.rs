//! An outbound connection: TCP, or TLS over TCP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

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
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self { transport: Transport::Tcp(stream), is_forward_proxy: false }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { transport: Transport::Tls(Box::new(stream)), is_forward_proxy: false }
    }

    /// A connection to a proxy that forwards requests for `http` URLs.
    pub(super) fn forward_proxy(stream: TcpStream) -> Self {
        Self { transport: Transport::Tcp(stream), is_forward_proxy: true }
    }

    /// The protocol that the server chose by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.transport {
            Transport::Tcp(_) => None,
            Transport::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The TCP connection, unless it has TLS already.
    pub(super) fn into_tcp(self) -> Option<TcpStream> {
        match self.transport {
            Transport::Tcp(stream) => Some(stream),
            Transport::Tls(_) => None,
        }
    }

    /// The socket under the connection, for its options.
    fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Tls(stream) => stream.get_ref().0,
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

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_forward_proxy);
        if self.alpn() == Some(HTTP_2) { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, to),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, from),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
