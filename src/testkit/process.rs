//! A server as a process of its own, with signals, and its log shown when a test fails.
//!
//! Dropping it leaves no process behind. It stays in the process group of the test, so that an
//! interrupt from the keyboard reaches it too.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::wait_until;

/// How much of a log a failed test shows, in lines.
const SHOWN_LINES: usize = 60;

/// A running process, or one that has ended.
#[derive(Debug)]
#[must_use = "the process is killed once this is dropped"]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, with what it writes to its standard error, and output, appended to the
    /// file `log`. `name` is what a failed test calls it.
    ///
    /// # Errors
    ///
    /// When the program cannot be run, or the file not be written.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use lockservice::testkit::Process;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// let directory = tempfile::tempdir()?;
    /// let log = directory.path().join("log");
    /// let mut process = Process::start("greeter", "echo".as_ref(), ["hello"], log)?;
    /// assert!(process.wait(Duration::from_secs(10)).await.success());
    /// assert_eq!(process.log(), "hello\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn start<A: AsRef<OsStr>>(
        name: impl Into<String>,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        log: PathBuf,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&log)?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self {
            name: name.into(),
            child,
            log,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (`SIGKILL`), also while it is stopped. It has ended when this returns.
    ///
    /// # Panics
    ///
    /// When the system refuses.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("one may kill one's own child");
        self.child.wait().expect("a killed child ends")
    }

    /// Stops it (`SIGSTOP`): it does nothing more until [`Self::wake`], and its connections stay
    /// open. It has stopped when this returns.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        // An error says that it has ended: then it does nothing any more either.
        let _ = waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED);
    }

    /// Lets it go on (`SIGCONT`).
    pub fn wake(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (`SIGTERM`).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    ///
    /// When the system does not know the process, which can only be a bug here.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it has not within `timeout`.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let what = format!("the end of {} ({})", self.name, self.id());
        let mut status = None;
        wait_until(&what, timeout, async || {
            status = self.status();
            status.is_some()
        })
        .await;
        status.expect("that was waited for")
    }

    /// The log so far, with that of earlier processes that had the same file.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        // An error says that it has ended, which the test will notice where it matters.
        let _ = kill_process(self.pid(), signal);
    }

    fn show_log(&self) {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        eprintln!("--- the last of what {} ({}) wrote:", self.name, self.id());
        for line in shown {
            eprintln!("{line}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_log();
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Shell {
        process: Process,
        directory: tempfile::TempDir,
    }

    fn shell(script: &str) -> Shell {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let process = Process::start("a shell", "sh".as_ref(), ["-c", script], log);
        Shell {
            process: process.expect("there is a shell"),
            directory,
        }
    }

    impl Shell {
        async fn wrote(&self, text: &str) {
            wait_until(text, SOON, async || self.process.log().contains(text)).await;
        }
    }

    fn state(process: &Process) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[tokio::test]
    async fn what_it_writes_is_kept_and_how_it_ends_is_told() {
        let mut shell = shell("echo out; echo err >&2; exit 7");
        assert_eq!(shell.process.wait(SOON).await.code(), Some(7));
        assert_eq!(shell.process.log(), "out\nerr\n");
        assert_eq!(shell.process.kill().code(), Some(7));
    }

    #[tokio::test]
    async fn a_stopped_process_is_stopped_at_once_and_goes_on_when_it_is_woken() {
        let mut shell = shell("echo up; read line; while :; do :; done");
        shell.wrote("up").await;
        for _ in 0..20 {
            shell.process.stop();
            assert_eq!(state(&shell.process), Some('T'));
            shell.process.wake();
            assert_ne!(state(&shell.process), Some('T'));
        }
        shell.process.stop();
        assert_eq!(shell.process.kill().signal(), Some(9));
        shell.process.stop();
    }

    #[tokio::test]
    async fn a_terminated_process_may_finish_first() {
        let mut shell =
            shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done");
        shell.wrote("up").await;
        assert_eq!(shell.process.status(), None);
        shell.process.terminate();
        assert_eq!(shell.process.wait(SOON).await.code(), Some(3));
        assert!(shell.process.log().ends_with("bye\n"));
    }

    #[tokio::test]
    async fn nothing_is_left_behind_not_even_a_stopped_process() {
        let shell = shell("trap '' TERM; echo up; exec sleep 1000");
        shell.wrote("up").await;
        shell.process.stop();
        let id = shell.process.id();
        drop(shell.process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        drop(shell.directory);
    }
}
