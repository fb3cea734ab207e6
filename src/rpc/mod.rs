//! The preface of a connection, and how messages are framed and encoded.
//!
//! The [`preface`] names the purpose of a stream, [`framing`] turns it into a transport for tarpc,
//! and `serve` answers the requests on it.

mod codec;
pub mod framing;
pub mod preface;
#[cfg(feature = "server")]
pub(crate) mod serve;
mod stub;

pub use framing::{
    ClientTransport, ServerTransport, Transport, client_transport, server_transport,
};
pub use preface::{
    DialError, GreetError, Purpose, Rejection, RunId, accept, dial, dial_as_client, greet, reject,
    welcome,
};
pub use stub::Checked;
