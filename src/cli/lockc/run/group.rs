//! The process group of a command: what is signalled, and what has to be gone before its lock is.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// A process group. Its number stays its own as long as one process is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group(Pid);

impl Group {
    /// The group that the process `leader` has made.
    pub(super) const fn led_by(leader: Pid) -> Self {
        Self(leader)
    }

    pub(super) const fn from_raw(number: i32) -> Option<Self> {
        match Pid::from_raw(number) {
            Some(leader) => Some(Self(leader)),
            None => None,
        }
    }

    pub(super) const fn leader(self) -> Pid {
        self.0
    }

    /// Signals every process of the group that may be signalled.
    pub(super) fn send(self, signal: Signal) {
        // An error says that there is none. Whoever has to know asks whether it is gone.
        let _ = kill_process_group(self.0, signal);
    }

    /// Asks the group to end, also the processes in it that are stopped.
    pub(super) fn terminate(self) {
        self.send(Signal::TERM);
        self.send(Signal::CONT);
    }

    /// Whether no process is in it any more, not even one that has ended and was not waited for.
    pub(super) fn is_gone(self) -> bool {
        test_kill_process_group(self.0) == Err(Errno::SRCH)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_group_is_gone_when_its_last_process_was_waited_for() {
        let mut child = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .expect("there is a sleep");
        let group = Group::led_by(Pid::from_child(&child));
        assert!(!group.is_gone());
        group.send(Signal::STOP);
        group.terminate();
        let status = child.wait().expect("it ends, though it was stopped");
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
        assert!(group.is_gone());
    }
}
