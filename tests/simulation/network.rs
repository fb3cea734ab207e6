//! The simulated network as the clerks see it, and what is wrong with it at the moment.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use lockservice::transport::{Addr, Listener, Network, Stream};
use lockservice::types::ServerId;

/// The name of a server's host.
pub(crate) const fn host(server: ServerId) -> &'static str {
    ["a", "b"][server.index()]
}

pub(crate) fn client_host(number: usize) -> String {
    format!("client-{number}")
}

pub(crate) fn owner_host(number: usize) -> String {
    format!("owner-{number}")
}

/// Who is cut off from whom. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    vanished: BTreeSet<&'static str>,
    cut: BTreeSet<(String, &'static str)>,
    loses_dials: bool,
}

impl Faults {
    pub(crate) fn set_vanished(&self, server: ServerId, vanished: bool) {
        let mut inner = self.inner();
        if vanished {
            inner.vanished.insert(host(server));
        } else {
            inner.vanished.remove(host(server));
        }
    }

    pub(crate) fn cut(&self, client: &str, server: ServerId) {
        self.inner().cut.insert((client.to_owned(), host(server)));
    }

    pub(crate) fn mend(&self, client: &str, server: ServerId) {
        self.inner().cut.remove(&(client.to_owned(), host(server)));
    }

    /// Whether the first packet of every new connection between the servers is lost. It is not sent
    /// again.
    pub(crate) fn lose_dials(&self, lost: bool) {
        self.inner().loses_dials = lost;
    }

    fn loses_dial(&self, from: &str, to: &str) -> bool {
        let is_server = |name| ServerId::BOTH.iter().any(|server| host(*server) == name);
        self.inner().loses_dials && is_server(from) && is_server(to)
    }

    /// Whether nothing comes through, also no refusal.
    pub(crate) fn is_silent(&self, from: &str, to: &str) -> bool {
        let inner = self.inner();
        inner.vanished.contains(to) || inner.cut.iter().any(|(a, b)| a == from && *b == to)
    }

    /// Sets may be poisoned only between whole changes.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dials from `me`. In turmoil an attempt whose first message is lost is refused; here it waits, as
/// it would on a real network, where only who runs can refuse.
pub(crate) async fn dial(
    me: &str,
    addr: &str,
    faults: &Faults,
) -> io::Result<turmoil::net::TcpStream> {
    let host = addr.split(':').next().unwrap_or(addr);
    if faults.loses_dial(me, host) {
        return pending().await;
    }
    match turmoil::net::TcpStream::connect(addr).await {
        Err(_) if faults.is_silent(me, host) => pending().await,
        result => result,
    }
}

/// The network of a clerk's host.
#[derive(Debug, Clone)]
pub(crate) struct ClientNetwork {
    pub(crate) me: String,
    pub(crate) faults: Faults,
}

impl Network for ClientNetwork {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        async move {
            let stream = dial(&self.me, &addr.to_string(), &self.faults).await?;
            Ok(Stream::new(stream))
        }
        .boxed()
    }

    fn listen<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        async { Err(io::Error::from(io::ErrorKind::Unsupported)) }.boxed()
    }
}
