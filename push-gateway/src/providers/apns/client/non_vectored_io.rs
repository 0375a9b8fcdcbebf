//! A stream that takes many small pieces as one.
//!
//! Invariant: nothing is held back here; whoever writes decides what is written together.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that says that it cannot write several pieces at once.
///
/// `h2` then copies the frames of many pushes into one buffer before it writes; otherwise every push is a TLS record and
/// a system call of its own.
pub(super) struct NonVectoredIo<T>(pub(super) T);

impl<T: AsyncRead + Unpin> AsyncRead for NonVectoredIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for NonVectoredIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
