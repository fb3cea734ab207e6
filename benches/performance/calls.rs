//! A load on a pair from this process, for as long as something else is looked at.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lockservice::Clerk;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Takes every lock from `held-00000000000` on, as many as there shall be: names of 16 bytes.
pub(crate) async fn hold(clerk: &Clerk, locks: u64) {
    const IN_FLIGHT: u64 = 256;
    let mut callers = JoinSet::new();
    for first in 0..IN_FLIGHT {
        let clerk = clerk.clone();
        callers.spawn(async move {
            for lock in (first..locks).step_by(256) {
                let taken = clerk.lock(&format!("held-{lock:011}")).await;
                assert!(taken.expect("a pair that answers"), "nobody else takes it");
            }
        });
    }
    callers.join_all().await;
}

/// What callers lock. Nobody else holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Each call in flight has a lock of its own, as with `lockc bench`.
    Own,
    /// Each time another lock, of which no cache holds anything.
    Random,
}

impl Names {
    fn next(self, caller: usize) -> String {
        let number = match self {
            Self::Own => caller as u64,
            Self::Random => fastrand::u64(1_000..100_000_000_000),
        };
        format!("free-{number:011}")
    }
}

/// Clients that lock and unlock without a pause.
pub(crate) struct Callers {
    tasks: JoinSet<()>,
    seen: Arc<Mutex<Histogram<u64>>>,
    since: Instant,
    stop: CancellationToken,
}

/// What they saw in some time.
pub(crate) struct Seen {
    latencies: Histogram<u64>,
    elapsed: Duration,
}

impl Seen {
    pub(crate) fn calls_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn p99_us(&self) -> f64 {
        self.latencies.value_at_quantile(0.99) as f64 / 1e3
    }

    pub(crate) fn longest_us(&self) -> f64 {
        self.latencies.max() as f64 / 1e3
    }
}

impl Callers {
    /// Begins, with so many calls in flight at each clerk.
    pub(crate) fn start(clerks: &[Clerk], in_flight: usize, names: Names) -> Self {
        let mut callers = Self {
            tasks: JoinSet::new(),
            seen: Arc::new(Mutex::new(no_latencies())),
            since: Instant::now(),
            stop: CancellationToken::new(),
        };
        for caller in 0..clerks.len() * in_flight {
            let clerk = clerks[caller % clerks.len()].clone();
            let (seen, stop) = (callers.seen.clone(), callers.stop.clone());
            let names = move || names.next(caller);
            let calls = call_until_stopped(clerk, names, seen, stop);
            callers.tasks.spawn(calls);
        }
        callers
    }

    /// What they saw since this was asked before.
    pub(crate) fn seen(&mut self) -> Seen {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        Seen {
            latencies: std::mem::replace(&mut seen, no_latencies()),
            elapsed: now - std::mem::replace(&mut self.since, now),
        }
    }

    /// What they see in `duration`.
    pub(crate) async fn watch(&mut self, duration: Duration) -> Seen {
        self.seen();
        tokio::time::sleep(duration).await;
        self.seen()
    }

    /// Ends when every lock is free again.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

fn no_latencies() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

async fn call_until_stopped(
    clerk: Clerk,
    name: impl Fn() -> String,
    seen: Arc<Mutex<Histogram<u64>>>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let name = name();
        for locks in [true, false] {
            let asked = Instant::now();
            let answer = if locks {
                clerk.lock(&name).await
            } else {
                clerk.unlock(&name).await
            };
            answer.expect("a pair that answers");
            let nanos = u64::try_from(asked.elapsed().as_nanos()).expect("a short time");
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.record(nanos).expect("it grows");
        }
    }
}
