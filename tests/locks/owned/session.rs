//! What ends with a session.

use std::io;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use lockservice::clerk::{CallError, Clerk};
use lockservice::fencing::{FileGate, GateError};
use lockservice::testkit::{Pair, PairOptions};
use lockservice::types::{ServerId, Token, UnixTime};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::fixture::{LONG, clerk};

#[tokio::test]
async fn what_a_clerk_that_is_gone_held_is_free_at_once() {
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let held = alice.acquire("job").await.expect("it is free");
    alice.close().await;
    let next = bob.acquire("job").await.expect("it is free again");
    drop((held, next));
}

#[tokio::test]
async fn a_clerk_from_before_its_servers_connects_with_the_first_call() {
    let mut pair = Pair::prepare(PairOptions::threads()).await;
    let timeout = Duration::from_millis(500);
    let builder = Clerk::builder(pair.servers().clone());
    let early = builder.clone().timeout(timeout).connect_lazily();
    let early = early.expect("described well");
    let late = builder.connect_lazily().expect("described well");
    let begun = Instant::now();
    let error = early.lock("x").await.expect_err("no server runs");
    assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
    let CallError::Unanswered {
        after,
        may_have_happened: false,
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(after, timeout);
    for server in ServerId::BOTH {
        pair.run(server);
    }
    pair.wait_whole().await;
    let guard = late.acquire("x").await.expect("it is free");
    guard.release().await.expect("it was held");
    assert!(early.lock("x").await.expect("answered"));
}

#[tokio::test]
async fn a_guard_is_lost_in_time_when_no_server_answers() {
    let lease = Duration::from_secs(2);
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let alice = clerk(&pair, lease).await;
    let held = alice.acquire("job").await.expect("it is free");
    let stopped = Instant::now();
    for server in ServerId::BOTH {
        pair.stop(server);
    }
    held.lost().await;
    assert!(stopped.elapsed() <= lease, "{:?}", stopped.elapsed());
    for server in ServerId::BOTH {
        pair.wake(server);
    }
}

/// A holder, a process of its own that is killed, is followed when its lease is over: one lease,
/// not two. With a failover in between it is at most one more.
#[tokio::test]
async fn a_lease_of_less_than_a_second_ends_after_one_lease_and_one_more_for_a_failover() {
    let lease = Duration::from_millis(900);
    for fails_over in [false, true] {
        let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
        let other = clerk(&pair, LONG).await;
        let mut holder = Command::new(env!("CARGO_BIN_EXE_lockc"))
            .args(["--servers", &pair.servers().to_string()])
            .args(["elect", "job", "--lease", "900ms"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("lockc starts");
        let mut lines = BufReader::new(holder.stdout.take().expect("it is piped")).lines();
        let elected = lines.next_line().await.expect("it is text");
        assert!(elected.is_some_and(|line| line.starts_with("leader ")));

        // It is renewed for longer than a lease.
        let waits = other.request("job").timeout(lease * 2);
        waits.acquire().await.expect_err("held by others");
        let killed = Instant::now();
        holder.kill().await.expect("it runs");
        if fails_over {
            pair.kill(ServerId::A);
        }
        let _next = other.acquire("job").await.expect("its lease ends");
        let (leases, elapsed) = (1 + u32::from(fails_over), killed.elapsed());
        // And half of one for a busy machine.
        assert!(elapsed < lease * leases + lease / 2, "{elapsed:?}");
    }
}

#[tokio::test]
async fn a_guard_outlives_a_failover_and_its_lock_stays_its_own() {
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let held = alice.acquire("job").await.expect("it is free");
    pair.kill(ServerId::A);
    assert!(
        bob.try_acquire("job")
            .await
            .expect("an answer")
            .acquired()
            .is_none()
    );
    let token = held.token();
    held.release().await.expect("it was held");
    let next = bob.acquire("job").await.expect("it was given back");
    assert!(next.token() > token);
}

#[tokio::test]
async fn since_when_a_lock_is_held_is_told_by_the_wall_clock_also_after_a_failover() {
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let alice = clerk(&pair, LONG).await;
    let before = UnixTime::from(SystemTime::now());
    let _held = alice.acquire("job").await.expect("it is free");
    let after = UnixTime::from(SystemTime::now());
    let since = async || {
        let lock = alice.show("job").await.expect("an answer");
        lock.entries[0].since.expect("it holds the lock")
    };
    let told = since().await;
    assert!(before <= told && told <= after, "{told:?}");
    pair.kill(ServerId::A);
    assert_eq!(since().await, told);
}

#[tokio::test]
async fn tokens_rise_also_when_both_servers_were_lost() {
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let alice = clerk(&pair, LONG).await;
    let held = alice.acquire("job").await.expect("it is free");
    for server in ServerId::BOTH {
        pair.kill(server);
    }
    for server in ServerId::BOTH {
        pair.run(server);
    }
    pair.wait_whole().await;
    held.lost().await;
    let again = alice.acquire("job").await.expect("a new pair has no locks");
    assert!(again.token() > held.token());
}

/// Gives a shell an order, and waits for its answer.
async fn answer_to(
    order: &[u8],
    orders: &mut ChildStdin,
    answers: &mut Lines<BufReader<ChildStdout>>,
) -> String {
    orders.write_all(order).await.expect("it reads");
    let answer = answers.next_line().await.expect("an answer");
    answer.expect("an answer")
}

/// Its process is stopped for longer than its lease (SIGSTOP), and somebody else works meanwhile.
#[tokio::test]
async fn a_holder_that_was_stopped_finds_its_lock_lost_and_its_late_write_is_refused() {
    let pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let mut holder = Command::new(env!("CARGO_BIN_EXE_lockc"))
        .args(["--servers", &pair.servers().to_string(), "shell"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("lockc starts");
    let mut orders = holder.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(holder.stdout.take().expect("it is piped")).lines();
    let answer = answer_to(b"acquire report\n", &mut orders, &mut answers).await;
    let first: Token = answer.parse().expect("a token");

    let process = holder
        .id()
        .and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let process = process.expect("it runs");
    kill_process(process, Signal::STOP).expect("it is ours");
    let other = clerk(&pair, LONG).await;
    let second = other.acquire("report").await.expect("its lease ends");

    let directory = tempfile::tempdir().expect("a directory");
    let gate = FileGate::new(directory.path().join("report.fence"));
    gate.write(second.token(), || Ok(()))
        .expect("the newer one");
    kill_process(process, Signal::CONT).expect("it is ours");
    let answer = answer_to(b"release report\n", &mut orders, &mut answers).await;
    assert!(answer.starts_with("error: "), "{answer}");
    let late = gate.write(first, || -> io::Result<()> {
        panic!("it must not be written")
    });
    assert!(matches!(late, Err(GateError::Stale(_))), "{late:?}");
    second.release().await.expect("nobody took it away");
}
