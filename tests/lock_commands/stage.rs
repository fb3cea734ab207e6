//! A pair, its clerks, and `lockc` as its users run it.

use std::process::Stdio;
use std::time::Duration;

use lockservice::clerk::{Clerk, LockGuard};
use lockservice::testkit::{Pair, PairOptions, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    pub(crate) pair: Pair,
}

/// How a program has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What it printed, a list of words a line.
    pub(crate) fn words(&self) -> Vec<Vec<&str>> {
        let lines = self.stdout.lines();
        lines
            .map(|line| line.split_whitespace().collect())
            .collect()
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd")).unix()).await;
        Self { pair }
    }

    /// A clerk of its own, whose leases do not end by chance.
    pub(crate) async fn clerk(&self) -> Clerk {
        let builder = Clerk::builder(self.pair.servers().clone()).lease(Duration::from_mins(1));
        builder.connect().await.expect("a server answers")
    }

    /// Starts `lockc` with these words.
    pub(crate) fn start(&self, line: &str) -> Lockc {
        self.start_with(&line.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn start_with(&self, args: &[&str]) -> Lockc {
        Lockc::start(&self.pair.servers().to_string(), args)
    }

    /// Runs `lockc` to its end.
    pub(crate) async fn run(&self, line: &str) -> Ended {
        self.start(line).ended().await
    }
}

/// A running `lockc`, killed when dropped.
pub(crate) struct Lockc {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Lockc {
    pub(crate) fn start(servers: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockc"))
            .env_clear()
            .env("LOCK_SERVERS", servers)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("lockc starts");
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")).lines(),
            stderr: BufReader::new(child.stderr.take().expect("a pipe")).lines(),
            child,
        }
    }

    pub(crate) async fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        let line = format!("{line}\n");
        stdin.write_all(line.as_bytes()).await.expect("it listens");
    }

    /// What it answers to a line.
    pub(crate) async fn answer(&mut self, line: &str) -> String {
        self.tell(line).await;
        self.line().await
    }

    pub(crate) async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.stdout.next_line()).await;
        let line = line.expect("it speaks in time").expect("it is text");
        line.expect("it has not ended")
    }

    pub(crate) async fn complaint(&mut self) -> String {
        let line = timeout(PATIENCE, self.stderr.next_line()).await;
        let line = line.expect("it speaks in time").expect("it is text");
        line.expect("it has not ended")
    }

    pub(crate) fn send(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("not zero");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Ends its input, and waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        self.stdin = None;
        let rest = async {
            let (mut stdout, mut stderr) = (String::new(), String::new());
            while let Some(line) = self.stdout.next_line().await.expect("it is text") {
                stdout.extend([line.as_str(), "\n"]);
            }
            while let Some(line) = self.stderr.next_line().await.expect("it is text") {
                stderr.extend([line.as_str(), "\n"]);
            }
            let status = self.child.wait().await.expect("it can be waited for");
            Ended {
                code: status.code(),
                stdout,
                stderr,
            }
        };
        timeout(PATIENCE, rest).await.expect("it ends in time")
    }
}

/// Waits until so many wait for the lock.
pub(crate) async fn wait_for_waiters(clerk: &Clerk, name: &str, count: u64) {
    wait_until("they are in the queue", PATIENCE, async || {
        let lock = clerk.show(name).await.expect("an answer");
        lock.waiters == count
    })
    .await;
}

/// Lets a clerk wait for a lock, and sees it in the queue, behind `before` others.
pub(crate) async fn queue(clerk: &Clerk, name: &str, before: u64) -> JoinHandle<LockGuard> {
    let waits = tokio::spawn({
        let (clerk, name) = (clerk.clone(), name.to_owned());
        async move { clerk.acquire(&name).await.expect("its turn comes") }
    });
    wait_for_waiters(clerk, name, before + 1).await;
    waits
}
