//! `lockc torture` against real processes: it finds nothing wrong with a pair whatever happens to
//! one server at a time, and finds what is wrong with one that lost its state.

#[path = "../support/edition/mod.rs"]
mod edition;

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use fastrand::Rng;
use lockservice::testkit::{History, Pair, PairOptions, Process, linearizability, wait_until};
use lockservice::types::ServerId;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the servers have by default: with a shorter one, a busy machine is a second failure.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);

fn processes() -> PairOptions {
    PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))
}

/// A `lockc torture` that runs.
struct Torture {
    process: Process,
    directory: TempDir,
}

impl Torture {
    /// Starts it, and waits until it holds locks.
    async fn start(pair: &Pair, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let history = directory.path().join("history").display().to_string();
        let servers = pair.servers().to_string();
        let fixed = [
            "torture",
            "--json",
            "--servers",
            &servers,
            "--history",
            &history,
        ];
        let program = Path::new(env!("CARGO_BIN_EXE_lockc"));
        let args = fixed.iter().chain(args);
        let process = Process::start("lockc", program, args, directory.path().join("output"))
            .expect("lockc runs");
        let torture = Self { process, directory };
        wait_until("a lock is held", PATIENCE, async || {
            let mut reports = pair.reports().await.into_iter();
            reports.any(|report| report.status.is_ok_and(|status| status.locks > 0))
        })
        .await;
        torture
    }

    fn is_over(&mut self) -> bool {
        self.process.status().is_some()
    }

    /// Waits for its end. Gives its exit code, and what it printed.
    async fn end(&mut self) -> (Option<i32>, Value) {
        let code = self.process.wait(PATIENCE).await.code();
        let report = serde_json::from_str(&self.process.log());
        (code, report.expect("it prints JSON"))
    }

    fn history(&self) -> PathBuf {
        self.directory.path().join("history")
    }
}

/// What happens to one server, or to the way between them, until the pair is whole again.
async fn fault(pair: &mut Pair, random: &mut Rng) {
    let server = if random.bool() {
        ServerId::A
    } else {
        ServerId::B
    };
    match random.u32(..10) {
        0..=4 => pair.restart(server),
        5..=6 => {
            let woken = Instant::now() + PEER_TIMEOUT.mul_f64(2.0 * random.f64());
            pair.stop(server);
            sleep_until(woken).await;
            pair.wake(server);
        }
        7 => {
            pair.terminate(server).await;
            pair.run(server);
        }
        _ => pair.reset_link(),
    }
    pair.wait_whole().await;
}

#[tokio::test]
async fn every_answer_is_right_whatever_happens_to_one_server_at_a_time() {
    let seconds = edition::rounds(8, 60);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pair = Pair::start(processes().peer_timeout(PEER_TIMEOUT)).await;
    let (duration, seed) = (format!("{seconds}s"), seed.to_string());
    let mut torture = Torture::start(&pair, &["--duration", &duration, "--seed", &seed]).await;
    let mut faults = 0;
    while !torture.is_over() {
        fault(&mut pair, &mut random).await;
        faults += 1;
    }
    println!("{faults} faults");
    let (code, report) = torture.end().await;
    assert_eq!(
        (code, &report["verdict"]),
        (Some(0), &"clean".into()),
        "{report}"
    );
    assert_eq!(report["not_freed"], 0);
    assert!(faults > seconds / 4, "{faults} faults");
    pair.wait_whole().await;
    for server in ServerId::BOTH {
        assert_eq!(pair.status(server).await.expect("it answers").locks, 0);
        let log = pair.log(server);
        assert!(!log.contains("differs") && !log.contains("panicked"));
    }
}

#[tokio::test]
async fn a_pair_that_forgot_its_locks_is_told_of_with_the_calls_that_show_it() {
    let mut pair = Pair::start(processes()).await;
    let mut torture = Torture::start(&pair, &["--duration", "1m", "--locks", "500"]).await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("of a user").await.expect("an answer"));
    // Not tolerated, and documented so.
    for server in ServerId::BOTH {
        pair.kill(server);
    }
    for server in ServerId::BOTH {
        pair.run(server);
    }
    let (code, report) = torture.end().await;
    assert_eq!(
        (code, &report["verdict"]),
        (Some(1), &"violated".into()),
        "{report}"
    );
    assert_eq!(report["history"], torture.history().display().to_string());

    let text = std::fs::read_to_string(torture.history()).expect("a file");
    let shown: History = text.parse().expect("a history");
    let wrong = linearizability::check(&shown).expect_err("it cannot be explained");
    let violation = report["violation"].as_str().expect("a sentence");
    assert!(violation.contains(wrong.call.name.as_str()), "{violation}");
}

#[tokio::test]
async fn the_locks_of_users_are_left_alone_and_an_interrupt_ends_it_early() {
    let pair = Pair::start(PairOptions::threads()).await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("lockc-torture").await.expect("an answer"));
    let mut torture =
        Torture::start(&pair, &["--duration", "1h", "--prefix", "lockc-torture"]).await;
    wait_until("many locks are held", PATIENCE, async || {
        pair.status(ServerId::A)
            .await
            .is_some_and(|status| status.locks > 10)
    })
    .await;
    torture.process.terminate();
    let (code, report) = torture.end().await;
    assert_eq!(code, Some(0), "{report}");
    assert!(report["answered"].as_u64() > Some(0));
    let status = pair.status(ServerId::A).await.expect("it answers");
    assert_eq!(status.locks, 1, "only the user's is held");
}

#[test]
fn without_a_server_there_is_no_verdict() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display();
    Command::new(env!("CARGO_BIN_EXE_lockc"))
        .args(["--servers", &format!("unix:{path}/a,unix:{path}/b")])
        .args(["--timeout", "200ms", "torture", "--duration", "1s"])
        .assert()
        .code(69)
        .stdout("");
}

/// The script that does the same from outside, for minutes.
#[test]
fn the_nemesis_script_finds_nothing_wrong() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/nemesis");
    let programs = Path::new(env!("CARGO_BIN_EXE_lockd")).parent();
    let assert = Command::new(script)
        .args(["--duration", "4s", "--peer-timeout", "1000", "--bin"])
        .arg(programs.expect("they are in a directory"))
        .timeout(PATIENCE)
        .assert()
        .code(0);
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(
        said.contains("CLEAN") && said.contains("nothing was wrong"),
        "{said}"
    );
}
