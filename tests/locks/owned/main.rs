//! Owned locks on real servers and real sockets: leases, the queue, tokens, and what becomes of
//! them when servers and clients fail.

mod blocked;
mod cut;
mod fixture;
mod inspect;
#[cfg(target_os = "linux")]
mod permits;
mod queue;
mod retained;
mod session;
