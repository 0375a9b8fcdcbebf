//! The connection under lettre's SMTP client, with features that the client lacks.
//!
//! Invariant: the client never buffers more than one line. So plain text that was injected before TLS (CVE-2011-0411)
//! is never parsed as a reply under TLS: it reaches the handshake, which fails.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use parking_lot::Mutex;
use shared::outbound::stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes that end a message.
const END: &[u8] = b"\r\n.\r\n";
/// The most login mechanisms that are remembered of one relay.
const MAX_MECHANISMS: usize = 12;

/// A connection that returns one line per read and can send HELO in place of EHLO.
#[derive(Debug)]
pub(super) struct SmtpStream {
    inner: Stream,
    hello: Hello,
    received: Vec<u8>,
    handed_out: usize,
    observed: Arc<Observed>,
}

/// What passed through a connection and lettre does not report.
#[derive(Debug, Default)]
pub(super) struct Observed {
    has_sent_end: AtomicBool,
    mechanisms: Mutex<Vec<String>>,
}

impl Observed {
    /// Whether the end of a message was written since the last [`Observed::begin`], so that the relay may have accepted it.
    pub(super) fn has_sent_end(&self) -> bool {
        self.has_sent_end.load(Ordering::Acquire)
    }

    /// Begins a mail transaction.
    pub(super) fn begin(&self) {
        self.has_sent_end.store(false, Ordering::Release);
    }

    /// The login mechanisms that the relay offers.
    pub(super) fn mechanisms(&self) -> Vec<String> {
        self.mechanisms.lock().clone()
    }

    /// Keeps the names in a line `250-AUTH PLAIN LOGIN` (RFC 4954), or `250-AUTH=PLAIN LOGIN` of old servers.
    fn read_line(&self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else { return };
        let Some(names) = line.get(4..8).filter(|name| name.eq_ignore_ascii_case("AUTH")).and_then(|_| line.get(8..))
        else {
            return;
        };
        if !line.starts_with("250") || !names.starts_with([' ', '=']) {
            return;
        }
        let mut mechanisms = self.mechanisms.lock();
        for name in names[1..].split_ascii_whitespace().map(str::to_ascii_uppercase) {
            // RFC 4422 section 3.1
            let is_name =
                name.len() <= 20 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if is_name && mechanisms.len() < MAX_MECHANISMS && !mechanisms.contains(&name) {
                mechanisms.push(name);
            }
        }
    }
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
    /// `greeting` is read before the first byte of `inner`.
    pub(super) fn new(inner: Stream, hello: Hello, greeting: &[u8], observed: Arc<Observed>) -> Self {
        Self { inner, hello, received: greeting.to_vec(), handed_out: 0, observed }
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
        this.observed.read_line(&waiting[..length]);
        out.put_slice(&waiting[..length]);
        this.handed_out += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SmtpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes == END {
            self.observed.has_sent_end.store(true, Ordering::Release);
        }
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
