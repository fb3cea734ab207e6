//! What a call costs more when the lock gets an owner: `try_acquire` and `release` beside `lock`
//! and `unlock`, on the same pair, one after the other in each run.

use serde::{Deserialize, Serialize};

use super::Scale;
use super::loads::{Figure, Figures, Load, load, run_pair};
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

const NAME: &str = "ownership";

/// A figure of one load, as a ratio of owned calls to unowned ones, and its goals.
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    load: Load,
    figure: Figure,
    pub(crate) must: &'static str,
    pub(crate) aim: &'static str,
}

pub(crate) const GOALS: [Goal; 4] = [
    Goal {
        what: "`try_acquire` and `release` to `lock` and `unlock`: p50, one call in flight",
        load: load(1, 1),
        figure: |it| it.p50_us,
        must: "1.2",
        aim: "1.05",
    },
    Goal {
        what: "the same, throughput, 64 clerks with one call each",
        load: load(1, 64),
        figure: |it| it.calls_per_second,
        must: "0.85",
        aim: "0.95",
    },
    Goal {
        what: "the same, throughput, one clerk, 64 in flight",
        load: load(64, 1),
        figure: |it| it.calls_per_second,
        must: "0.9",
        aim: "1.0",
    },
    Goal {
        what: "the same, processor time of both servers for a call, one in flight",
        load: load(1, 1),
        figure: |it| it.server_cpu_us_per_call,
        must: "1.15",
        aim: "1.05",
    },
];

/// The runs of every load.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ownership(Vec<(Load, Vec<Run>)>);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Run {
    unowned: Figures,
    owned: Figures,
}

impl Ownership {
    pub(crate) fn read(results: &Results) -> Option<Self> {
        results.read(NAME)
    }

    /// The median of the ratios, each of one run.
    pub(crate) fn ratio(&self, goal: &Goal) -> Option<f64> {
        let (_, runs) = self.0.iter().find(|(load, _)| *load == goal.load)?;
        let ratio = |run: &Run| (goal.figure)(&run.owned) / (goal.figure)(&run.unowned);
        Some(median(runs.iter().map(ratio)))
    }
}

pub(crate) async fn measure(scale: &Scale) {
    let pair = Stage::set(Sockets::Tcp).await;
    let mut ownership = Ownership::default();
    for load in [load(1, 1), load(64, 1), load(1, 64)] {
        let run = |_| Run {
            unowned: run_pair(&pair, load, scale, &[]),
            owned: run_pair(&pair, load, scale, &["--owned"]),
        };
        ownership.0.push((load, (0..scale.runs).map(run).collect()));
    }
    for goal in &GOALS {
        let ratio = ownership.ratio(goal).expect("it was measured");
        println!("{}: {ratio:.2}", goal.what);
    }
    scale.results.write(NAME, &ownership);
}
