//! What the kernel says of processes, in `/proc`.

use std::fs;

use rustix::process::Pid;

/// A process, as `/proc/PID/stat` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// The beginning of the name of its program.
    pub(super) name: String,
    pub(super) parent: Option<Pid>,
    /// The number of its process group.
    pub(super) group: i32,
    /// Whether it has ended, and waits to be waited for.
    pub(super) is_zombie: bool,
}

impl Process {
    /// None when there is no such process, or it is hidden from this one.
    pub(super) fn read(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&stat))
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name stands in brackets, and may hold some itself.
        let (before, after) = stat.rsplit_once(") ")?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let threads: u32 = fields.nth(14)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            parent: Pid::from_raw(parent),
            group,
            // The first thread of a process can end before the others do.
            is_zombie: matches!(state, "Z" | "X") && threads <= 1,
        })
    }
}

/// Lists the processes that are there throughout; others may be listed or not.
pub(super) fn list() -> impl Iterator<Item = (Pid, Process)> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let pid = Pid::from_raw(name.to_str()?.parse().ok()?)?;
        Some((pid, Process::read(pid)?))
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpgrp, getpid, getppid};

    use super::*;

    #[test]
    fn a_process_reads_its_own_description() {
        let this = Process::read(getpid()).expect("it is there");
        assert_eq!(this.parent, getppid());
        assert_eq!(this.group, getpgrp().as_raw_pid());
        assert!(!this.is_zombie, "{this:?}");
        assert!(list().any(|(pid, _)| pid == getpid()));
    }

    #[test]
    fn a_name_may_hold_brackets_and_blanks() {
        let process = Process::parse("7 (a) (b) c) S 3 5 5 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 9");
        let process = process.expect("it is one");
        assert_eq!(process.name, "a) (b) c");
        let parent = process.parent.map(Pid::as_raw_pid);
        assert_eq!((parent, process.group), (Some(3), 5));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_still_runs() {
        for (state, threads, is_zombie) in [
            ("Z", 1, true),
            ("X", 0, true),
            ("Z", 2, false),
            ("T", 1, false),
            ("S", 1, false),
        ] {
            let stat = format!("7 (a) {state} 3 5 5 0 -1 1 2 3 4 5 6 7 8 9 20 0 {threads} 0 9");
            let process = Process::parse(&stat).expect("it is one");
            assert_eq!(process.is_zombie, is_zombie, "{stat}");
        }
    }
}
