//! How long clients wait when the primary fails: the longest gap between two answers to a client
//! that calls without a pause.

use std::time::{Duration, Instant};

use lockservice::clerk::{Clerk, ClerkBuilder, GuardState, LockGuard};
use lockservice::testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Scale;
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

/// How long the clients call before the failure, and at least after it.
const CALLING: Duration = Duration::from_millis(100);

/// The lease of the session.
const LEASE: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_mins(1);

/// What happens to the primary.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    /// `kill -9`.
    Kill,
    /// It is asked to end.
    End,
    /// It hangs.
    Stop,
}

impl Failure {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "failover-kill",
            Self::End => "failover-end",
            Self::Stop => "failover-stop",
        }
    }

    const fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::End => Signal::TERM,
            Self::Stop => Signal::STOP,
        }
    }
}

/// What the clients saw in all rounds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Failovers {
    /// A client that calls the primary.
    pub(crate) primary: Gaps,
    /// One that calls the backup.
    pub(crate) backup: Gaps,
    /// One that calls the backup too, holds a lock, and acquires and releases another one.
    pub(crate) session: Gaps,
    /// In how many rounds it lost the lock that it held.
    pub(crate) lost: usize,
    /// The calls of the first of these clients in the first round, in milliseconds: when each was
    /// answered, counted from the failure, and how long it took.
    pub(crate) calls: Vec<(f64, f64)>,
}

/// The longest gap of every round, in milliseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gaps {
    pub(crate) before: Vec<f64>,
    pub(crate) after: Vec<f64>,
}

impl Failovers {
    pub(crate) fn read(results: &Results, failure: Failure) -> Option<Self> {
        results.read(failure.name())
    }

    /// What each client does, and how many locks it lost, if it held one.
    pub(crate) const fn clients(&self) -> [(&'static str, &Gaps, Option<usize>); 3] {
        [
            ("calls the primary", &self.primary, None),
            ("calls the backup", &self.backup, None),
            (
                "calls the backup, with a lease of 2 s",
                &self.session,
                Some(self.lost),
            ),
        ]
    }

    fn add(&mut self, round: &Round) {
        let gaps = [&mut self.primary, &mut self.backup, &mut self.session];
        for (gaps, calls) in gaps.into_iter().zip(&round.clients) {
            gaps.add(calls, round.failed);
        }
        self.lost += usize::from(round.lost);
        if self.calls.is_empty() {
            let from = |call: &Call| {
                let since = call.answered.saturating_duration_since(round.failed);
                let until = round.failed.saturating_duration_since(call.answered);
                ms(since) - ms(until)
            };
            let [primary, ..] = &round.clients;
            let calls = primary.iter();
            self.calls = calls.map(|call| (from(call), ms(call.took))).collect();
        }
    }
}

impl Gaps {
    fn add(&mut self, calls: &[Call], failed: Instant) {
        let count = calls.partition_point(|call| call.answered < failed);
        let (before, after) = calls.split_at(count);
        self.before.push(longest(before));
        self.after.push(longest(after));
    }
}

/// Three figures of many.
pub(crate) fn median_least_most(figures: &[f64]) -> [f64; 3] {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    [median(figures.iter().copied()), least, most]
}

pub(crate) async fn measure(scale: &Scale) {
    println!("longest gap between two answers, ms                     median     least      most");
    for (failure, rounds) in [
        (Failure::Kill, scale.kills),
        (Failure::End, scale.ends),
        (Failure::Stop, scale.stops),
    ] {
        let mut failovers = Failovers::default();
        for _ in 0..rounds {
            failovers.add(&Box::pin(round(failure)).await);
        }
        if rounds > 0 {
            println!(
                "{failure:?}, {rounds} rounds, {} locks lost",
                failovers.lost
            );
            for (client, gaps, _) in failovers.clients() {
                tell(client, "before", &gaps.before);
                tell(client, "after", &gaps.after);
            }
            scale.results.write(failure.name(), &failovers);
        }
    }
}

fn tell(client: &str, when: &str, gaps: &[f64]) {
    let [median, least, most] = median_least_most(gaps);
    println!("  {client:<38} {when:<8} {median:>12.2} {least:>9.2} {most:>9.2}");
}

struct Round {
    failed: Instant,
    /// As in [`Failovers::clients`].
    clients: [Vec<Call>; 3],
    lost: bool,
}

struct Call {
    answered: Instant,
    took: Duration,
}

/// Runs a pair and its clients, and fails the primary meanwhile.
async fn round(failure: Failure) -> Round {
    let mut stage = Stage::set(Sockets::Tcp).await;
    let primary = stage.primary().await;
    let backup = primary.peer();
    let builders = [primary, backup, backup].map(|server| stage.clerk_through(server).lease(LEASE));
    let [one, other, session] = builders.map(ClerkBuilder::connect);
    let clerks = tokio::try_join!(one, other, session);
    let (one, other, session) = clerks.expect("a pair");
    let guard = session.acquire("office").await.expect("it is free");
    let over = CancellationToken::new();
    let clients = [
        tokio::spawn(lock_and_unlock(one, "one", over.clone())),
        tokio::spawn(lock_and_unlock(other, "other", over.clone())),
        tokio::spawn(acquire_and_release(session, over.clone())),
    ];
    sleep(CALLING).await;

    let process = stage.process(primary);
    let pid = Pid::from_raw(process.id().cast_signed()).expect("not zero");
    let failed = Instant::now();
    kill_process(pid, failure.signal()).expect("it runs");
    wait_for_renewal(&guard, failed).await;
    if !matches!(failure, Failure::Stop) {
        process.wait(PATIENCE).await;
    }
    sleep_until((failed + CALLING).into()).await;
    over.cancel();
    let [one, other, session] = clients;
    let calls = tokio::try_join!(one, other, session);
    let (one, other, session) = calls.expect("no client panics");
    Round {
        failed,
        clients: [one, other, session],
        lost: guard.state() == GuardState::Lost,
    }
}

/// Waits until the lease was renewed after the failure, or is over.
async fn wait_for_renewal(guard: &LockGuard, failed: Instant) {
    wait_until("the lease is renewed, or over", PATIENCE, async || {
        let renewed = guard.safe_until() >= failed + LEASE;
        renewed || guard.state() == GuardState::Lost
    })
    .await;
}

async fn lock_and_unlock(clerk: Clerk, name: &str, over: CancellationToken) -> Vec<Call> {
    let mut calls = Vec::new();
    while !over.is_cancelled() {
        let locked = timed(&mut calls, clerk.lock(name)).await;
        let unlocked = timed(&mut calls, clerk.unlock(name)).await;
        let both = locked.expect("an answer") && unlocked.expect("an answer");
        assert!(both, "nobody else uses the lock");
    }
    calls
}

async fn acquire_and_release(clerk: Clerk, over: CancellationToken) -> Vec<Call> {
    let mut calls = Vec::new();
    while !over.is_cancelled() {
        // When the session is lost, the lock that it holds all the time tells.
        if let Ok(guard) = timed(&mut calls, clerk.acquire("errand")).await {
            let _ = timed(&mut calls, guard.release()).await;
        }
    }
    calls
}

async fn timed<T>(calls: &mut Vec<Call>, call: impl Future<Output = T>) -> T {
    let asked = Instant::now();
    let answer = call.await;
    let answered = Instant::now();
    let took = answered - asked;
    calls.push(Call { answered, took });
    answer
}

fn longest(calls: &[Call]) -> f64 {
    let longest = calls.iter().map(|call| call.took).max();
    ms(longest.unwrap_or_default())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
