//! What `docs/performance.md` tells, measured on real processes.
//!
//! `cargo bench --bench performance` measures everything, some ten minutes; `-- loads`, `-- held`
//! and so on measure a part. The figures go to `target/performance/`; `-- publish` makes the tables
//! and pictures of the documentation from them.

#[path = "../reference/mod.rs"]
mod reference;

mod calls;
mod child;
mod clerks;
mod failover;
mod handover;
mod held;
mod idle;
mod loads;
mod owned;
mod ownership;
mod publish;
mod restart;
mod results;
mod stage;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::child::Child;
use self::loads::LoadOptions;
use self::results::Results;

/// Measures how quickly a pair answers, and what it costs.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// How often to measure everything but failovers
    #[arg(long, global = true, value_name = "N")]
    runs: Option<usize>,
    /// How long to measure each load, after a warm-up of half a second
    #[arg(long, global = true, value_name = "S")]
    seconds: Option<f64>,
    /// Only see that everything works
    #[arg(long, global = true)]
    test: bool,
    // `cargo bench` gives it to every bench.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum Part {
    /// Throughput, latency and processor time, beside the references
    Loads(LoadOptions),
    /// What a million held locks cost
    Held,
    /// What locks that a session owns cost in memory, and those who wait
    Owned,
    /// What calls cost whose lock has an owner, beside those whose lock has none
    Ownership,
    /// A restarted server that comes back while a million locks are held
    Restart,
    /// What idle clerks cost
    Clerks,
    /// What an idle pair costs
    Idle,
    /// How long it takes until a lock that is released is granted to who waits
    Handover,
    /// How long a failover takes
    Failover,
    /// Make the tables and pictures of the documentation from what was measured
    Publish,
    #[command(subcommand, hide = true)]
    Child(Child),
}

/// Everything that is measured.
const ALL_PARTS: [Part; 9] = [
    Part::Loads(LoadOptions::all()),
    Part::Held,
    Part::Owned,
    Part::Ownership,
    Part::Restart,
    Part::Clerks,
    Part::Idle,
    Part::Handover,
    Part::Failover,
];

/// How much to measure, and where to keep it.
struct Scale {
    results: Results,
    /// Where the documents are that tell of it.
    source: PathBuf,
    /// Where they go to.
    sink: PathBuf,
    runs: usize,
    warm_up: Duration,
    seconds: f64,
    locks: u64,
    owned: u64,
    waiters: u64,
    clerks: usize,
    idle: Duration,
    kills: usize,
    ends: usize,
    stops: usize,
}

impl Scale {
    fn whole() -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Self {
            results: Results::new(target.expect("a target folder").join("performance")),
            sink: source.clone(),
            source,
            runs: 5,
            warm_up: Duration::from_millis(500),
            seconds: 1.0,
            locks: 1_000_000,
            owned: 100_000,
            waiters: 10_000,
            clerks: 5_000,
            idle: Duration::from_secs(10),
            kills: 40,
            ends: 40,
            stops: 5,
        }
    }

    /// Enough to see that it works.
    fn small() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("performance");
        Self {
            results: Results::new(folder.clone()),
            sink: folder,
            runs: 1,
            warm_up: Duration::from_millis(10),
            seconds: 0.03,
            locks: 5_000,
            owned: 1_000,
            waiters: 300,
            clerks: 50,
            idle: Duration::from_millis(200),
            kills: 1,
            ends: 1,
            stops: 0,
            ..Self::whole()
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() {
    let cli = Cli::parse();
    let usual = if cli.test {
        Scale::small()
    } else {
        Scale::whole()
    };
    let scale = Scale {
        runs: cli.runs.unwrap_or(usual.runs),
        seconds: cli.seconds.unwrap_or(usual.seconds),
        ..usual
    };
    match cli.part {
        Some(Part::Child(child)) => child::be(child),
        Some(part) => carry_out(&scale, part),
        None => {
            for part in ALL_PARTS {
                carry_out(&scale, part);
            }
            if cli.test {
                carry_out(&scale, Part::Publish);
            }
        }
    }
}

fn carry_out(scale: &Scale, part: Part) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match part {
            Part::Loads(options) => loads::measure(scale, &options).await,
            Part::Held => held::measure(scale).await,
            Part::Owned => owned::measure(scale).await,
            Part::Ownership => ownership::measure(scale).await,
            Part::Restart => restart::measure(scale).await,
            Part::Clerks => clerks::measure(scale).await,
            Part::Idle => idle::measure(scale).await,
            Part::Handover => handover::measure(scale).await,
            Part::Failover => failover::measure(scale).await,
            Part::Publish => publish::publish(&scale.results, &scale.source, &scale.sink),
            Part::Child(_) => unreachable!("it was taken care of"),
        }
    });
}
