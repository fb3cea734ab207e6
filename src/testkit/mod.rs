//! A whole pair inside a test, with failures on command (feature `testkit`).
//!
//! - [`Pair`] runs two servers, as processes or in this one, and kills, hangs, deafens, restarts
//!   them, cuts and mends what lies between. [`Proxy`] and [`Process`] are what it is made of.
//! - [`Recorder`] keeps what clients asked and were told: a [`History`].
//! - [`linearizability`] and the [`invariants`] judge it; an [`HistoryChecker`] does so by rounds
//!   when it is too long to be kept. [`holders`] judges who owns locks.

mod pair;
mod process;
mod proxy;
mod reserved;
mod wait;

pub use crate::checker::history::{
    Call, History, HistoryError, Moment, Operation, Outcome, RecordedClerk, Recorder,
};
pub use crate::checker::rounds::{HistoryChecker, ViolationReport};
pub use crate::checker::{holders, invariants, linearizability};
pub use pair::{Pair, PairOptions};
pub use process::Process;
pub use proxy::{Direction, Flow, Proxy, Traffic};
pub use reserved::Reserved;
pub use wait::wait_until;
