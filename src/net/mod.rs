//! How bytes get from one process to another: addresses, connections, and what is said on them
//! first.
//!
//! Any byte stream is a transport. A [`Network`] dials and listens; [`SystemNetwork`] does so over
//! TCP and Unix sockets, [`MemoryNetwork`] inside one process, and a decorator around either can
//! cut, slow down or encrypt. What they give is a [`Stream`]; the [`preface`] says what the stream
//! is for, and [`framing`] makes of it a transport for tarpc.

mod addr;
mod codec;
pub mod framing;
mod memory;
mod names;
mod network;
pub mod preface;
mod race;
#[cfg(feature = "server")]
mod redial;
mod resolve;
#[cfg(feature = "server")]
mod segments;
mod stream;
mod stub;
mod system;
mod tcp;
mod unix;

pub use addr::{Addr, AddrError, PairId, Servers};
pub use framing::{
    ClientTransport, ServerTransport, Transport, client_transport, server_transport,
};
pub use memory::MemoryNetwork;
pub use network::Network;
pub use preface::{
    DialError, GreetError, Purpose, Rejection, RunId, accept, dial, dial_as_client, greet, reject,
    welcome,
};
#[cfg(feature = "server")]
pub(crate) use redial::Redial;
pub use resolve::{Resolve, SystemResolver};
#[cfg(feature = "server")]
pub(crate) use segments::SmallSegments;
pub use stream::{Accept, Listener, Stream};
pub use stub::Checked;
pub use system::SystemNetwork;
