//! Processes that have left the command's process group, and outlive the command.
//!
//! `lockc run` does not wait for them: a daemon would hold the lock for ever. They belong to
//! sessions of their own, where nothing could end them in time, so the lock does not cover them.
//! This is said.

use std::fmt;

use rustix::process::{Pid, WaitOptions, getpid, wait};

use super::process::{self, Process};
use super::watchdog;

/// How many of them are named.
const NAMED: usize = 3;

/// Processes that go on without the lock: those whose parents have ended, so that they are children
/// of this one.
#[derive(Debug)]
pub(super) struct LeftBehind(Vec<(Pid, Process)>);

impl LeftBehind {
    /// Finds them once the command's group is gone. Waits for those that have ended.
    pub(super) fn find() -> Self {
        let is_any_left = loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let this = Some(getpid());
        let is_one = |process: &Process| {
            process.parent == this && !process.is_zombie && process.name != watchdog::PROGRAM
        };
        let found = is_any_left.then(process::list).into_iter().flatten();
        Self(found.filter(|(_, process)| is_one(process)).collect())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left running without the lock, in a session or process group of its own: ")?;
        for (at, (pid, process)) in self.0.iter().take(NAMED).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} (pid {pid})", process.name)?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
