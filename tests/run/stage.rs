//! A pair, `lockc run` under it, and a witness of what still runs.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lockservice::ServerId;
use lockservice::testkit::{Pair, PairOptions, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A pair of processes, and a directory.
pub(crate) struct Stage {
    pub(crate) pair: Pair,
    directory: TempDir,
}

impl Stage {
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
    pub(crate) fn run(&self, words: &str, script: &str) -> Run {
        let mut command = self.lockc("run");
        command.args(words.split_whitespace());
        command.args(["--", "sh", "-c", script]);
        Run::start(command)
    }

    /// The same by way of nohup(1), so that the kernel's hangup for orphans ends nothing.
    pub(crate) fn run_without_hangup(&self, words: &str, script: &str) -> Run {
        let mut command = Command::new("nohup");
        command
            .env_clear()
            .env("LOCK_SERVERS", self.pair.servers().to_string());
        command.args([env!("CARGO_BIN_EXE_lockc"), "run"]);
        command.args(words.split_whitespace());
        command.args(["--", "sh", "-c", script]);
        Run::start(command)
    }

    /// Its exit code, when nobody talks to it.
    pub(crate) async fn code(&self, words: &str, script: &str) -> Option<i32> {
        self.run(words, script).ended().await.code()
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

/// Runs a program as from a terminal: whoever runs the tests may ignore interrupts, and that is inherited.
pub(crate) const FROM_A_TERMINAL: [&str; 2] = ["env", "--default-signal=INT,QUIT"];

/// The program, with an empty environment.
pub(crate) fn lockc() -> Command {
    let [env, default] = FROM_A_TERMINAL;
    let mut command = Command::new(env);
    command
        .args([default, env!("CARGO_BIN_EXE_lockc")])
        .env_clear();
    command
}

/// A `lockc run`, killed when dropped: whatever it runs goes with it.
pub(crate) struct Run {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Run {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("lockc starts");
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            stderr: BufReader::new(child.stderr.take().expect("a pipe")),
            child,
        }
    }

    /// Waits until it has said this line.
    pub(crate) async fn says(&mut self, expected: &str) {
        let line = self.line().await;
        assert_eq!(line, expected);
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stdout.read_line(&mut line));
        read.await.expect("it says something").expect("text");
        line.truncate(line.trim_end().len());
        line
    }

    /// Reads the number of a process, and waits until that is stopped.
    pub(crate) async fn says_that_it_stops(&mut self) {
        let number = self.line().await.parse().expect("a number");
        let process = Pid::from_raw(number).expect("not zero");
        wait_until("it is stopped", PATIENCE, async || {
            state_of(process) == Some('T')
        })
        .await;
    }

    /// All that it still says, once nobody can say more.
    pub(crate) async fn rest(&mut self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        let read = async {
            self.stdout.read_to_string(&mut out).await.expect("text");
            self.stderr.read_to_string(&mut err).await.expect("text");
        };
        timeout(PATIENCE, read).await.expect("it ends");
        (out, err)
    }

    pub(crate) async fn tell(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        stdin.write_all(text.as_bytes()).await.expect("it listens");
    }

    pub(crate) fn hush(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = self.child.id().expect("it runs");
        Pid::from_raw(id.try_into().expect("a number")).expect("not zero")
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it can be signalled");
    }

    /// Kills `lockc run` itself, and nothing else.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait());
        status.await.expect("it ends").expect("it is ours")
    }

    /// Waits until its leash is there, and gives it.
    pub(crate) async fn leash(&self) -> Pid {
        let mut leash = None;
        wait_until("there is a leash", PATIENCE, async || {
            let children = children_of(self.pid());
            leash = children
                .into_iter()
                .find(|child| name_of(*child) == "lock-leash");
            leash.is_some()
        })
        .await;
        leash.expect("that was waited for")
    }
}

/// A file that a command has locked, and with it everything that it has started. So it shows whether any of them
/// is left, whatever groups and sessions they are in.
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

/// What a process does: `T` is stopped, `Z` has ended.
pub(crate) fn state_of(process: Pid) -> Option<char> {
    stat(process).map(|(state, _)| state)
}

/// The state and the parent of a process.
fn stat(process: Pid) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}
