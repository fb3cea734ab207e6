//! How long a client waits when the primary fails: the longest gap between two answers to a client that
//! calls without a pause.

use std::time::{Duration, Instant};

use lockservice::Clerk;
use serde::{Deserialize, Serialize};

use super::Scale;
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

/// How many calls are answered before the failure, and after it.
const CALLS: usize = 500;

/// What happens to the primary.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    Kill,
    Stop,
}

impl Failure {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "failover-kill",
            Self::Stop => "failover-stop",
        }
    }
}

/// In milliseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Failovers {
    /// The longest gap before the failure, in each round.
    pub(crate) undisturbed: Vec<f64>,
    /// The longest gap after it.
    pub(crate) gaps: Vec<f64>,
    /// The calls of the first round: when each was answered, counted from the failure, and how long it took.
    pub(crate) calls: Vec<(f64, f64)>,
}

impl Failovers {
    pub(crate) fn read(results: &Results, failure: Failure) -> Option<Self> {
        results.read(failure.name())
    }

    fn add(&mut self, round: &Round) {
        self.undisturbed.push(longest(&round.before));
        self.gaps.push(longest(&round.after));
        if self.calls.is_empty() {
            let calls = round.before.iter().chain(&round.after);
            let from = |call: &Call| {
                let since = call.answered.saturating_duration_since(round.failed);
                let until = round.failed.saturating_duration_since(call.answered);
                (since.as_secs_f64() - until.as_secs_f64()) * 1e3
            };
            self.calls = calls.map(|call| (from(call), ms(call.took))).collect();
        }
    }
}

/// Three figures of many.
pub(crate) fn median_least_most(figures: &[f64]) -> [f64; 3] {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    [median(figures.iter().copied()), least, most]
}

pub(crate) async fn measure(scale: &Scale) {
    println!("longest gap between two answers, ms      median     least      most");
    for (failure, rounds) in [(Failure::Kill, scale.kills), (Failure::Stop, scale.stops)] {
        let mut failovers = Failovers::default();
        for _ in 0..rounds {
            failovers.add(&round(failure).await);
        }
        if rounds > 0 {
            tell(&format!("{failure:?}, before it"), &failovers.undisturbed);
            tell(&format!("{failure:?}"), &failovers.gaps);
            scale.results.write(failure.name(), &failovers);
        }
    }
}

fn tell(what: &str, gaps: &[f64]) {
    let [median, least, most] = median_least_most(gaps);
    let rounds = gaps.len();
    println!("{what:<18} {rounds:>3} rounds        {median:>9.2} {least:>9.2} {most:>9.2}");
}

struct Round {
    before: Vec<Call>,
    failed: Instant,
    after: Vec<Call>,
}

struct Call {
    answered: Instant,
    took: Duration,
}

/// Runs a pair and a client, and fails the primary in between.
async fn round(failure: Failure) -> Round {
    let mut stage = Stage::set(Sockets::Tcp).await;
    let clerk = stage.clerk().await;
    let primary = stage.primary().await;
    let before = calls(&clerk).await;
    let process = stage.process(primary);
    let failed = Instant::now();
    match failure {
        Failure::Kill => drop(process.kill()),
        Failure::Stop => process.stop(),
    }
    let after = calls(&clerk).await;
    Round {
        before,
        failed,
        after,
    }
}

async fn calls(clerk: &Clerk) -> Vec<Call> {
    let mut calls = Vec::with_capacity(CALLS);
    for n in 0..CALLS {
        let asked = Instant::now();
        let answer = if n % 2 == 0 {
            clerk.lock("steady").await
        } else {
            clerk.unlock("steady").await
        };
        assert!(answer.expect("an answer"), "nobody else uses the lock");
        let answered = Instant::now();
        let took = answered - asked;
        calls.push(Call { answered, took });
    }
    calls
}

fn longest(calls: &[Call]) -> f64 {
    let longest = calls.iter().map(|call| call.took).max();
    ms(longest.unwrap_or_default())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
