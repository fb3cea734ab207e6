//! Dials so that small packets carry everything, for ways that lose large ones.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{Addr, Listener, Network, Stream};

/// A network whose connections are those of another one, in small segments.
#[derive(Debug)]
pub(crate) struct SmallSegments(pub(crate) Arc<dyn Network>);

impl Network for SmallSegments {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        self.0.connect_in_small_segments(addr)
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        self.0.listen(addr)
    }
}
