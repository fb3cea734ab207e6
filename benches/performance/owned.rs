//! What locks that a session owns cost in memory, and what those cost that wait for one.

use std::time::Duration;

use lockservice::service::ServerStatus;
use lockservice::testkit::wait_until;
use lockservice::{Clerk, LockGuard};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::Scale;
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

const NAME: &str = "owned";

/// How many ask at a time.
const AT_ONCE: usize = 256;

const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Owned {
    locks: u64,
    waiters: u64,
    runs: Vec<Run>,
}

/// On the primary.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Run {
    bytes_per_lock: f64,
    bytes_per_waiter: f64,
}

impl Owned {
    pub(crate) fn read(results: &Results) -> Option<Self> {
        results.read(NAME)
    }

    pub(crate) fn bytes_per_lock(&self) -> f64 {
        median(self.runs.iter().map(|run| run.bytes_per_lock))
    }

    pub(crate) fn bytes_per_waiter(&self) -> f64 {
        median(self.runs.iter().map(|run| run.bytes_per_waiter))
    }
}

pub(crate) async fn measure(scale: &Scale) {
    let mut owned = Owned {
        locks: scale.owned,
        waiters: scale.waiters,
        runs: Vec::new(),
    };
    for _ in 0..scale.runs {
        owned.runs.push(run(scale).await);
    }
    println!(
        "{} locks owned: {:.1} bytes a lock on the primary; {} wait: {:.1} bytes a place in the queue",
        owned.locks,
        owned.bytes_per_lock(),
        owned.waiters,
        owned.bytes_per_waiter(),
    );
    scale.results.write(NAME, &owned);
}

async fn run(scale: &Scale) -> Run {
    let stage = Stage::set(Sockets::Tcp).await;
    let primary = stage.primary().await;
    let (owner, waiter) = (stage.clerk().await, stage.clerk().await);
    // Sessions, and buffers that any load needs, are not the locks'.
    for clerk in [&owner, &waiter] {
        own(clerk, "warm", AT_ONCE as u64).await;
        wait_for(&stage, 0, |status| status.locks).await;
    }
    let empty = stage.memory_bytes(primary);
    let guards = own(&owner, "held", scale.owned).await;
    wait_for(&stage, scale.owned, |status| status.locks).await;
    let full = stage.memory_bytes(primary);
    let queue = queue(&stage, &waiter, scale.waiters).await;
    let queued = stage.memory_bytes(primary);
    drop((queue, guards));
    Run {
        bytes_per_lock: (full - empty) / scale.owned as f64,
        bytes_per_waiter: (queued - full) / scale.waiters as f64,
    }
}

/// Acquires as many locks from `prefix-00000000000` on: names of 16 bytes.
async fn own(clerk: &Clerk, prefix: &'static str, locks: u64) -> Vec<LockGuard> {
    let mut callers = JoinSet::new();
    for first in (0..locks).take(AT_ONCE) {
        let clerk = clerk.clone();
        callers.spawn(async move {
            let mut guards = Vec::new();
            for lock in (first..locks).step_by(AT_ONCE) {
                let guard = clerk.acquire(&format!("{prefix}-{lock:011}")).await;
                guards.push(guard.expect("nobody else has it"));
            }
            guards
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

/// Lets as many wait for the first lock that is held. They wait until this is dropped.
async fn queue(stage: &Stage, clerk: &Clerk, waiters: u64) -> JoinSet<()> {
    let mut queue = JoinSet::new();
    for number in 1..=waiters {
        let clerk = clerk.clone();
        queue.spawn(async move {
            // None of them gets it: they are dropped first.
            let _ = clerk.acquire("held-00000000000").await;
        });
        if number % AT_ONCE as u64 == 0 || number == waiters {
            wait_for(stage, number, |status| status.waiters).await;
        }
    }
    queue
}

async fn wait_for(stage: &Stage, number: u64, of: impl Fn(&ServerStatus) -> u64) {
    wait_until("both servers have them", PATIENCE, async || {
        let statuses = stage.statuses().await;
        let mut statuses = statuses.iter().flatten();
        statuses.all(|status| of(status) == number)
    })
    .await;
}
