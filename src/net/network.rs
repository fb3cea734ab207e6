//! The seam between this crate and whatever carries its bytes.

use std::fmt;
use std::io;

use futures::future::BoxFuture;

use super::{Addr, Listener, Stream};

/// A way to reach addresses and to be reached at them.
///
/// Implement it to put something between the servers and their clients: TLS, a proxy, faults.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Connects to whoever listens on `addr`.
    ///
    /// Nothing bounds the time here; callers do.
    ///
    /// The error is of kind `ConnectionRefused` or `NotFound` only when it is certain that nobody listens: a
    /// server takes its peer for dead when it sees them.
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>>;

    /// Begins to listen on `addr`.
    ///
    /// The error is of kind `AddrInUse` when somebody else listens there.
    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>>;

    /// Whether any Tokio runtime of the process can make and drive its connections.
    ///
    /// If so, a clerk keeps its locks from a thread of its own while the runtime that it was connected in does not
    /// run. The default is false: everything stays on the caller's runtime, as a simulation needs it to repeat a seed.
    fn is_reached_from_any_runtime(&self) -> bool {
        false
    }
}
