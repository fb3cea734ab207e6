//! The real server and the real clerk on a simulated network, under failures that a seed decides.
//!
//! A run takes a fraction of a second, and all of its time is simulated. `cargo test` plays the
//! first few hundred seeds; `docs/verification.md` tells how to play thousands, and how to play one
//! again.

mod breaks;
mod checker;
mod clients;
mod context;
mod fault_scheduler;
mod faulty_reference;
mod lock_model;
mod network;
mod owner_faults;
mod owners;
mod process;
mod rng;
mod run;
mod simulated_host;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use lockservice::{Server, ServerConfig};

use self::clients::Appetite;
use self::fault_scheduler::FaultPlan;
use self::owners::Owners;
use self::rng::Rng;
use self::run::{RunSpec, run};

/// What `cargo test` plays.
const SEEDS: Range<u64> = 0..200;

/// In one run at the least so many calls must be answered.
const FEWEST_ANSWERS: u64 = 5;

/// The servers as they are, in a world that the seed makes up.
fn real(seed: u64) -> RunSpec {
    let mut rng = Rng::new(seed).fork();
    let peer_timeout = rng.within(100..250);
    let time_to_live = rng.pick(&[2_000, 600_000]);
    let calls_per_connection = rng.pick(&[2, 64, 1_024]);
    RunSpec {
        software: std::rc::Rc::new(move |context, network, me, stop| {
            let mut config = ServerConfig::new(context.servers(), me);
            config.network = network;
            config.timing.peer_timeout = context.peer_timeout();
            config.timing.session_time_to_live = Duration::from_millis(time_to_live);
            config.limits.calls_per_connection = calls_per_connection;
            serve(config, stop.map(|_| ())).boxed()
        }),
        plan: FaultPlan {
            failures: rng.within(1..4),
            clients: usize::try_from(rng.within(1..4)).expect("it is small"),
            is_repaired: true,
            // A KiB each, so that a copy of the state takes several frames.
            ballast: rng.pick(&[0, 0, 0, 50, 120]),
            owners: owners(&mut rng),
        },
        appetite: Appetite {
            locks: rng.within(1..4),
            calls: rng.within(1..6),
            dropped: rng.within(5..50),
            pause: rng.within(2..60),
            hedge_delay: rng.millis(20..400),
            may_lose_records: time_to_live < 10_000,
        },
        peer_timeout: Duration::from_millis(peer_timeout),
        tick: Duration::from_millis(rng.pick(&[1, 2, 3])),
        // A probe takes five messages one after the other, and must not take a `peer_timeout`.
        latency: rng.within(1..peer_timeout / 12),
    }
}

/// In every third world there are some.
fn owners(rng: &mut Rng) -> Owners {
    let mut rng = rng.fork();
    if !rng.one_in(3) {
        return Owners::NONE;
    }
    Owners {
        count: usize::try_from(rng.within(2..6)).expect("it is small"),
        locks: rng.within(1..3),
        // Part of it is not relied on, which is to be more than two ticks: so much the clocks
        // differ by.
        lease: rng.millis(400..900),
        hold: rng.within(5..100),
        pause: rng.within(2..60),
        hedge_delay: rng.millis(20..400),
        breaks: rng.pick(&[0, 4, 12]),
        retains: rng.pick(&[0, 3, 12]),
    }
}

async fn serve(config: ServerConfig, stop: impl Future<Output = ()>) -> Result<(), String> {
    let bound = Server::bind(config).await;
    let server = bound.map_err(|error| error.to_string())?;
    server.run(stop).await.map_err(|error| error.to_string())
}

/// What is to be played: `SIM_SEED=7` and `SIM_SEEDS=0..5000` choose.
fn seeds() -> Range<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness leaves no other way to hand a test something"
    )]
    let setting = |name| std::env::var(name).ok();
    if let Some(seed) = setting("SIM_SEED") {
        let seed = seed.parse().expect("SIM_SEED is a number");
        return seed..seed + 1;
    }
    let Some(range) = setting("SIM_SEEDS") else {
        return SEEDS;
    };
    let (from, to) = range.split_once("..").expect("SIM_SEEDS is FROM..TO");
    let number = |text: &str| text.parse().expect("SIM_SEEDS is FROM..TO");
    number(from)..number(to)
}

