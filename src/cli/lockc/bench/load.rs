//! The load: clerks that lock and unlock without a pause, each call in flight with a lock of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clerk::{CallError, Clerk, ConnectError};
use crate::cli::lockc::latency::Latencies;
use crate::net::Servers;

/// How much is asked of the pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) clerks: u32,
    pub(super) in_flight: u32,
    pub(super) timeout: Duration,
}

/// What came of it so far.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) latencies: Latencies,
    pub(super) failed: u64,
    pub(super) last_failure: Option<CallError>,
}

impl Tally {
    const fn new(latencies: Latencies) -> Self {
        Self {
            latencies,
            failed: 0,
            last_failure: None,
        }
    }

    fn add(&mut self, asked: Instant, answer: Result<bool, CallError>) {
        match answer {
            Ok(_) => self.latencies.record(asked.elapsed()),
            Err(failure) => {
                self.failed += 1;
                self.last_failure = Some(failure);
            }
        }
    }
}

/// What all calls write their outcome to.
#[derive(Debug, Clone)]
pub(super) struct Tallied(Arc<Mutex<Tally>>);

impl Tallied {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Tally::new(Latencies::new()))))
    }

    /// Forgets what there is, and gives it.
    fn take(&self) -> Tally {
        self.with(|tally| std::mem::replace(tally, Tally::new(Latencies::new())))
    }

    /// Counts are whole after every step, so a poisoned lock is sound.
    fn with<T>(&self, what: impl FnOnce(&mut Tally) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many calls have been answered.
    pub(super) fn answered(&self) -> u64 {
        self.with(|tally| tally.latencies.count())
    }
}

/// A load that is being applied.
#[derive(Debug)]
pub(super) struct Running {
    clerks: Vec<Clerk>,
    callers: JoinSet<()>,
    stop: tokio_util::sync::CancellationToken,
    pub(super) tallied: Tallied,
}

impl Load {
    /// Connects the clerks and begins to call. `prefix` begins the name of every lock.
    pub(super) async fn begin(
        &self,
        servers: &Servers,
        prefix: &str,
    ) -> Result<Running, ConnectError> {
        let mut running = Running {
            clerks: Vec::new(),
            callers: JoinSet::new(),
            stop: tokio_util::sync::CancellationToken::new(),
            tallied: Tallied::new(),
        };
        for n in 0..self.clerks {
            let builder = Clerk::builder(servers.clone()).timeout(self.timeout);
            let clerk = builder.connect().await?;
            running.clerks.push(clerk.clone());
            for m in 0..self.in_flight {
                let lock = format!("{prefix}/{n}/{m}");
                running.callers.spawn(call_until_stopped(
                    clerk.clone(),
                    lock,
                    running.tallied.clone(),
                    running.stop.clone(),
                ));
            }
        }
        Ok(running)
    }
}

impl Running {
    /// Forgets what came of it so far.
    pub(super) fn forget(&self) {
        drop(self.tallied.take());
    }

    /// What came of it since it began, or since that was forgotten.
    pub(super) fn tally(&self) -> Tally {
        self.tallied.take()
    }

    /// Ends the load. Every lock is free again, unless a call failed.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while self.callers.join_next().await.is_some() {}
        for clerk in self.clerks {
            clerk.close().await;
        }
    }
}

async fn call_until_stopped(
    clerk: Clerk,
    lock: String,
    tallied: Tallied,
    stop: tokio_util::sync::CancellationToken,
) {
    while !stop.is_cancelled() {
        let asked = Instant::now();
        let answer = clerk.lock(&lock).await;
        tallied.with(|tally| tally.add(asked, answer));
        let asked = Instant::now();
        let answer = clerk.unlock(&lock).await;
        tallied.with(|tally| tally.add(asked, answer));
    }
}
