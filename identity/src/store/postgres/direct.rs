//! Whether a connection leads to the server itself or to a pooler.
//!
//! A server names its process at the start of a connection, and that process answers every statement. A pooler names
//! something of its own, and any process may answer. The driver keeps the number for cancel requests alone, so one is
//! written into memory and read back.
//!
//! Invariant: in doubt the answer is no, because a named statement behind a pooler fails and an unnamed one never does.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The second number of a request for TLS, in place of a cancel request.
const TLS_REQUEST: i32 = 80_877_103;

/// Whether the process that answers is the one that the server named at the start.
pub(super) async fn is_direct(client: &Client) -> bool {
    let Ok(answering) = client.query_typed_one("select pg_backend_pid()", &[]).await else { return false };
    let Ok(answering) = answering.try_get::<_, i32>(0) else { return false };
    named_process(client).await.is_ok_and(|named| named == answering)
}

async fn named_process(client: &Client) -> io::Result<i32> {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let token = client.cancel_token();
    let read = async {
        theirs.read_i32().await?;
        if theirs.read_i32().await? == TLS_REQUEST {
            theirs.write_all(b"S").await?;
            theirs.read_i32().await?;
            theirs.read_i32().await?;
        }
        theirs.read_i32().await
    };
    let (written, process) = tokio::join!(token.cancel_query_raw(ours, Plain), read);
    written.map_err(io::Error::other)?;
    process
}

/// "TLS" to memory.
struct Plain;

impl TlsConnect<DuplexStream> for Plain {
    type Stream = PlainStream;
    type Error = io::Error;
    type Future = Ready<io::Result<PlainStream>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(PlainStream(stream)))
    }
}

struct PlainStream(DuplexStream);

impl TlsStream for PlainStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
