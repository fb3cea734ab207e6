//! The network of the operating system.

use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Addr, Listener, Network, Stream, tcp, unix};

/// TCP and Unix sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        match addr {
            Addr::Tcp(host_port) => tcp::connect(host_port).boxed(),
            Addr::Unix(path) => unix::connect(path).boxed(),
            Addr::Memory(_) => async { Err(not_here(addr)) }.boxed(),
        }
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        match addr {
            Addr::Tcp(host_port) => tcp::listen(host_port).boxed(),
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
