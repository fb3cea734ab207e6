//! The process group of a command: what is signalled, and what has to have ended before its lock is
//! released.
//!
//! A process that has ended stays in its group until its parent waits for it, and a parent that has
//! left the group may never do so. Such a zombie does nothing any more, so it does not count.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::process::{self, Process};

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
        // An error says that the group is empty. To be certain, check its members.
        let _ = kill_process_group(self.0, signal);
    }

    /// Asks the group to end, also the processes in it that are stopped.
    pub(super) fn terminate(self) {
        self.send(Signal::TERM);
        self.send(Signal::CONT);
    }

    /// Whether no process is in it, not even a zombie.
    fn is_empty(self) -> bool {
        test_kill_process_group(self.0) == Err(Errno::SRCH)
    }
}

/// The processes of a group that is about to end.
#[derive(Debug)]
pub(super) struct Members {
    group: Group,
    /// Some that ran when they were last checked: to check these costs less than to check
    /// all.
    known: Vec<Pid>,
}

impl Members {
    pub(super) const fn of(group: Group) -> Self {
        Self {
            group,
            known: Vec::new(),
        }
    }

    pub(super) const fn group(&self) -> Group {
        self.group
    }

    /// Whether none of them runs any more. To be asked when what is left of the group may be
    /// killed.
    pub(super) fn have_ended(&mut self) -> bool {
        if self.group.is_empty() {
            return true;
        }
        while let Some(pid) = self.known.pop() {
            if Process::read(pid).is_some_and(|process| self.runs(&process)) {
                self.known.push(pid);
                return false;
            }
        }
        if !self.only_zombies_are_seen() {
            return false;
        }
        // A process that was started while they were listed can be missing. What is killed starts
        // none.
        self.group.send(Signal::KILL);
        self.only_zombies_are_seen()
    }

    /// Lists those that run. True when there are zombies alone; false also when all members are
    /// hidden.
    fn only_zombies_are_seen(&mut self) -> bool {
        let number = self.group.leader().as_raw_pid();
        let mut any = false;
        self.known.clear();
        for (pid, process) in process::list().filter(|(_, process)| process.group == number) {
            any = true;
            if self.runs(&process) {
                self.known.push(pid);
            }
        }
        any && self.known.is_empty()
    }

    const fn runs(&self, process: &Process) -> bool {
        process.group == self.group.leader().as_raw_pid() && !process.is_zombie
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn the_members_have_ended_when_only_a_zombie_is_left() {
        let mut child = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .expect("there is a sleep");
        let leader = Pid::from_child(&child);
        let group = Group::led_by(leader);
        let mut members = Members::of(group);
        assert!(!members.have_ended() && !members.have_ended());
        group.send(Signal::STOP);
        group.terminate();
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(leader), ended).expect("it ends, though it was stopped");
        assert!(!group.is_empty(), "nobody has waited for it");
        assert!(members.have_ended(), "{members:?}");
        let status = child.wait().expect("it has ended");
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
        assert!(group.is_empty() && members.have_ended());
    }
}
