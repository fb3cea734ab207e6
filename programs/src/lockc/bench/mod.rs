//! `lockc bench`: how quickly the pair answers, seen from here, and what that costs it.

mod load;
mod report;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::load::{Load, LoadCounters, Operations, Running};
use self::report::{Bench, ServerCost};
use super::args::BenchOptions;
use super::lazy_client::Failure;
use super::progress::Progress;
use super::{print_either, reports, told};
use crate::exit::{Exit, complain};
use crate::text::counted;
use lockservice::transport::Servers;

/// How often the progress is shown.
const TICK: Duration = Duration::from_millis(250);

/// What is said beside the figures of such a build.
const DEBUG_BUILD: &str = "these are figures of a debug build, which is about eight times slower \
     than a release build (cargo build --release)";

/// Measures, and prints what came out.
pub(super) async fn run(servers: &Servers, timeout: Duration, options: &BenchOptions) -> Exit {
    let load = Load {
        operations: if options.owned {
            Operations::Owned
        } else {
            Operations::Unowned
        },
        clerks: options.clerks,
        in_flight: options.in_flight,
        timeout,
    };
    let prefix = format!("lockc-bench/{}", Uuid::new_v4());
    let running = match load.begin(servers, &prefix).await {
        Ok(running) => running,
        Err(error) => {
            complain("lockc", &Failure::from(error));
            return Exit::Unavailable;
        }
    };
    watch("warming up", &running, options.warm_up).await;
    let before = reports(servers, timeout).await;
    running.take_counters();
    let begun = Instant::now();
    watch("measuring", &running, options.duration).await;
    let elapsed = begun.elapsed();
    let tally = running.take_counters();
    let after = reports(servers, timeout).await;
    running.end().await;

    let costs = ServerCost::between(&before, &after);
    tell(
        &Bench::new(&load, elapsed, &tally, costs),
        &tally,
        options.json,
    )
    .await
}

async fn tell(bench: &Bench, tally: &LoadCounters, json: bool) -> Exit {
    if let Some(failure) = &tally.last_failure {
        let failed = counted(tally.failed, "call");
        complain(
            "lockc",
            &format!("{failed} failed, the last one: {failure}"),
        );
    }
    if cfg!(debug_assertions) {
        complain("lockc", &DEBUG_BUILD);
    }
    let exit = if bench.is_answered() {
        Exit::Yes
    } else {
        Exit::Unavailable
    };
    let printed = print_either(json, || bench.json(), || bench.text());
    told(printed.await, exit)
}

/// Lets the load go on for `duration`, and shows how it does.
async fn watch(stage: &'static str, running: &Running, duration: Duration) {
    let progress = Progress::new(stage, duration);
    let begun = Instant::now();
    let left = |elapsed| duration.saturating_sub(elapsed);
    let mut elapsed = Duration::ZERO;
    while !left(elapsed).is_zero() {
        sleep(left(elapsed).min(TICK)).await;
        elapsed = begun.elapsed();
        let rate = running.answered() as f64 / elapsed.as_secs_f64();
        progress.show(elapsed, format!("{rate:.0} calls/s"));
    }
}
