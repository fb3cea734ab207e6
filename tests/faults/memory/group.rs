//! Control groups that limit the memory of what runs in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::process::Command;

/// A control group, removed when dropped; what runs in it has to be gone by then.
#[derive(Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// Makes one in which all processes together have `bytes` of memory. The error says why that
    /// cannot be done here.
    pub(crate) fn new(bytes: u64) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lockservice-test-{}-{number}", process::id());
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        let (tree, file) = tree(&mounts).ok_or("no control groups for memory are mounted")?;
        let group = Self(tree.join(name));
        group.make(file, bytes).map_err(|error| {
            format!(
                "cannot make the control group {}: {error}",
                group.0.display()
            )
        })?;
        Ok(group)
    }

    fn make(&self, file: &str, bytes: u64) -> io::Result<()> {
        fs::create_dir(&self.0)?;
        // Without swap; not every kernel lets that be said.
        for (file, text) in [("memory.swappiness", "0"), ("memory.swap.max", "0")] {
            let _ = fs::write(self.0.join(file), text);
        }
        fs::write(self.0.join(file), bytes.to_string())
    }

    /// A program that runs in this group.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let join = "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"";
        command.args(["-c", join]).arg(&self.0).arg(program);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has been killed leaves its group a moment later.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::yield_now(),
                _ => return,
            }
        }
    }
}

/// Where groups that limit memory are made, and in which of their files the limit is.
fn tree(mounts: &str) -> Option<(PathBuf, &'static str)> {
    let mounts: Vec<_> = mounts.lines().filter_map(mount).collect();
    let of_version_1 = mounts.iter().find(|(kind, options, _)| {
        *kind == "cgroup" && options.split(',').any(|option| option == "memory")
    });
    if let Some((_, _, path)) = of_version_1 {
        return Some((path.into(), "memory.limit_in_bytes"));
    }
    let (_, _, path) = mounts.iter().find(|(kind, ..)| *kind == "cgroup2")?;
    let path = Path::new(path);
    let _ = fs::write(path.join("cgroup.subtree_control"), "+memory");
    Some((path.to_owned(), "memory.max"))
}

/// The kind of a mount, its options, and its path.
fn mount(line: &str) -> Option<(&str, &str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    Some((after.next()?, after.nth(1)?, before.split(' ').nth(4)?))
}
