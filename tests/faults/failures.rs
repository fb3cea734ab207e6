//! The failure table of the pair, row by row: real processes, real sockets, real clerks at work.
//!
//! In each, what the clients saw is held to all invariants and to linearizability, and no call
//! fails unless the row says so.

#[path = "../support/load/mod.rs"]
mod load;
#[path = "../support/one_sided/mod.rs"]
mod one_sided;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use lockservice::clerk::{CallError, Clerk, LockGuard};
use lockservice::config::Timing;
use lockservice::fencing::{FileGate, GateError};
use lockservice::service::RoleName;
use lockservice::testkit::{History, Pair, wait_until};
use lockservice::types::{ServerId, View};

use self::load::{Load, PATIENCE, processes};
use self::one_sided::{clerk_that_reaches_only, clerk_with_lease};

const A: ServerId = ServerId::A;
const B: ServerId = ServerId::B;

async fn start() -> Pair {
    Pair::start(processes()).await
}

/// The view of a whole pair.
async fn view(pair: &Pair) -> View {
    pair.wait_whole().await;
    let status = pair.status(A).await.expect("it answers");
    status.view.expect("a whole pair has a view")
}

#[tokio::test]
async fn without_a_failure_every_acknowledged_call_is_on_both_servers_in_the_same_order() {
    let pair = start().await;
    let view = view(&pair).await;
    let before = pair.status(A).await.expect("it answers").op;
    let load = Load::start(&pair, 4).await;
    load.advance(400).await;
    let history = load.judge(&pair).await;

    let [a, b] = ServerId::BOTH.map(|server| pair.status(server));
    let (a, b) = (a.await.expect("it answers"), b.await.expect("it answers"));
    let calls = history.operations().len() as u64;
    assert!(a.op.0 >= before.0 + calls, "each call has an op of its own");
    assert_eq!((a.op, a.digest), (b.op, b.digest));
    assert_eq!((a.view, b.view), (Some(view), Some(view)));
}