/// What the runs of several threads came to.
#[derive(Default)]
struct Tally {
    runs: AtomicU64,
    calls: AtomicU64,
    answers: AtomicU64,
    grants: AtomicU64,
    lost: AtomicU64,
    in_order: AtomicU64,
    broken: AtomicU64,
    heard: AtomicU64,
    retained: AtomicU64,
    simulated_ms: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    fn play(&self, seed: u64) {
        match run(seed, &real(seed)) {
            Ok(run) if run.answers < FEWEST_ANSWERS => {
                self.fail(format!("seed {seed}: only {} answers", run.answers));
            }
            Ok(run) => {
                let simulated = u64::try_from(run.simulated.as_millis()).expect("minutes");
                let calls = run.history.operations().len() as u64;
                self.runs.fetch_add(1, Ordering::Relaxed);
                self.calls.fetch_add(calls, Ordering::Relaxed);
                self.answers.fetch_add(run.answers, Ordering::Relaxed);
                let owned = run.ownership;
                self.grants.fetch_add(owned.granted(), Ordering::Relaxed);
                self.lost.fetch_add(owned.lost, Ordering::Relaxed);
                self.in_order.fetch_add(owned.in_order, Ordering::Relaxed);
                self.broken.fetch_add(owned.broken(), Ordering::Relaxed);
                self.heard.fetch_add(owned.heard, Ordering::Relaxed);
                self.retained.fetch_add(owned.retained, Ordering::Relaxed);
                self.simulated_ms.fetch_add(simulated, Ordering::Relaxed);
            }
            Err(failure) => self.fail(failure),
        }
    }

    fn fail(&self, failure: String) {
        self.failures
            .lock()
            .expect("no panic holds it")
            .push(failure);
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = seeds();
    let (next, tally, start) = (
        AtomicU64::new(seeds.start),
        Tally::default(),
        Instant::now(),
    );
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        break;
                    }
                    tally.play(seed);
                }
            });
        }
    });
    println!(
        "seeds {seeds:?}: {} runs, {} calls, {} answers, {} grants, of which {} were lost and {} seen to be in \
         order, {} locks broken and {} holders told so, {} locks retained after their holders, {} s of simulated time in {:.1?}",
        tally.runs.into_inner(),
        tally.calls.into_inner(),
        tally.answers.into_inner(),
        tally.grants.into_inner(),
        tally.lost.into_inner(),
        tally.in_order.into_inner(),
        tally.broken.into_inner(),
        tally.heard.into_inner(),
        tally.retained.into_inner(),
        tally.simulated_ms.into_inner() / 1_000,
        start.elapsed()
    );
    let failures = tally.failures.into_inner().expect("no panic held it");
    assert!(
        failures.is_empty(),
        "{}\n{} of the seeds failed; to play one again, by itself: \
         SIM_SEED=... cargo test --test simulation no_seed",
        failures.join("\n"),
        failures.len()
    );
}

/// Where two runs of the same seed part.
fn parting(seed: u64) -> Option<String> {
    let history = || run(seed, &real(seed)).map_or_else(|error| error, |run| run.to_string());
    let (once, again) = (history(), history());
    let mut lines = once.lines().zip(again.lines());
    let parted = lines.find(|(one, other)| one != other);
    let shorter = (once.len() != again.len()).then(|| "one is longer".to_owned());
    parted.map(|lines| format!("{lines:?}")).or(shorter)
}

/// Enough on a machine that is busy with something else all the time.
const TRIES: usize = 200;

/// One seed without owned locks, and one with them. More than once only because tarpc reads the
/// real clock: when this thread has to wait for a processor in the wrong place, a timeout is a tick
/// early.
#[test]
fn a_seed_gives_the_same_history_again() {
    for seed in [2, 5] {
        let partings: Vec<_> = (0..TRIES).map_while(|_| parting(seed)).collect();
        assert!(partings.len() < TRIES, "{:?}", partings.last());
    }
}
