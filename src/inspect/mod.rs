//! Inspection of locks: the wait-for graph, deadlocks, and changes.
//!
//! It is pure: locks in, conclusions out. [`Clerk::wait_graph`](crate::Clerk::wait_graph) and
//! [`Clerk::watch`](crate::Clerk::watch) fetch the locks themselves; this module works on locks
//! that were fetched already, by [`Clerk::list`](crate::Clerk::list).

mod changes;
mod cycle;
mod deadlocked;
#[cfg(any(test, feature = "internals"))]
#[doc(hidden)]
pub mod samples;
mod waits;

pub use self::changes::{LockChange, LockEvent, changes};
pub use self::waits::{CycleEdge, Wait, WaitGraph};
#[doc(inline)]
pub use crate::service::{LockInfo, LockMode, QueueEntryInfo};
