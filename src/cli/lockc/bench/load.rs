//! The load: clerks that lock and unlock without a pause, each call in flight with a lock of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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

/// What came of it.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) latencies: Latencies,
    pub(super) failed: u64,
    pub(super) last_failure: Option<CallError>,
}

impl Tally {
    fn new() -> Self {
        Self {
            latencies: Latencies::new(),
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

/// A load that is being applied.
#[derive(Debug)]
pub(super) struct Running {
    clerks: Vec<Clerk>,
    callers: JoinSet<()>,
    stop: CancellationToken,
    tally: Arc<Mutex<Tally>>,
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
            stop: CancellationToken::new(),
            tally: Arc::new(Mutex::new(Tally::new())),
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
                    running.tally.clone(),
                    running.stop.clone(),
                ));
            }
        }
        Ok(running)
    }
}

impl Running {
    /// How many calls have been answered.
    pub(super) fn answered(&self) -> u64 {
        tally(&self.tally).latencies.count()
    }

    /// What came of it since it began, or since this was asked before.
    pub(super) fn take_tally(&self) -> Tally {
        std::mem::replace(&mut tally(&self.tally), Tally::new())
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
    tallied: Arc<Mutex<Tally>>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let asked = Instant::now();
        let answer = clerk.lock(&lock).await;
        tally(&tallied).add(asked, answer);
        let asked = Instant::now();
        let answer = clerk.unlock(&lock).await;
        tally(&tallied).add(asked, answer);
    }
}

/// Counts are whole after every step, so a poisoned lock is sound.
fn tally(shared: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
