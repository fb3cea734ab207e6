//! A pair, `lockc run` under it, and a witness of what still runs.

use std::fs::{self, File};
use std::path::PathBuf;

use lockservice::ServerId;
use lockservice::testkit::{Pair, PairOptions, wait_until};
use rustix::process::Pid;
use tempfile::TempDir;
use tokio::process::Command;

use crate::program::{PATIENCE, Program};

/// A pair of processes, and a directory.
pub(crate) struct Fixture {
    pub(crate) pair: Pair,
    directory: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let options = PairOptions::processes(env!("CARGO_BIN_EXE_lockd")).unix();
        Self {
            pair: Pair::start(options).await,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `lockc run` with these words after it, separated by blanks, and then `script` for a shell.
    pub(crate) fn run(&self, words: &str, script: &str) -> Program {
        self.run_by(&FROM_A_TERMINAL, words, script)
    }

    /// The same by way of nohup(1), so that the kernel's hangup for orphans ends nothing.
    pub(crate) fn run_without_hangup(&self, words: &str, script: &str) -> Program {
        self.run_by(&["nohup"], words, script)
    }

    /// The same, started by another program, which becomes it.
    pub(crate) fn run_by(&self, starter: &[&str], words: &str, script: &str) -> Program {
        let mut command = lockc_by(starter);
        command.env("LOCK_SERVERS", self.pair.servers().to_string());
        command.arg("run").args(words.split_whitespace());
        command.args(["--", "sh", "-c", script]);
        Program::start(command)
    }

    /// Its exit code, when nobody talks to it.
    pub(crate) async fn code(&self, words: &str, script: &str) -> Option<i32> {
        self.run(words, script).exited().await.code()
    }

    /// `lockc` with these words after it.
    pub(crate) fn lockc(&self, words: &str) -> Command {
        let mut command = lockc();
        command.env("LOCK_SERVERS", self.pair.servers().to_string());
        command.args(words.split_whitespace());
        command
    }

    pub(crate) async fn break_lock(&self, name: &str, token: &str) {
        let words = format!("break {name} --reason test --token {token}");
        let broken = self.lockc(&words).output().await.expect("lockc runs");
        assert!(broken.status.success(), "{broken:?}");
    }

    pub(crate) fn kill_servers(&mut self) {
        for server in ServerId::BOTH {
            self.pair.kill(server);
        }
    }

    pub(crate) fn witness(&self, name: &str) -> Witness {
        Witness(self.path(name))
    }
}

/// Runs a program as from a terminal: whoever runs the tests may ignore hang-ups and interrupts,
/// and that is inherited.
pub(crate) const FROM_A_TERMINAL: [&str; 2] = ["env", "--default-signal=HUP,INT,QUIT"];

/// The program, with an empty environment.
pub(crate) fn lockc() -> Command {
    lockc_by(&FROM_A_TERMINAL)
}

/// The same, started by another program, which becomes it.
fn lockc_by(starter: &[&str]) -> Command {
    let mut words = starter.iter().chain(&[env!("CARGO_BIN_EXE_lockc")]);
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).env_clear();
    command
}

impl Program {
    /// Waits until it has said this line.
    pub(crate) async fn says(&mut self, expected: &str) {
        let line = self.line().await;
        assert_eq!(line, expected);
    }

    /// Reads the number of a process, and waits until that is stopped.
    pub(crate) async fn says_that_it_stops(&mut self) {
        let number = self.line().await;
        is_stopped(&number).await;
    }

    /// Kills `lockc run` itself, and nothing else.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// Waits until its watchdog is there, and gives it.
    pub(crate) async fn watchdog(&self) -> Pid {
        let mut watchdog = None;
        wait_until("there is a watchdog", PATIENCE, async || {
            let children = children_of(self.pid());
            watchdog = children
                .into_iter()
                .find(|child| name_of(*child) == "lock-watchdog");
            watchdog.is_some()
        })
        .await;
        watchdog.expect("that was waited for")
    }
}

/// A file that a command has locked, and with it everything that it has started. So it shows
/// whether any of them is left, whatever groups and sessions they are in.
pub(crate) struct Witness(PathBuf);

impl Witness {
    /// Has the shell that goes on with `script` be watched.
    pub(crate) fn of(&self, script: &str) -> String {
        format!("exec 9>>{}; flock 9; {script}", self.0.display())
    }

    /// Exits with 0 if nobody that is watched is left.
    pub(crate) fn check(&self) -> String {
        format!("flock -n {} true", self.0.display())
    }

    /// Whether nobody that is watched is left, or was there at all.
    pub(crate) fn is_free(&self) -> bool {
        File::options()
            .append(true)
            .create(true)
            .open(&self.0)
            .expect("a file")
            .try_lock()
            .is_ok()
    }

    pub(crate) async fn is_freed(&self) {
        wait_until("the command is gone", PATIENCE, async || self.is_free()).await;
    }
}

/// What a process is called.
pub(crate) fn name_of(process: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm"));
    name.unwrap_or_default().trim_end().to_owned()
}

/// The children of a process that have not ended.
pub(crate) fn children_of(parent: Pid) -> Vec<Pid> {
    let is_child = |process: &Pid| {
        let (state, of) = stat(*process).unwrap_or(('Z', 0));
        state != 'Z' && of == parent.as_raw_pid()
    };
    let entries = fs::read_dir("/proc").expect("a list of processes");
    let processes = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        Pid::from_raw(name.to_str()?.parse().ok()?)
    });
    processes.filter(is_child).collect()
}

/// Waits until the process of this number is stopped.
pub(crate) async fn is_stopped(number: &str) {
    let number = number.parse().expect("a number");
    let process = Pid::from_raw(number).expect("not zero");
    wait_until("it is stopped", PATIENCE, async || {
        stat(process).is_some_and(|(state, _)| state == 'T')
    })
    .await;
}

/// The state and the parent of a process: `T` is stopped, `Z` has ended.
fn stat(process: Pid) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
