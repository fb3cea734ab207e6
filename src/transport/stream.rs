//! A connection and a listener, whatever carries them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Addr;

/// A byte stream in both directions: TCP, a Unix socket, memory, or a decorator around one of them.
///
/// It does not write from several buffers at once: frames are in one, and `send` is cheaper than
/// `writev`.
pub struct Stream(Box<dyn Bytes>);

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

impl Stream {
    /// Takes over `io`.
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(io))
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Bytes> {
        Pin::new(&mut *self.get_mut().0)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}

/// Something that connections come in at.
pub trait Accept: Send + 'static {
    /// Takes the next connection: the stream, and who it is from, for logs.
    ///
    /// # Errors
    ///
    /// An error of one connection, or a want of descriptors. Neither ends the listening: after an
    /// error the next call may succeed.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, String)>>;

    /// The address that is listened on, with the real port.
    fn local_addr(&self) -> Addr;
}

/// A place that connections come in at. Nobody can connect to it once it is dropped.
#[must_use = "nobody can connect once the listener is dropped"]
pub struct Listener(Box<dyn Accept>);

impl Listener {
    /// Takes over `accept`.
    pub fn new(accept: impl Accept) -> Self {
        Self(Box::new(accept))
    }

    /// Waits for the next connection. Gives the stream, and who it is from, for logs.
    ///
    /// # Errors
    ///
    /// An error of one connection, or a want of descriptors. Neither ends the listening.
    ///
    /// # Cancel safety
    ///
    /// Safe: no connection is lost.
    pub async fn accept(&mut self) -> io::Result<(Stream, String)> {
        poll_fn(|cx| self.0.poll_accept(cx)).await
    }

    /// The address that is listened on, with the real port when it was bound to port 0.
    #[must_use]
    pub fn local_addr(&self) -> Addr {
        self.0.local_addr()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.local_addr()).finish()
    }
}