/// The survivor is asked by clients that were waiting for the dead server.
async fn survives_a_kill(killed: ServerId) {
    let mut pair = start().await;
    let load = Load::start(&pair, 4).await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("held").await.expect("an answer"));
    pair.kill(killed);
    load.advance(100).await;
    assert!(!clerk.lock("held").await.expect("an answer"));
    pair.wait_role(killed.peer(), RoleName::Standalone).await;
    load.judge(&pair).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_primary_is_killed() {
    survives_a_kill(A).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_backup_is_killed() {
    survives_a_kill(B).await;
}

/// A call waits in the sockets of a stopped server, which would grant it if it went by what it
/// knew.
async fn never_answers_from_its_old_state(stopped: ServerId) {
    let mut pair = start().await;
    let load = Load::start(&pair, 3).await;
    let (clerk, _nobody) = clerk_that_reaches_only(&pair, stopped).await;
    let waiting = load.recorder.client(100, clerk);
    let other = load.recorder.client(101, pair.clerk().await);
    assert!(waiting.lock("stale").await.expect("an answer"));
    assert!(waiting.unlock("stale").await.expect("an answer"));

    pair.stop(stopped);
    load.advance(100).await;
    pair.wait_role(stopped.peer(), RoleName::Standalone).await;
    assert!(other.lock("stale").await.expect("an answer"));
    let before = pair.front(stopped).traffic().requests.passed;
    let call = tokio::spawn(async move { waiting.lock("stale").await });
    wait_until("a call in its sockets", PATIENCE, async || {
        pair.front(stopped).traffic().requests.passed > before
    })
    .await;

    pair.wake(stopped);
    let granted = call.await.expect("no panic").expect("an answer");
    assert!(!granted, "another client holds it");
    pair.wait_whole().await;
    assert_eq!(pair.primary().await, Some(stopped.peer()));
    load.advance(100).await;
    load.judge(&pair).await;
}

#[tokio::test]
async fn a_primary_that_was_stopped_and_wakes_never_answers_from_its_old_state() {
    never_answers_from_its_old_state(A).await;
}

#[tokio::test]
async fn a_backup_that_was_stopped_and_wakes_never_answers_from_its_old_state() {
    never_answers_from_its_old_state(B).await;
}

#[tokio::test]
async fn a_link_that_is_reset_under_load_resumes_without_a_failover() {
    let pair = start().await;
    let before = view(&pair).await;
    let load = Load::start(&pair, 4).await;
    for _ in 0..10 {
        let dialled = pair.link_to(B).traffic().accepted;
        pair.reset_link();
        wait_until("the link is dialled again", PATIENCE, async || {
            pair.link_to(B).traffic().accepted > dialled
        })
        .await;
        load.advance(50).await;
    }
    assert_eq!(view(&pair).await, before);
    load.judge(&pair).await;
}

#[tokio::test]
async fn a_client_cut_off_from_one_server_is_answered_by_the_other_without_a_failover() {
    let pair = start().await;
    let before = view(&pair).await;
    let load = Load::start(&pair, 4).await;
    for server in [A, B, A, B] {
        pair.cut_client(server);
        load.advance(100).await;
        assert_eq!(view(&pair).await, before);
        pair.mend_client(server);
    }
    load.advance(100).await;
    load.judge(&pair).await;
    assert_eq!(view(&pair).await, before);
}

#[tokio::test]
async fn clients_that_each_reach_only_one_server_share_the_same_locks() {
    let pair = start().await;
    let before = view(&pair).await;
    let (of_a, _nobody) = clerk_that_reaches_only(&pair, A).await;
    let (of_b, _nobody) = clerk_that_reaches_only(&pair, B).await;
    for _ in 0..50 {
        assert!(of_b.lock("shared").await.expect("an answer"));
        assert!(!of_a.lock("shared").await.expect("an answer"));
        assert!(of_a.unlock("shared").await.expect("an answer"));
        assert!(!of_b.unlock("shared").await.expect("an answer"));
    }
    assert_eq!(view(&pair).await, before);
}

/// Takes this many locks, many at a time.
async fn hold(clerk: &Clerk, locks: u32) {
    let mut calls = stream::iter(0..locks)
        .map(|number| async move { clerk.lock(&format!("held/{number}")).await })
        .buffer_unordered(800);
    while let Some(answer) = calls.next().await {
        assert!(answer.expect("an answer"));
    }
}

async fn rejoins_with_its_state(restarted: ServerId, locks: u32) {
    let mut pair = start().await;
    let clerk = pair.clerk().await;
    hold(&clerk, locks).await;
    let load = Load::start(&pair, 3).await;
    pair.kill(restarted);
    pair.wait_role(restarted.peer(), RoleName::Standalone).await;
    pair.run(restarted);
    load.advance(50).await;
    pair.wait_whole().await;
    load.advance(50).await;
    assert_eq!(pair.primary().await, Some(restarted.peer()));
    load.judge(&pair).await;

    // What it was sent is what it now knows by itself.
    pair.kill(restarted.peer());
    for number in [0, locks / 2, locks - 1] {
        let name = format!("held/{number}");
        assert!(!clerk.lock(&name).await.expect("an answer"));
    }
    let status = pair.status(restarted).await.expect("it answers");
    assert_eq!(status.locks, u64::from(locks));
}

#[tokio::test]
async fn a_restarted_primary_joins_with_the_whole_state_while_clients_go_on() {
    rejoins_with_its_state(A, 10).await;
}

#[tokio::test]
async fn a_restarted_backup_joins_with_the_state_of_50_000_locks_while_clients_go_on() {
    rejoins_with_its_state(B, 50_000).await;
}

#[tokio::test]
async fn three_failures_in_a_row_lose_nothing_when_the_pair_is_whole_between_them() {
    let mut pair = start().await;
    let load = Load::start(&pair, 4).await;
    pair.kill(A);
    load.advance(50).await;
    pair.run(A);
    pair.wait_whole().await;

    pair.stop(B);
    load.advance(50).await;
    pair.wait_role(A, RoleName::Standalone).await;
    pair.wake(B);
    pair.wait_whole().await;

    pair.kill(A);
    load.advance(50).await;
    pair.run(A);
    pair.wait_whole().await;
    load.advance(50).await;
    load.judge(&pair).await;
    assert_eq!(pair.primary().await, Some(B));
}

/// What a client of a pair that is gone is told about its next call.
fn is_honest(answer: &Result<bool, CallError>) -> bool {
    matches!(answer, Ok(true) | Err(CallError::RecordLost))
}

#[tokio::test]
async fn a_pair_of_which_both_were_killed_starts_empty() {
    let mut pair = start().await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("held").await.expect("an answer"));
    let before = pair.status(A).await.expect("it answers").op;
    for server in ServerId::BOTH {
        pair.kill(server);
    }
    for server in ServerId::BOTH {
        pair.run(server);
    }
    pair.wait_whole().await;
    let status = pair.status(A).await.expect("it answers");
    assert_eq!(status.locks, 0);
    assert!(status.op > before, "the fencing tokens go on");

    let answer = clerk.lock("held").await;
    assert!(is_honest(&answer), "{answer:?}");
    if answer.is_err() {
        assert!(clerk.lock("held").await.expect("an answer"));
    }
    let load = Load::start(&pair, 3).await;
    load.judge(&pair).await;
}

