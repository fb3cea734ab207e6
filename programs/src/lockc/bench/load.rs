//! The load: clerks that take and free locks without a pause, each call in flight with a lock of
//! its own.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lockc::latency::Latencies;
use lockservice::clerk::{Clerk, ConnectError, TryAcquired};
use lockservice::transport::Servers;

/// How much is asked of the pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) operations: Operations,
    pub(super) clerks: u32,
    pub(super) in_flight: u32,
    pub(super) timeout: Duration,
}

/// Which calls take a lock and free it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operations {
    /// `lock` and `unlock`.
    Unowned,
    /// `try_acquire` and `release`.
    Owned,
}

/// The result of a load.
#[derive(Debug)]
pub(super) struct LoadCounters {
    pub(super) latencies: Latencies,
    pub(super) failed: u64,
    pub(super) last_failure: Option<String>,
}

impl LoadCounters {
    pub(super) fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            failed: 0,
            last_failure: None,
        }
    }

    fn add(&mut self, asked: Instant, failure: Option<String>) {
        if failure.is_none() {
            self.latencies.record(asked.elapsed());
        } else {
            self.failed += 1;
            self.last_failure = failure;
        }
    }
}

/// A load that is being applied.
#[derive(Debug)]
pub(super) struct Running {
    clerks: Vec<Clerk>,
    callers: JoinSet<()>,
    stop: CancellationToken,
    counters: Arc<Mutex<LoadCounters>>,
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
            counters: Arc::new(Mutex::new(LoadCounters::new())),
        };
        for n in 0..self.clerks {
            let builder = Clerk::builder(servers.clone()).timeout(self.timeout);
            let clerk = builder.connect().await?;
            running.clerks.push(clerk.clone());
            for m in 0..self.in_flight {
                let lock = format!("{prefix}/{n}/{m}");
                let caller = Caller {
                    clerk: clerk.clone(),
                    lock,
                    counters: running.counters.clone(),
                    stop: running.stop.clone(),
                };
                running.callers.spawn(caller.call(self.operations));
            }
        }
        Ok(running)
    }
}

impl Running {
    /// How many calls have been answered.
    pub(super) fn answered(&self) -> u64 {
        counters(&self.counters).latencies.count()
    }

    /// The result since the load began, or since the last time this was called.
    pub(super) fn take_counters(&self) -> LoadCounters {
        std::mem::replace(&mut counters(&self.counters), LoadCounters::new())
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

/// One call in flight.
struct Caller {
    clerk: Clerk,
    lock: String,
    counters: Arc<Mutex<LoadCounters>>,
    stop: CancellationToken,
}

impl Caller {
    /// Calls until it is stopped.
    async fn call(self, operations: Operations) {
        while !self.stop.is_cancelled() {
            match operations {
                Operations::Unowned => self.lock_and_unlock().await,
                Operations::Owned => self.acquire_and_release().await,
            }
        }
    }

    async fn lock_and_unlock(&self) {
        let asked = Instant::now();
        let answer = self.clerk.lock(&self.lock).await;
        self.add(asked, answer);
        let asked = Instant::now();
        let answer = self.clerk.unlock(&self.lock).await;
        self.add(asked, answer);
    }

    async fn acquire_and_release(&self) {
        let asked = Instant::now();
        let answer = self.clerk.try_acquire(&self.lock).await;
        if let Some(TryAcquired::Acquired(guard)) = self.add(asked, answer) {
            let asked = Instant::now();
            self.add(asked, guard.release().await);
        }
    }

    fn add<T, E: Display>(&self, asked: Instant, answer: Result<T, E>) -> Option<T> {
        let (answer, failure) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        counters(&self.counters).add(asked, failure);
        answer
    }
}

/// Counts are whole after every step, so a poisoned lock is sound.
fn counters(shared: &Mutex<LoadCounters>) -> MutexGuard<'_, LoadCounters> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
