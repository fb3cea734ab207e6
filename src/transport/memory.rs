//! A network inside one process.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::{Accept, Addr, Listener, Network, Stream};

/// What a connection holds in each direction before its writer waits, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// How many connections wait to be accepted before the next caller of `connect` waits.
const BACKLOG: usize = 1024;

/// Connections between tasks of one process, by name. Clones are the same network.
///
/// It behaves as TCP does in all that this crate relies on: connecting to a name that nobody
/// listens on is refused, and what a dropped end had written can still be read.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork {
    listeners: Arc<Mutex<HashMap<String, mpsc::Sender<DuplexStream>>>>,
}

impl MemoryNetwork {
    /// Makes a network that nobody listens on yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn connect_to(&self, addr: &Addr) -> io::Result<Stream> {
        let listener = self.names().get(name(addr)?).cloned();
        let (near, far) = duplex(BUFFER_BYTES);
        match listener {
            Some(listener) if listener.send(far).await.is_ok() => Ok(Stream::new(near)),
            _ => Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("nobody listens on `{addr}`"),
            )),
        }
    }

    fn bind(&self, addr: &Addr) -> io::Result<Listener> {
        let name = name(addr)?;
        let mut names = self.names();
        if names.contains_key(name) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("cannot listen on `{addr}`: somebody is listening on it"),
            ));
        }
        let (sender, queue) = mpsc::channel(BACKLOG);
        names.insert(name.to_owned(), sender);
        Ok(Listener::new(Incoming {
            network: self.clone(),
            name: name.to_owned(),
            queue,
            accepted: 0,
        }))
    }

    /// Only whole entries come and go under the lock, so a poisoned one is sound.
    fn names(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<DuplexStream>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(addr: &Addr) -> io::Result<&str> {
    match addr {
        Addr::Memory(name) => Ok(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("`{addr}` is not on this network: its addresses are memory:NAME"),
        )),
    }
}

impl Network for MemoryNetwork {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        self.connect_to(addr).boxed()
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        async move { self.bind(addr) }.boxed()
    }
}

struct Incoming {
    network: MemoryNetwork,
    name: String,
    queue: mpsc::Receiver<DuplexStream>,
    accepted: u64,
}

impl Accept for Incoming {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, String)>> {
        let stream = ready!(self.queue.poll_recv(cx)).ok_or(io::ErrorKind::NotConnected)?;
        self.accepted += 1;
        let from = format!("{}#{}", self.local_addr(), self.accepted);
        Poll::Ready(Ok((Stream::new(stream), from)))
    }

    fn local_addr(&self) -> Addr {
        Addr::Memory(self.name.clone())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.network.names().remove(&self.name);
    }
}