#[tokio::test]
async fn a_server_that_slept_through_the_death_of_its_peer_does_not_go_on_from_its_old_state() {
    let mut pair = start().await;
    let (clerk, _nobody) = clerk_that_reaches_only(&pair, A).await;
    assert!(clerk.lock("old").await.expect("an answer"));
    pair.stop(A);
    pair.wait_role(B, RoleName::Standalone).await;
    pair.kill(B);
    let before = pair.front(A).traffic().requests.passed;
    let call = tokio::spawn(async move { clerk.lock("old").await });
    wait_until("a call in its sockets", PATIENCE, async || {
        pair.front(A).traffic().requests.passed > before
    })
    .await;
    pair.wake(A);
    pair.wait_role(A, RoleName::Starting).await;
    assert!(!call.is_finished());
    pair.run(B);
    let answer = call.await.expect("no panic");
    assert!(is_honest(&answer), "{answer:?}");
    pair.wait_whole().await;
    Load::start(&pair, 3).await.judge(&pair).await;
}

#[tokio::test]
async fn of_two_servers_cut_off_from_each_other_one_yields_when_the_cut_heals_and_says_so() {
    let pair = start().await;
    let (of_a, _nobody) = clerk_that_reaches_only(&pair, A).await;
    let (of_b, _nobody) = clerk_that_reaches_only(&pair, B).await;
    pair.cut_link();
    for server in ServerId::BOTH {
        pair.wait_role(server, RoleName::Standalone).await;
    }
    // Not tolerated, and documented so.
    assert!(of_a.lock("both").await.expect("an answer"));
    assert!(of_b.lock("both").await.expect("an answer"));
    pair.mend_link();
    pair.wait_whole().await;

    let primary = pair.primary().await.expect("a whole pair has one");
    for (server, says) in [
        (primary.peer(), "stepped down from"),
        (primary, "the peer did in"),
    ] {
        let log = pair.log(server);
        let told = log.lines().filter(|line| line.contains(" is lost: "));
        let [told] = told.collect::<Vec<_>>()[..] else {
            panic!("{server} tells it once: {log}")
        };
        assert!(told.contains("ERROR") && told.contains(says), "{told}");
        assert!(told.contains(", locks held: 1, clients known: "), "{told}");
    }
    Load::start(&pair, 3).await.judge(&pair).await;
}

