//! A whole pair inside a test, with failures on command (feature `testkit`).
//!
//! - [`Proxy`] stands in one direction of reach (clients to a server, one server to the other) and
//!   cuts it, holds what is on the way, or loses the replies.

mod endpoint;
mod history;
pub mod invariants;
pub mod linearizability;
mod proxy;
mod wait;

pub use endpoint::{Endpoint, EndpointError, Reserved};
pub use history::{Call, History, HistoryError, Moment, Operation, Outcome, Recorder};
pub use proxy::{Direction, Flow, Proxy, Traffic};
pub use wait::wait_until;
