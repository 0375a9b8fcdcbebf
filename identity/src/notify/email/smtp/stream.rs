//! The connection under lettre's SMTP client, with two features that the client lacks.
//!
//! Invariant: the client never buffers more than one line. So plain text that was injected before TLS (CVE-2011-0411)
//! is never parsed as a reply under TLS: it reaches the handshake, which fails.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use shared::outbound::stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that returns one line per read and can send HELO in place of EHLO.
#[derive(Debug)]
pub(super) struct SmtpStream {
    inner: Stream,
    hello: Hello,
    received: Vec<u8>,
    handed_out: usize,
}

/// The first command (RFC 5321 section 4.1.1.1). Both have four letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Requests the list of extensions.
    Ehlo,
    /// For a server without extensions.
    Helo,
}

impl SmtpStream {
    pub(super) fn new(inner: Stream, hello: Hello) -> Self {
        Self { inner, hello, received: Vec::new(), handed_out: 0 }
    }
}

impl AsyncRead for SmtpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.handed_out == this.received.len() {
            let mut space = [0; 4096];
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer))?;
            this.received.clear();
            this.received.extend_from_slice(buffer.filled());
            this.handed_out = 0;
        }
        let waiting = &this.received[this.handed_out..];
        let line = waiting.iter().position(|&byte| byte == b'\n').map_or(waiting.len(), |end| end + 1);
        let length = line.min(out.remaining());
        out.put_slice(&waiting[..length]);
        this.handed_out += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SmtpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match bytes.strip_prefix(b"EHLO ") {
            Some(rest) if self.hello == Hello::Helo => {
                let line = [b"HELO ", rest].concat();
                Pin::new(&mut self.inner).poll_write(cx, &line)
            }
            _ => Pin::new(&mut self.inner).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for SmtpStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
}
