//! The seam between this crate and whatever carries its bytes.

use std::fmt;
use std::future::ready;
use std::io;
use std::pin::Pin;

use super::{Addr, Listener, Stream};

/// A future in a box, as [`Network`] and [`Resolve`](super::Resolve) return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to reach addresses and to be reached at them.
///
/// Implement it to put something between the servers and their clients: TLS, a proxy, faults.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Connects to the listener at `addr`.
    ///
    /// Nothing bounds the time here; callers do.
    ///
    /// A server decides by the outcome whether its peer is dead, so:
    ///
    /// - An error of kind `ConnectionRefused` or `NotFound` says that certainly nobody listens.
    /// - An error of kind `AddrNotAvailable` or `Unsupported`, and a lack of descriptors or of
    ///   memory, say that this side could not even ask: it does not know where `addr` is, for
    ///   instance.
    /// - Any other error, and a connection that does not come about, are taken for the silence of
    ///   the host. A name that is being looked up is not: see [`Self::locate`].
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>>;

    /// Finds out where `addr` is, if that has to be looked up.
    ///
    /// Returns at once when it is known, and has it looked up again in the background. Else waits
    /// for the look-up. Until this has succeeded, a silent [`Self::connect`] is no evidence about
    /// the host.
    ///
    /// The default is for a network without names. A network around another one has to ask that
    /// one.
    fn locate<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<()>> {
        let _ = addr;
        Box::pin(ready(Ok(())))
    }

    /// Connects as [`Self::connect`] does, so that neither side sends large packets: the servers
    /// found that those get lost on the way.
    ///
    /// The default is for a network that knows no packets. A network around another one has to ask
    /// that one.
    fn connect_in_small_segments<'a>(
        &'a self,
        addr: &'a Addr,
    ) -> BoxFuture<'a, io::Result<Stream>> {
        self.connect(addr)
    }

    /// Begins to listen on `addr`.
    ///
    /// The error is of kind `AddrInUse` when somebody else listens there.
    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>>;

    /// Whether any Tokio runtime of the process can make and drive its connections.
    ///
    /// If so, a clerk keeps its locks from a thread of its own while the runtime that it was
    /// connected in does not run. The default is false: everything stays on the caller's runtime,
    /// as a simulation needs it to repeat a seed.
    fn is_reached_from_any_runtime(&self) -> bool {
        false
    }
}
