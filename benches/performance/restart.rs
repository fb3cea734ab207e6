//! A lost server that comes back while a million locks are held: how long until the pair is whole,
//! and what clients notice of it.

use std::time::{Duration, Instant};

use lockservice::service::RoleName;
use lockservice::types::ServerId;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::Scale;
use super::calls::{Callers, Names, hold};
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

const NAME: &str = "restart";

/// Each with one call in flight.
const CLERKS: usize = 8;

/// How often the servers are asked whether the pair is whole: seldom, lest the clients notice that.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Restart {
    pub(crate) locks: u64,
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Run {
    seconds_until_whole: f64,
    p99_us_before: f64,
    p99_us_meanwhile: f64,
    longest_us_before: f64,
    longest_us_meanwhile: f64,
}

impl Restart {
    pub(crate) fn read(results: &Results) -> Option<Self> {
        results.read(NAME)
    }

    pub(crate) fn seconds_until_whole(&self) -> f64 {
        median(self.runs.iter().map(|run| run.seconds_until_whole))
    }

    pub(crate) fn p99_ratio(&self) -> f64 {
        let ratios = self.runs.iter();
        median(ratios.map(|run| run.p99_us_meanwhile / run.p99_us_before))
    }
}

pub(crate) async fn measure(scale: &Scale) {
    let mut stage = Stage::set(Sockets::Tcp).await;
    let mut clerks = Vec::new();
    for _ in 0..CLERKS {
        clerks.push(stage.clerk().await);
    }
    hold(&clerks[0], scale.locks).await;
    let mut callers = Callers::start(&clerks, 1, Names::Random);
    callers.watch(scale.warm_up).await;
    let mut restart = Restart {
        locks: scale.locks,
        runs: Vec::new(),
    };
    for _ in 0..scale.runs {
        restart
            .runs
            .push(run(scale, &mut stage, &mut callers).await);
    }
    callers.stop().await;
    println!(
        "{} locks held: whole {:.2} s after the restart; clients' p99 meanwhile {:.2} of before",
        restart.locks,
        restart.seconds_until_whole(),
        restart.p99_ratio(),
    );
    for run in &restart.runs {
        println!("{run:?}");
    }
    scale.results.write(NAME, &restart);
}

/// Kills the primary, and starts it again once the other one has taken over.
async fn run(scale: &Scale, stage: &mut Stage, callers: &mut Callers) -> Run {
    let before = callers.watch(scale.duration()).await;
    let victim = stage.primary().await;
    stage.process(victim).kill();
    wait_alone(stage, victim.peer()).await;
    callers.seen();
    let restarted = Instant::now();
    stage.restart(victim);
    wait_whole(stage).await;
    let seconds_until_whole = restarted.elapsed().as_secs_f64();
    let meanwhile = callers.seen();
    Run {
        seconds_until_whole,
        p99_us_before: before.p99_us(),
        p99_us_meanwhile: meanwhile.p99_us(),
        longest_us_before: before.longest_us(),
        longest_us_meanwhile: meanwhile.longest_us(),
    }
}

async fn wait_alone(stage: &Stage, survivor: ServerId) {
    let is_alone = async || {
        let mut statuses = stage.statuses().await.into_iter().flatten();
        statuses.any(|it| it.server == survivor && it.role == RoleName::Standalone)
    };
    while !is_alone().await {
        sleep(LOOK).await;
    }
}

async fn wait_whole(stage: &Stage) {
    while !stage.is_whole().await {
        sleep(LOOK).await;
    }
}
