//! `lockd` with a log that cannot be written: it costs lines, and nothing else.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::Arc;

use lockservice::Servers;
use lockservice::clerk::{Clerk, is_whole, status};
use lockservice::testkit::wait_until;
use lockservice::{Network, SystemNetwork};
use rustix::process::Signal;

use crate::fault::{Fault, Faulty, PATIENCE, Place, Which};

struct Pair {
    place: Place,
    primary: Faulty,
    backup: Faulty,
}

impl Pair {
    async fn start(fault: Fault, options: &[&str]) -> Self {
        let place = Place::new();
        let start = |role| {
            let args = [&[role], options].concat();
            Faulty::start(
                env!("CARGO_BIN_EXE_lockd"),
                &args,
                &place.servers(),
                (Which::Stderr, fault),
                Stdio::null(),
            )
        };
        let (primary, backup) = (start("primary"), start("backup"));
        let pair = Self {
            place,
            primary,
            backup,
        };
        pair.wait_until_whole().await;
        pair
    }

    fn servers(&self) -> Servers {
        self.place.servers().parse().expect("two addresses")
    }

    async fn wait_until_whole(&self) {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        wait_until("the pair is whole", PATIENCE, async || {
            is_whole(&status(&network, &self.servers(), PATIENCE).await)
        })
        .await;
    }

    async fn clerk(&self) -> Clerk {
        let clerk = Clerk::connect(self.servers()).await;
        clerk.expect("a server answers")
    }
}

/// A backup takes over with every lock, and stops when it is asked to, whatever becomes of its log.
async fn nothing_is_lost_but_lines(fault: Fault) {
    for format in ["text", "json"] {
        let mut pair = Pair::start(fault, &["--log", format, "--log-filter", "debug"]).await;
        let clerk = pair.clerk().await;
        assert!(clerk.lock("x").await.expect("an answer"), "{format}");
        pair.primary.child.kill().await.expect("it can be killed");
        let again = clerk.lock("x").await.expect("an answer");
        assert!(!again, "{format}: the lock is gone");
        assert!(clerk.lock("y").await.expect("an answer"), "{format}");
        pair.backup.send(Signal::TERM);
        let code = pair.backup.code().await;
        assert_eq!(code, Some(0), "{format}");
    }
}

#[tokio::test]
async fn a_server_whose_stderr_is_closed_serves_on() {
    nothing_is_lost_but_lines(Fault::Closed).await;
}

#[tokio::test]
async fn a_server_whose_stderr_is_full_serves_on() {
    nothing_is_lost_but_lines(Fault::Full).await;
}

#[tokio::test]
async fn a_server_whose_stderr_is_blocked_serves_on() {
    nothing_is_lost_but_lines(Fault::Blocked).await;
}

#[tokio::test]
async fn a_server_whose_log_nobody_reads_any_more_serves_on() {
    nothing_is_lost_but_lines(Fault::ReaderGone).await;
}

#[tokio::test]
async fn lines_that_were_lost_are_counted_and_that_is_told_once() {
    let mut pair = Pair::start(Fault::Blocked, &["--log-filter", "trace"]).await;
    let clerk = pair.clerk().await;
    // More than waits for a reader.
    for _ in 0..1_000 {
        clerk.lock("x").await.expect("an answer");
    }
    let mut reader = pair.primary.reader.take().expect("a pipe");
    let reading = tokio::task::spawn_blocking(move || {
        let mut log = Vec::new();
        reader.read_to_end(&mut log).expect("it can be read");
        String::from_utf8_lossy(&log).into_owned()
    });
    pair.primary.send(Signal::TERM);
    assert_eq!(pair.primary.code().await, Some(0));
    let log = reading.await.expect("no panic");
    let told: Vec<_> = log
        .lines()
        .filter_map(|line| line.split_once("log lines were lost: stderr did not take them lost="))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let lost: u64 = told[0].1.parse().expect("a number");
    assert!(lost > 0);
}
