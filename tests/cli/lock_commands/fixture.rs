//! A pair, its clerks, and `lockc` as its users run it.

use std::time::Duration;

use lockservice::clerk::{Clerk, LockGuard};
use lockservice::testkit::{Pair, PairOptions, wait_until};
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::program::{PATIENCE, Program, next_line};

pub(crate) struct Fixture {
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

impl Fixture {
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
    pub(crate) fn start(&self, line: &str) -> Program {
        self.start_with(&line.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn start_with(&self, args: &[&str]) -> Program {
        lockc(&self.pair.servers().to_string(), args)
    }

    /// Runs `lockc` to its end.
    pub(crate) async fn run(&self, line: &str) -> Ended {
        self.start(line).ended().await
    }
}

/// `lockc` for these servers, with these words.
pub(crate) fn lockc(servers: &str, args: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockc"));
    command.env_clear().env("LOCK_SERVERS", servers).args(args);
    Program::start(command)
}

impl Program {
    /// What it answers to a line.
    pub(crate) async fn answer(&mut self, line: &str) -> String {
        self.tell(line).await;
        self.line().await
    }

    /// The next line of its errors.
    pub(crate) async fn complaint(&mut self) -> String {
        next_line(&mut self.stderr).await
    }

    /// Ends its input, and waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        self.hush();
        let (stdout, stderr) = self.rest().await;
        Ended {
            code: self.exited().await.code(),
            stdout,
            stderr,
        }
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
