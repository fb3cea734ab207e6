//! What is said on a connection first, and how messages are framed and encoded.
//!
//! The [`preface`] says what a stream is for, [`framing`] makes a transport for tarpc of it, and
//! `serve` answers the requests that come on it.

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
