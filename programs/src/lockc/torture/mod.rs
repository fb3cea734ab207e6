//! `lockc torture`: works a pair hard, and checks that every answer is right.
//!
//! It goes by rounds of a second, and judges each of them by what is known from those before, so
//! that its memory does not grow with its duration.

mod background_checker;
mod counters;
mod owners;
mod report;
mod workers;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::background_checker::BackgroundChecker;
use self::counters::Counters;
use self::owners::Owners;
use self::report::{Report, Verdict};
use self::workers::Workers;
use self::workload::Workload;
use super::args::TortureOptions;
use super::latency::in_micros;
use super::progress::Progress;
use super::{print_either, told};
use crate::exit::{Exit, complain};
use crate::signals::StopSignals;
use lockservice::checker::rounds::ViolationReport;
use lockservice::clerk::ConnectError;
use lockservice::transport::Servers;
use lockservice::types::NameError;

/// Why nothing can be said of the servers.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl Failure {
    const fn exit(&self) -> Exit {
        match self {
            Self::Name(_) => Exit::Usage,
            Self::Connect(_) => Exit::Unavailable,
        }
    }
}

/// Loads the pair, checks the answers, and prints the result. The first signal ends the load early,
/// the second one ends the process at once.
pub(super) async fn run(servers: &Servers, timeout: Duration, options: TortureOptions) -> Exit {
    let stop = CancellationToken::new();
    let told = async {
        match torture(servers, timeout, &options, &stop).await {
            Ok(report) => tell(&report, options.json).await,
            Err(failure) => {
                complain("lockc", &failure);
                failure.exit()
            }
        }
    };
    tokio::select! {
        exit = told => exit,
        () = signalled_twice(&stop) => Exit::Internal,
    }
}

async fn tell(report: &Report, json: bool) -> Exit {
    if report.not_freed > 0 {
        let (locks, prefix) = (report.not_freed, &report.prefix);
        complain(
            "lockc",
            &format!("{locks} locks under {prefix} may still be held"),
        );
    }
    let printed = print_either(json, || report.json(), || report.text());
    told(printed.await, report.verdict.exit())
}

/// Cancels `stop` at the first signal, and returns at the second.
async fn signalled_twice(stop: &CancellationToken) {
    match StopSignals::catch_with_hang_up() {
        Ok(mut signals) => {
            signals.next().await;
            stop.cancel();
            signals.next().await;
        }
        // Then a signal ends the program, as usual.
        Err(_) => std::future::pending().await,
    }
}

async fn torture(
    servers: &Servers,
    timeout: Duration,
    options: &TortureOptions,
    stop: &CancellationToken,
) -> Result<Report, Failure> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let locks = Workload::new(&options.prefix, options.locks)?;
    let mut crew = Workers::connect(servers, timeout, options, seed).await?;
    let owned = locks.owned.clone();
    let mut owners = Owners::connect(servers, timeout, options.owners, owned, seed).await?;
    let clerks = crew.clerks();
    let mut tally = Counters::new();
    let done = CancellationToken::new();
    let working = async {
        let judged = work(&mut crew, &locks, options.duration, stop, &mut tally).await;
        done.cancel();
        judged
    };
    let (judged, ()) = join(working, owners.work(&done)).await;
    let owned = owners.count.take();
    owners.leave().await;

    let (history, not_freed) = crew.free(&locks).await;
    let offence = match judged {
        Ok(mut inspector) => match inspector.judge(history).await {
            Ok(()) => inspector.finish().await.err(),
            Err(offence) => Some(offence),
        },
        Err(offence) => Some(offence),
    };
    crew.leave().await;
    Ok(Report {
        verdict: verdict(offence.is_some() || owned.wrong.is_some(), &tally),
        history: offence
            .as_deref()
            .and_then(|offence| keep(offence, &options.history)),
        violation: offence
            .map(|offence| offence.violation.to_string())
            .or_else(|| {
                owned
                    .wrong
                    .map(|(name, wrong)| format!("{name:?} was {wrong}"))
            }),
        clerks,
        in_flight: options.in_flight,
        locks: locks.all().count(),
        owners: options.owners,
        granted: owned.granted,
        lost: owned.lost,
        broken: owned.broken,
        not_granted: owned.failed,
        prefix: locks.prefix,
        seed,
        seconds: tally.worked.as_secs_f64(),
        answered: tally.answered(),
        calls_per_second: tally.calls_per_second(),
        latency_us: tally.latencies.summary(),
        longest_gap_us: in_micros(tally.longest_gap),
        failed: tally.failed,
        not_freed,
    })
}

/// Plays rounds until the time is over, or something was wrong.
async fn work(
    crew: &mut Workers,
    locks: &Workload,
    duration: Duration,
    stop: &CancellationToken,
    tally: &mut Counters,
) -> Result<BackgroundChecker, Box<ViolationReport>> {
    let progress = Progress::new("torture", duration);
    let mut inspector = BackgroundChecker::new();
    let begun = Instant::now();
    while begun.elapsed() < duration && !stop.is_cancelled() {
        let round = crew.round(locks, begun + duration, stop, tally).await;
        inspector.judge(round).await?;
        progress.show(begun.elapsed(), remark(tally));
    }
    Ok(inspector)
}

fn remark(tally: &Counters) -> String {
    let failed: u64 = tally.failed.values().sum();
    let rate = tally.calls_per_second();
    format!("{rate} calls/s, {failed} failed, nothing wrong")
}

fn verdict(is_wrong: bool, tally: &Counters) -> Verdict {
    if is_wrong {
        Verdict::Violated
    } else if tally.answered() == 0 {
        Verdict::Unanswered
    } else {
        Verdict::Clean
    }
}

/// Writes the calls that show the violation. None if they cannot be written.
fn keep(offence: &ViolationReport, file: &Path) -> Option<PathBuf> {
    match fs::write(file, offence.to_string()) {
        Ok(()) => Some(file.to_owned()),
        Err(error) => {
            let file = file.display();
            complain(
                "lockc",
                &format!("cannot write the history to {file}: {error}"),
            );
            None
        }
    }
}

fn random_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}
