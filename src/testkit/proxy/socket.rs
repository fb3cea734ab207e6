//! TCP and Unix sockets under one name, with an abrupt end as the default.

use std::io;

use rustix::net::{Shutdown, shutdown};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::transport::Addr;

/// A listening socket. Dropping it makes the next connection be refused.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) async fn bind(addr: &Addr) -> io::Result<Self> {
        match addr {
            Addr::Tcp(host_port) => TcpListener::bind(host_port).await.map(Self::Tcp),
            Addr::Unix(path) => {
                // The file of a closed listener stays, and stands in the way of the next one.
                let _ = std::fs::remove_file(path);
                UnixListener::bind(path).map(Self::Unix)
            }
            Addr::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => Socket::tcp(listener.accept().await?.0),
            Self::Unix(listener) => Ok(Socket::unix(listener.accept().await?.0)),
        }
    }
}

/// A connected socket. Dropping it resets the connection; [`Socket::close`] ends it gently.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    abrupt: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls a method that both kinds of streams have.
macro_rules! on_stream {
    ($socket:expr, $stream:ident => $call:expr) => {
        match &$socket.stream {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl Socket {
    pub(super) async fn connect(addr: &Addr) -> io::Result<Self> {
        match addr {
            Addr::Tcp(host_port) => Self::tcp(TcpStream::connect(host_port).await?),
            Addr::Unix(path) => UnixStream::connect(path).await.map(Self::unix),
            Addr::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: Stream::Tcp(stream),
            abrupt: true,
        })
    }

    const fn unix(stream: UnixStream) -> Self {
        Self {
            stream: Stream::Unix(stream),
            abrupt: true,
        }
    }

    /// Reads what has arrived, at least a byte; 0 at the end of the stream.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            on_stream!(self, stream => stream.readable().await)?;
            match on_stream!(self, stream => stream.try_read(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        on_stream!(self, stream => stream.try_write(bytes))
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        on_stream!(self, stream => stream.writable().await)
    }

    /// Tells the other end that nothing more will come.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        on_stream!(self, stream => shutdown(stream, Shutdown::Write)).map_err(io::Error::from)
    }

    pub(super) fn close(mut self) {
        self.abrupt = false;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (true, Stream::Tcp(stream)) = (self.abrupt, &self.stream) {
            // Fails only where the connection is gone already.
            let _ = stream.set_zero_linger();
        }
    }
}
