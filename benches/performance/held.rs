//! What a million held locks cost: memory for each, and throughput against an empty table.

use serde::{Deserialize, Serialize};

use super::Scale;
use super::calls::{Callers, Names, hold};
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

const NAME: &str = "held";

/// How many calls are in flight when throughput is measured.
const IN_FLIGHT: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) locks: u64,
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Run {
    bytes_per_lock_on_primary: f64,
    bytes_per_lock_on_backup: f64,
    own_names: Throughput,
    random_names: Throughput,
}

/// In calls a second.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Throughput {
    empty: f64,
    full: f64,
}

impl Held {
    pub(crate) fn read(results: &Results) -> Option<Self> {
        results.read(NAME)
    }

    pub(crate) fn bytes_per_lock(&self) -> f64 {
        median(self.runs.iter().map(|run| run.bytes_per_lock_on_primary))
    }

    /// Of the full table, to that of an empty one.
    pub(crate) fn throughput_ratio(&self, names: Names) -> f64 {
        let throughputs = self.runs.iter().map(|run| match names {
            Names::Own => run.own_names,
            Names::Random => run.random_names,
        });
        median(throughputs.map(|it| it.full / it.empty))
    }
}

pub(crate) async fn measure(scale: &Scale) {
    let mut held = Held {
        locks: scale.locks,
        runs: Vec::new(),
    };
    for _ in 0..scale.runs {
        held.runs.push(run(scale).await);
    }
    println!(
        "{} locks held: {:.1} bytes a lock on the primary; throughput {:.3} of an empty table's, {:.3} with random names",
        held.locks,
        held.bytes_per_lock(),
        held.throughput_ratio(Names::Own),
        held.throughput_ratio(Names::Random),
    );
    scale.results.write(NAME, &held);
}

async fn run(scale: &Scale) -> Run {
    let (empty, full) = (
        Stage::set(Sockets::Tcp).await,
        Stage::set(Sockets::Tcp).await,
    );
    let primary = full.primary().await;
    // Buffers that any load needs are not the locks'.
    throughput(scale, &full, Names::Own).await;
    let memory = || [primary, primary.peer()].map(|server| full.memory_bytes(server));
    let before = memory();
    let clerk = full.clerk().await;
    hold(&clerk, scale.locks).await;
    clerk.close().await;
    full.wait_whole().await;
    let grown = std::iter::zip(memory(), before).map(|(after, before)| after - before);
    let per_lock: Vec<_> = grown.map(|bytes| bytes / scale.locks as f64).collect();
    Run {
        bytes_per_lock_on_primary: per_lock[0],
        bytes_per_lock_on_backup: per_lock[1],
        own_names: compare(scale, &empty, &full, Names::Own).await,
        random_names: compare(scale, &empty, &full, Names::Random).await,
    }
}

async fn compare(scale: &Scale, empty: &Stage, full: &Stage, names: Names) -> Throughput {
    Throughput {
        empty: throughput(scale, empty, names).await,
        full: throughput(scale, full, names).await,
    }
}

async fn throughput(scale: &Scale, stage: &Stage, names: Names) -> f64 {
    let clerk = stage.clerk().await;
    let mut callers = Callers::start(std::slice::from_ref(&clerk), IN_FLIGHT, names);
    callers.watch(scale.warm_up).await;
    let seen = callers.watch(scale.duration()).await;
    callers.stop().await;
    clerk.close().await;
    seen.calls_per_second()
}
