//! What looks at the locks tell: who waits for whom, whether that is a deadlock, and what has
//! changed.
//!
//! It is pure: locks in, conclusions out. [`Clerk::wait_graph`](crate::Clerk::wait_graph) and
//! [`Clerk::watch`](crate::Clerk::watch) look and conclude; this is for whoever has looked already,
//! by [`Clerk::list`](crate::Clerk::list).

mod changes;
mod cycle;
mod deadlocked;
#[cfg(any(test, feature = "internals"))]
#[doc(hidden)]
pub mod samples;
mod waits;

pub use self::changes::{LockChange, LockEvent, changes};
pub use self::waits::{CycleEdge, Wait, WaitGraph};
