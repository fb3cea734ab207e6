//! The terminal, which a command in a process group of its own may use only when it is handed over.
//!
//! A process that reads from the terminal, or sets it, without belonging to its foreground group is
//! stopped. When that happens to the command, and this process is in the foreground, the terminal
//! is lent to the command's group. It is not lent before, for others in a pipeline may want it.

use std::fs::{File, OpenOptions};
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal as TtySignal};
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
        Some(Self {
            tty: open().ok()?,
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

    pub(super) const fn home(&self) -> Pid {
        self.home
    }

    pub(super) const fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Takes it back, if it was lent. True when it was.
    pub(super) fn take_back(&mut self) -> bool {
        let was_lent = std::mem::take(&mut self.is_lent);
        if was_lent {
            // A process that takes a terminal back is not in the foreground, and would be stopped
            // for it.
            let hold = SigSet::from(TtySignal::SIGTTOU).thread_swap_mask(SigmaskHow::SIG_BLOCK);
            // An error says that the terminal is gone.
            let _ = tcsetpgrp(&self.tty, self.home);
            if let Ok(before) = hold {
                let _ = before.thread_set_mask();
            }
        }
        was_lent
    }
}

/// Gives the terminal to the group `home` if `group` has it. For a process that holds SIGTTOU back.
pub(super) fn give_back(group: Group, home: Pid) {
    let Ok(tty) = open() else { return };
    if tcgetpgrp(&tty) == Ok(group.leader()) {
        // An error says that nobody of that group is left to use it.
        let _ = tcsetpgrp(&tty, home);
    }
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.take_back();
    }
}
