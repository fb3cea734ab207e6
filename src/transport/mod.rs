//! How bytes get from one process to another: addresses, connections, listeners.
//!
//! Any byte stream is a transport. A [`Network`] dials and listens; [`SystemNetwork`] does so over
//! TCP and Unix sockets, [`MemoryNetwork`] inside one process, and a decorator around either can
//! cut, slow down or encrypt. What they give is a [`Stream`]; [`rpc`](crate::rpc) makes a tarpc
//! transport of it.

mod addr;
mod memory;
mod names;
mod network;
mod race;
#[cfg(feature = "server")]
mod redial;
mod resolve;
#[cfg(feature = "server")]
mod segments;
mod servers;
mod stream;
mod system;
mod tcp;
mod unix;

pub use addr::{Addr, AddrError};
pub use memory::MemoryNetwork;
pub use network::{BoxFuture, Network};
pub(crate) use race::was_not_asked;
#[cfg(feature = "server")]
pub(crate) use redial::Redial;
pub use resolve::{Resolve, SystemResolver};
#[cfg(feature = "server")]
pub(crate) use segments::SmallSegments;
pub use servers::{PairId, Servers};
pub use stream::{Accept, Listener, Stream};
pub use system::SystemNetwork;