/// The same lock is granted on either side, again and again.
#[tokio::test]
async fn servers_cut_off_from_each_other_give_different_tokens_and_a_gate_takes_them_in_one_order()
{
    let mut pair = start().await;
    let mut clerks = Vec::new();
    for server in ServerId::BOTH {
        clerks.push(clerk_that_reaches_only(&pair, server).await);
    }
    pair.cut_link();
    for server in ServerId::BOTH {
        pair.wait_role(server, RoleName::Standalone).await;
    }
    let mut tokens = BTreeSet::new();
    for _ in 0..20 {
        for (clerk, _nobody) in &clerks {
            let guard = clerk.acquire("both").await.expect("its server is alone");
            assert!(tokens.insert(guard.token()), "{}", guard.token());
            guard.release().await.expect("it was held");
        }
    }
    let [of_a, of_b] = [&clerks[0].0, &clerks[1].0];
    let mut guards = [
        of_a.acquire("both").await.expect("its server is alone"),
        of_b.acquire("both").await.expect("its server is alone"),
    ];
    guards.sort_by_key(LockGuard::token);
    let directory = tempfile::tempdir().expect("a directory");
    let gate = FileGate::new(directory.path().join("both.fence"));
    let [lower, higher] = guards.each_ref().map(LockGuard::token);
    for token in [lower, higher] {
        gate.write(token, || Ok(())).expect("in order");
    }
    let late = gate.write(lower, || -> io::Result<()> {
        panic!("it must not be written")
    });
    assert!(matches!(late, Err(GateError::Stale(_))), "{late:?}");

    pair.mend_link();
    pair.wait_whole().await;
    let primary = pair.primary().await.expect("a whole pair has one");
    tokens.extend([lower, higher]);
    for killed in [None, Some(primary)] {
        if let Some(server) = killed {
            pair.kill(server);
        }
        let clerk = pair.clerk().await;
        let guard = clerk.acquire("again").await.expect("nobody has it");
        assert!(Some(&guard.token()) > tokens.last(), "{tokens:?}");
        tokens.insert(guard.token());
        guard.release().await.expect("it was held");
    }
}

/// The longest that a client waited from one answer to its next.
fn longest_gap(history: &History) -> Duration {
    let mut last = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for operation in history.operations() {
        let answered = operation.answered().expect("every call is answered");
        if let Some(before) = last.insert(operation.client, answered.since_start) {
            longest = longest.max(answered.since_start.saturating_sub(before));
        }
    }
    longest
}

/// `terminate` itself checks that the server ends well.
async fn hands_over(terminated: ServerId) {
    let mut pair = start().await;
    let load = Load::start(&pair, 4).await;
    let asked = Instant::now();
    pair.terminate(terminated).await;
    // Those who ask on, and there always are some, do not hold it up.
    let took = asked.elapsed();
    assert!(took < Timing::default().stop_timeout / 2, "{took:?}");
    load.advance(50).await;
    pair.run(terminated);
    pair.wait_whole().await;
    let gap = longest_gap(&load.judge(&pair).await);
    // Nobody waited for a peer timeout, which is a second.
    assert!(gap < Duration::from_millis(700), "{gap:?}");
}

#[tokio::test]
async fn a_primary_that_is_asked_to_stop_hands_over_without_an_error() {
    hands_over(A).await;
}

#[tokio::test]
async fn a_backup_that_is_asked_to_stop_leaves_without_an_error() {
    hands_over(B).await;
}

/// Were one to wait for the other's silence, it would give up after its `stop_timeout`, and say so.
#[tokio::test]
async fn two_servers_that_are_asked_to_stop_at_once_wait_for_nobody() {
    let mut pair = Pair::start(processes().peer_timeout(Duration::from_mins(1))).await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("held").await.expect("an answer"));
    pair.terminate_both().await;
    for server in ServerId::BOTH {
        let log = pair.log(server);
        assert!(
            log.contains("stopped") && !log.contains("unanswered"),
            "{server}: {log}"
        );
    }
}

/// Long enough that a poll is held for three times as long as a server that ends waits for what is
/// in flight.
fn long_lease() -> Duration {
    Timing::default().stop_timeout * 12
}

