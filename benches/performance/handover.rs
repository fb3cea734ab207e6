//! How long it takes from a holder's release to the grant to who waits: beside one `lock` call, in
//! the same run.

use std::time::{Duration, Instant};

use lockservice::Clerk;
use serde::{Deserialize, Serialize};

use super::Scale;
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

const NAME: &str = "handover";

/// How many times the lock is handed over in a run.
const ROUNDS: usize = 1_000;

/// One figure for each run, in microseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Handovers {
    p50: Vec<f64>,
    p99: Vec<f64>,
    call_p50: Vec<f64>,
}

impl Handovers {
    pub(crate) fn read(results: &Results) -> Option<Self> {
        results.read(NAME)
    }

    /// The median and the 99th percentile, as ratios to the median of a `lock` call.
    pub(crate) fn ratios(&self) -> [f64; 2] {
        let ratio =
            |of: &[f64]| median(of.iter().zip(&self.call_p50).map(|(one, call)| one / call));
        [ratio(&self.p50), ratio(&self.p99)]
    }
}

pub(crate) async fn measure(scale: &Scale) {
    let stage = Stage::set(Sockets::Tcp).await;
    let clerks = [stage.clerk().await, stage.clerk().await];
    let rounds = if scale.runs > 1 { ROUNDS } else { 50 };
    let mut handovers = Handovers::default();
    for _ in 0..scale.runs {
        let spans = hand_over(&clerks, rounds).await;
        handovers.p50.push(percentile(&spans, 50));
        handovers.p99.push(percentile(&spans, 99));
        let calls = calls(&clerks[0], rounds).await;
        handovers.call_p50.push(percentile(&calls, 50));
    }
    let [p50, p99] = handovers.ratios();
    println!("a lock is handed over in {p50:.2} times a call, p99 {p99:.2} times");
    scale.results.write(NAME, &handovers);
}

/// Two clerks take turns.
async fn hand_over(clerks: &[Clerk; 2], rounds: usize) -> Vec<Duration> {
    let mut spans = Vec::with_capacity(rounds);
    let mut holder = clerks[0].acquire("baton").await.expect("it is free");
    for round in 1..=rounds {
        let next = clerks[round % 2].clone();
        let waiter = tokio::spawn(async move {
            let guard = next.acquire("baton").await.expect("its turn comes");
            (guard, Instant::now())
        });
        holder.contended().await;
        let released = Instant::now();
        holder.release().await.expect("it was held");
        let (guard, granted) = waiter.await.expect("no panic");
        spans.push(granted.saturating_duration_since(released));
        holder = guard;
    }
    holder.release().await.expect("it was held");
    spans
}

async fn calls(clerk: &Clerk, rounds: usize) -> Vec<Duration> {
    let mut spans = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let asked = Instant::now();
        clerk.lock("plain").await.expect("an answer");
        spans.push(asked.elapsed());
        clerk.unlock("plain").await.expect("an answer");
    }
    spans
}

/// In microseconds.
fn percentile(spans: &[Duration], percent: usize) -> f64 {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent / 100).min(sorted.len() - 1);
    sorted[at].as_secs_f64() * 1e6
}
