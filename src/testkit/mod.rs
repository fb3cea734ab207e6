//! A whole pair inside a test, with failures on command (feature `testkit`).
//!
//! - [`Pair`] runs two servers, as processes or in this one, and kills, hangs, deafens, restarts
//!   them, and cuts and mends the links between them. It is made of [`Proxy`] and [`Process`].
//! - [`Recorder`] records the calls of clients and their answers: a [`History`].
//! - [`linearizability`] and the [`invariants`] check it; a [`HistoryChecker`] checks one that is
//!   too long to keep. [`holders`] checks owned locks.

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
#[doc(inline)]
pub use crate::service::Verb;
pub use pair::{Pair, PairOptions};
pub use process::Process;
pub use proxy::{Direction, Flow, Proxy, Traffic};
pub use reserved::Reserved;
pub use wait::wait_until;
