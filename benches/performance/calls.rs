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

/// Clients that lock and unlock without a pause, each time a lock that nobody holds.
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
    pub(crate) fn start(clerks: &[Clerk], in_flight: usize) -> Self {
        let mut callers = Self {
            tasks: JoinSet::new(),
            seen: Arc::new(Mutex::new(no_latencies())),
            since: Instant::now(),
            stop: CancellationToken::new(),
        };
        for clerk in clerks {
            for _ in 0..in_flight {
                let (clerk, seen) = (clerk.clone(), callers.seen.clone());
                let calls = call_until_stopped(clerk, seen, callers.stop.clone());
                callers.tasks.spawn(calls);
            }
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
    seen: Arc<Mutex<Histogram<u64>>>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let name = format!("free-{:011}", fastrand::u64(..100_000_000_000));
        for verb in [true, false] {
            let asked = Instant::now();
            let answer = if verb {
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
