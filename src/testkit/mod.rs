//! A whole pair inside a test, with failures on command (feature `testkit`).
//!
//! - [`Proxy`] stands in one direction of reach (clients to a server, one server to the other) and
//!   cuts it, holds what is on the way, or loses the replies.

mod history;
pub mod invariants;
pub mod linearizability;
mod proxy;
mod reserved;
mod wait;

pub use history::{Call, History, HistoryError, Moment, Operation, Outcome, Recorder};
pub use proxy::{Direction, Flow, Proxy, Traffic};
pub use reserved::Reserved;
pub use wait::wait_until;