/// Somebody holds a lock, somebody waits for it, and `terminated` is asked to end.
async fn waits_for_no_poll(pair: &mut Pair, terminated: ServerId, holder: Clerk, waiter: Clerk) {
    let guard = holder.acquire("office").await.expect("it is free");
    let waiting = tokio::spawn(async move { waiter.acquire("office").await });
    wait_until("somebody waits", PATIENCE, async || {
        let status = pair.status(A).await;
        status.is_some_and(|status| status.waiters == 1)
    })
    .await;
    for server in ServerId::BOTH {
        pair.mend_client(server);
    }
    let (call, ()) = tokio::join!(holder.lock("lone"), pair.terminate(terminated));
    assert!(call.expect("an answer"), "the lock was free");
    let log = pair.log(terminated);
    assert!(
        log.contains("stopped") && !log.contains("unanswered"),
        "{log}"
    );
    guard.release().await.expect("it was held");
    let next = waiting.await.expect("no panic");
    assert!(next.is_ok(), "{next:?}");
}

#[tokio::test]
async fn a_primary_that_is_asked_to_stop_waits_for_no_poll_that_comes_through_the_other_one() {
    let mut pair = start().await;
    let (holder, _nobody) = clerk_with_lease(&pair, B, long_lease()).await;
    let (waiter, _nowhere) = clerk_with_lease(&pair, B, long_lease()).await;
    waits_for_no_poll(&mut pair, A, holder, waiter).await;
}

async fn waits_for_no_poll_of_its_own_clients(terminated: ServerId) {
    let mut pair = start().await;
    pair.cut_client(terminated.peer());
    let builder = || Clerk::builder(pair.servers().clone()).lease(long_lease());
    let (holder, waiter) = tokio::join!(builder().connect(), builder().connect());
    let (holder, waiter) = (holder.expect("it answers"), waiter.expect("it answers"));
    waits_for_no_poll(&mut pair, terminated, holder, waiter).await;
}

#[tokio::test]
async fn a_primary_that_is_asked_to_stop_waits_for_no_poll_of_its_own_clients() {
    waits_for_no_poll_of_its_own_clients(A).await;
}

#[tokio::test]
async fn a_backup_that_is_asked_to_stop_waits_for_no_poll_of_its_own_clients() {
    waits_for_no_poll_of_its_own_clients(B).await;
}

/// A burst is one large frame; a lone call is a small one.
#[tokio::test]
async fn a_burst_through_a_way_that_loses_large_packets_is_answered_and_status_tells_the_truth() {
    const CALLS: usize = 96;
    let mut pair = Pair::start(processes().peer_timeout(Duration::from_secs(1))).await;
    let view = view(&pair).await;
    let (clerk, _nobody) = clerk_that_reaches_only(&pair, A).await;
    pair.lose_large_packets(1_400);
    assert!(clerk.lock("lone").await.expect("an answer"));

    let names: Vec<_> = (0..CALLS).map(|n| format!("burst/{n}")).collect();
    let burst = stream::iter(&names)
        .map(|name| clerk.lock(name))
        .buffered(CALLS);
    let mut burst = std::pin::pin!(burst.collect::<Vec<_>>());
    let mut is_behind = false;
    let answers = loop {
        tokio::select! {
            biased;
            answers = &mut burst => break answers,
            status = pair.status(A) => {
                let status = status.expect("it answers");
                is_behind |= !status.in_sync && status.acked < Some(status.op);
            }
        }
    };
    assert!(
        answers.iter().all(|answer| matches!(answer, Ok(true))),
        "{answers:?}"
    );
    assert!(is_behind, "status said that all was well");
    assert_eq!(self::view(&pair).await, view, "no failover");
    let log = pair.log(A);
    assert!(log.contains("was not acknowledged, though"), "{log}");

    pair.kill(A);
    let clerk = pair.clerk().await;
    for name in &names {
        let kept = clerk.unlock(name).await;
        assert!(matches!(kept, Ok(true)), "{name}: {kept:?}");
    }
}
