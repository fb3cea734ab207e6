//! How long a client waits when the primary fails: the longest gap between two successful calls of a
//! steady client, with real processes on loopback.
//!
//! `cargo bench --bench failover` kills 20 primaries (`SIGKILL`) and stops 5 (`SIGSTOP`).

use std::time::{Duration, Instant};

use lockservice::testkit::{Process, Reserved, wait_until};
use lockservice::types::ServerId;
use lockservice::{Clerk, Servers};
use tempfile::TempDir;

const PEER_TIMEOUT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// How many calls are answered before the failure, and after it.
const CALLS: usize = 500;

/// What happens to the primary.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Kill,
    Stop,
}

fn main() {
    // `cargo bench -- --test` only wants to know that it works.
    let quick = std::env::args().any(|arg| arg == "--test");
    let (kills, stops) = if quick { (1, 0) } else { (20, 5) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!("longest gap between two answers     median     least      most");
    for (failure, rounds) in [(Failure::Kill, kills), (Failure::Stop, stops)] {
        let rounds = (0..rounds).map(|_| runtime.block_on(measure(failure)));
        let [undisturbed, failed_over]: [Vec<_>; 2] =
            rounds.fold([vec![], vec![]], |mut all, gaps| {
                for (all, gap) in all.iter_mut().zip(gaps) {
                    all.push(gap);
                }
                all
            });
        report(&format!("{failure:?}, before it"), undisturbed);
        report(&format!("{failure:?}"), failed_over);
    }
}

fn report(what: &str, mut gaps: Vec<Duration>) {
    gaps.sort();
    let ms = |gap: &Duration| gap.as_secs_f64() * 1e3;
    if let (Some(least), Some(most)) = (gaps.first(), gaps.last()) {
        let median = ms(&gaps[gaps.len() / 2]);
        let (least, most, rounds) = (ms(least), ms(most), gaps.len());
        println!("{what:<18} {rounds:>3} rounds {median:>8.2} ms {least:>6.2} ms {most:>6.2} ms");
    }
}

/// Runs a pair and a client that locks and unlocks without a pause, and fails the primary in between.
/// Gives the longest gap before the failure, and after it.
async fn measure(failure: Failure) -> [Duration; 2] {
    let logs = TempDir::new().expect("a directory");
    let ports = [Reserved::tcp(), Reserved::tcp()].map(|port| port.expect("a free port"));
    let [a, b] = [&ports[0], &ports[1]].map(|port| port.addr().clone());
    let servers = Servers::new(a, b).expect("two addresses");
    let [mut primary, _backup] = ["primary", "backup"].map(|role| start(&logs, role, &servers));
    let clerk = Clerk::connect(servers.clone()).await.expect("a pair");
    wait_whole(&servers).await;

    let undisturbed = calls(&clerk).await;
    match failure {
        Failure::Kill => drop(primary.kill()),
        Failure::Stop => primary.stop(),
    }
    let failed_over = calls(&clerk).await;
    [undisturbed, failed_over]
}

fn start(logs: &TempDir, role: &str, servers: &Servers) -> Process {
    let timeout = format!("{}ms", PEER_TIMEOUT.as_millis());
    let servers = servers.to_string();
    let args = [role, "--servers", &servers, "--peer-timeout", &timeout];
    let lockd = env!("CARGO_BIN_EXE_lockd").as_ref();
    Process::start(role, lockd, args, logs.path().join(role)).expect("lockd starts")
}

async fn wait_whole(servers: &Servers) {
    let network: std::sync::Arc<dyn lockservice::net::Network> =
        std::sync::Arc::new(lockservice::net::SystemNetwork);
    wait_until("the pair is whole", PATIENCE, async || {
        let reports = lockservice::clerk::status(&network, servers, PATIENCE).await;
        ServerId::BOTH.len() == reports.iter().filter(|report| in_sync(report)).count()
    })
    .await;
}

fn in_sync(report: &lockservice::clerk::ServerReport) -> bool {
    report.status.as_ref().is_ok_and(|status| status.in_sync)
}

/// Makes calls without a pause. Gives the longest time that one of them took.
async fn calls(clerk: &Clerk) -> Duration {
    let mut longest = Duration::ZERO;
    for n in 0..CALLS {
        let asked = Instant::now();
        let answer = if n % 2 == 0 {
            clerk.lock("steady").await
        } else {
            clerk.unlock("steady").await
        };
        assert!(answer.expect("an answer"), "nobody else uses the lock");
        longest = longest.max(asked.elapsed());
    }
    longest
}
