//! The network of the operating system.

use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use super::names::Names;
use super::tcp::Segments;
use super::{Addr, Listener, Network, Resolve, Stream, SystemResolver, tcp, unix};

/// TCP and Unix sockets.
///
/// Remembers the addresses that host names stood for when they could last be looked up. Clones
/// share that.
#[derive(Debug, Clone)]
pub struct SystemNetwork {
    names: Arc<Names>,
}

impl SystemNetwork {
    /// A network that has `resolver` look up host names, instead of the operating system.
    #[must_use]
    pub fn with_resolver(resolver: impl Resolve) -> Self {
        let names = Arc::new(Names::new(Arc::new(resolver)));
        Self { names }
    }
}

impl Default for SystemNetwork {
    fn default() -> Self {
        Self::with_resolver(SystemResolver)
    }
}

impl Network for SystemNetwork {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        match addr {
            Addr::Tcp(host_port) => tcp::connect(&self.names, host_port, Segments::Usual).boxed(),
            Addr::Unix(path) => unix::connect(path).boxed(),
            Addr::Memory(_) => async { Err(not_here(addr)) }.boxed(),
        }
    }

    fn connect_in_small_segments<'a>(
        &'a self,
        addr: &'a Addr,
    ) -> BoxFuture<'a, io::Result<Stream>> {
        match addr {
            Addr::Tcp(host_port) => tcp::connect(&self.names, host_port, Segments::Small).boxed(),
            Addr::Unix(_) | Addr::Memory(_) => self.connect(addr),
        }
    }

    fn locate<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<()>> {
        match addr {
            Addr::Tcp(host_port) => tcp::locate(&self.names, host_port).boxed(),
            Addr::Unix(_) | Addr::Memory(_) => ready(Ok(())).boxed(),
        }
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        match addr {
            Addr::Tcp(host_port) => tcp::listen(&self.names, host_port).boxed(),
            Addr::Unix(path) => unix::listen(path).boxed(),
            Addr::Memory(_) => async { Err(not_here(addr)) }.boxed(),
        }
    }

    fn is_reached_from_any_runtime(&self) -> bool {
        true
    }
}

fn not_here(addr: &Addr) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("`{addr}` exists only on a MemoryNetwork, inside one process"),
    )
}
