//! The clerks, and what they do in a round.
//!
//! A round ends with no call under way, so that its calls can be checked and dropped.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::workload::Workload;
use crate::lockc::args::TortureOptions;
use lockservice::checker::history::{History, RecordedClerk, Recorder};
use lockservice::clerk::{CallError, Clerk, ConnectError};
use lockservice::service::Verb;
use lockservice::transport::Servers;
use lockservice::types::LockName;

/// When a round has taken this long, no more calls begin in it.
const ROUND: Duration = Duration::from_secs(1);

/// How many calls a round has at most: some 20 MiB.
const ROUND_CALLS: u32 = 100_000;

/// How many locks are freed at a time.
const FREED_AT_ONCE: usize = 64;

/// Everybody who calls.
#[derive(Debug)]
pub(super) struct Workers {
    recorder: Recorder,
    clerks: Vec<Clerk>,
    all: Vec<Worker>,
}

/// Makes one call after the other.
#[derive(Debug)]
struct Worker {
    client: RecordedClerk,
    random: Rng,
}

impl Workers {
    /// Connects all clerks. Those that no server takes on are left out, unless it is all of them.
    pub(super) async fn connect(
        servers: &Servers,
        timeout: Duration,
        options: &TortureOptions,
        seed: u64,
    ) -> Result<Self, ConnectError> {
        let connect = |_| Clerk::builder(servers.clone()).timeout(timeout).connect();
        let mut clerks = Vec::new();
        let mut refused = None;
        for connected in join_all((0..options.clerks).map(connect)).await {
            match connected {
                Ok(clerk) => clerks.push(clerk),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if clerks.is_empty() => Err(error),
            _ => Ok(Self::new(clerks, options.in_flight, seed)),
        }
    }

    fn new(clerks: Vec<Clerk>, in_flight: u32, seed: u64) -> Self {
        let recorder = Recorder::new();
        let mut random = Rng::with_seed(seed);
        let workers = (1..).zip(&clerks).flat_map(|(number, clerk)| {
            let client = recorder.client(number, clerk.clone());
            (0..in_flight).map(move |_| client.clone())
        });
        let workers = workers
            .map(|client| Worker {
                client,
                random: random.fork(),
            })
            .collect();
        Self {
            recorder,
            clerks,
            all: workers,
        }
    }

    pub(super) const fn clerks(&self) -> usize {
        self.clerks.len()
    }

    /// Has everybody work for a while, until `end` at the latest.
    pub(super) async fn round(
        &mut self,
        locks: &Workload,
        end: Instant,
        stop: &CancellationToken,
        tally: &mut Counters,
    ) -> History {
        let now = Instant::now();
        tally.begin(now);
        let round = Round {
            locks,
            end: end.min(now + ROUND),
            stop,
            calls_left: Cell::new(ROUND_CALLS),
            counters: RefCell::new(tally),
        };
        join_all(self.all.iter_mut().map(|worker| worker.work(&round))).await;
        round.counters.into_inner().pause(Instant::now());
        self.recorder.take()
    }

    /// Frees every lock, as far as servers answer. Tells what was recorded, and how many locks may
    /// not be free.
    pub(super) async fn free(&self, locks: &Workload) -> (History, usize) {
        let Some(worker) = self.all.first() else {
            return (History::default(), 0);
        };
        let freed = stream::iter(locks.all())
            .map(|name| worker.client.unlock(name.as_str()))
            .buffered(FREED_AT_ONCE)
            .take_while(|answer| std::future::ready(answer.is_ok()))
            .count()
            .await;
        (self.recorder.take(), locks.all().count() - freed)
    }

    pub(super) async fn leave(self) {
        drop(self.all);
        join_all(self.clerks.into_iter().map(Clerk::close)).await;
    }
}

/// What all workers share in a round.
struct Round<'a> {
    locks: &'a Workload,
    end: Instant,
    stop: &'a CancellationToken,
    calls_left: Cell<u32>,
    counters: RefCell<&'a mut Counters>,
}

impl Round<'_> {
    /// Whether one more call may begin; it counts as begun then.
    fn begin_call(&self) -> bool {
        if self.stop.is_cancelled() || Instant::now() >= self.end {
            return false;
        }
        match self.calls_left.get().checked_sub(1) {
            Some(left) => {
                self.calls_left.set(left);
                true
            }
            None => false,
        }
    }
}

impl Worker {
    async fn work(&mut self, round: &Round<'_>) {
        while round.begin_call() {
            let (verb, name) = round.locks.draw(&mut self.random);
            let asked = Instant::now();
            let answer = self.call(verb, name).await;
            let now = Instant::now();
            round.counters.borrow_mut().add(asked, now, &answer);
        }
    }

    async fn call(&self, verb: Verb, name: &LockName) -> Result<bool, CallError> {
        match verb {
            Verb::Lock => self.client.lock(name.as_str()).await,
            Verb::Unlock => self.client.unlock(name.as_str()).await,
        }
    }
}
