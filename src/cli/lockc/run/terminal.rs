//! The terminal, which a command in a process group of its own may use only when it is handed over.
//!
//! A process that reads from the terminal, or sets it, without belonging to its foreground group is stopped.
//! When that happens to the command, and this process is in the foreground, the terminal is lent to the
//! command's group. It is not lent before, for others in a pipeline may want it.

use std::fs::{File, OpenOptions};

use nix::sys::signal::{SigSet, Signal as TtySignal};
use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use super::group::Group;

/// The terminal that this process was started from. It is taken back when this is dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    tty: File,
    /// The group of this process.
    home: Pid,
    is_lent: bool,
}

impl Terminal {
    /// None when there is none.
    pub(super) fn open() -> Option<Self> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let tty = tty.ok()?;
        // Whoever takes a terminal back is not in the foreground, and would be stopped for it.
        SigSet::from(TtySignal::SIGTTOU).thread_block().ok()?;
        Some(Self {
            tty,
            home: getpgrp(),
            is_lent: false,
        })
    }

    /// Lends it to `group`, if this process is in the foreground. True when the group has it.
    pub(super) fn lend(&mut self, group: Group) -> bool {
        if tcgetpgrp(&self.tty) == Ok(self.home) {
            self.is_lent = tcsetpgrp(&self.tty, group.leader()).is_ok();
            return self.is_lent;
        }
        false
    }

    pub(super) const fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Takes it back, if it was lent.
    pub(super) fn take_back(&mut self) {
        if self.is_lent {
            self.is_lent = false;
            // An error says that the terminal is gone.
            let _ = tcsetpgrp(&self.tty, self.home);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.take_back();
    }
}
