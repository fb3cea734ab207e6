//! The backup is stopped, misses what its primary does alone, and is woken as its primary dies.

use lockservice::clerk::{CallError, Clerk};
use lockservice::service::RoleName;
use lockservice::testkit::{Direction, Pair, Recorder, wait_until};

use crate::edition::rounds;
use crate::load::{PATIENCE, processes};
use crate::one_sided::clerk_that_reaches_only;
use crate::{A, B, check};

/// A pair of which B was stopped for so long that A went on alone; then `x` was locked, and `old`,
/// which B still takes for held, unlocked.
async fn pair_with_a_stopped_backup(recorder: &Recorder) -> Pair {
    let mut pair = Pair::start(processes()).await;
    let clerk = recorder.client(0, pair.clerk().await);
    assert!(clerk.lock("old").await.expect("an answer"));
    pair.stop(B);
    pair.wait_role(A, RoleName::Standalone).await;
    assert!(clerk.lock("x").await.expect("an answer"));
    assert!(clerk.unlock("old").await.expect("an answer"));
    pair
}

/// Wakes B as A dies. Tells whether B has no state now; it has, all of it, when it was in sync
/// again before that, which can happen on a busy machine.
async fn wake_and_kill(pair: &mut Pair) -> bool {
    pair.wake(B);
    pair.kill(A);
    let mut role = RoleName::Backup;
    wait_until("B to decide", PATIENCE, async || {
        role = pair.status(B).await.map_or(role, |status| status.role);
        role != RoleName::Backup
    })
    .await;
    if role == RoleName::Standalone {
        let clerk = pair.clerk().await;
        assert!(!clerk.lock("x").await.expect("an answer"), "it is held");
        assert!(!clerk.unlock("old").await.expect("an answer"));
    }
    role == RoleName::Starting
}

/// `hears` says whether the words that A had for B while it slept reach it.
async fn wakes_as_its_primary_dies(hears: bool) {
    let mut pair = pair_with_a_stopped_backup(&Recorder::new()).await;
    let before = pair.status(A).await.expect("it answers").op;
    if !hears {
        pair.link_to(B).hold(Direction::Requests);
    }
    if !wake_and_kill(&mut pair).await {
        return;
    }
    let asked = pair.front(B).traffic().requests.passed;
    let builder = Clerk::builder(pair.servers().clone()).timeout(PATIENCE);
    let late = tokio::spawn(builder.connect());
    wait_until("it is asked", PATIENCE, async || {
        pair.front(B).traffic().requests.passed > asked
    })
    .await;
    let status = pair.status(B).await.expect("it answers");
    assert_eq!(status.role, RoleName::Starting);
    assert!(!late.is_finished(), "B answers nobody");

    pair.link_to(B).release(Direction::Requests);
    pair.run(A);
    pair.wait_whole().await;
    let clerk = late.await.expect("no panic").expect("a pair");
    assert!(!clerk.unlock("old").await.expect("an answer"));
    assert!(clerk.lock("x").await.expect("an answer"), "nothing is held");
    assert!(!clerk.lock("x").await.expect("an answer"));
    let status = pair.status(B).await.expect("it answers");
    assert!(status.op > before && status.locks == 1, "{status:?}");
}

#[tokio::test]
async fn a_woken_backup_whose_primary_dies_at_once_answers_nobody_from_its_old_state() {
    for round in 0..rounds(2, 100) {
        wakes_as_its_primary_dies(round.is_multiple_of(2)).await;
    }
}

/// A call lies in the sockets of the sleeping backup, which could answer it from what it knows.
#[tokio::test]
async fn a_woken_backup_whose_primary_dies_at_once_does_not_answer_what_lies_in_its_sockets() {
    for _ in 0..rounds(1, 50) {
        let mut pair = Pair::start(processes()).await;
        let (asker, _nobody) = clerk_that_reaches_only(&pair, B).await;
        assert!(asker.lock("old").await.expect("an answer"));
        pair.stop(B);
        pair.wait_role(A, RoleName::Standalone).await;
        let other = pair.clerk().await;
        assert!(other.lock("x").await.expect("an answer"));
        assert!(other.unlock("old").await.expect("an answer"));

        let before = pair.front(B).traffic().requests.passed;
        let call = tokio::spawn(async move { asker.unlock("old").await });
        wait_until("a call in its sockets", PATIENCE, async || {
            pair.front(B).traffic().requests.passed > before
        })
        .await;
        wake_and_kill(&mut pair).await;
        pair.run(A);
        pair.wait_whole().await;
        // It can have been relayed to A, just before that was killed.
        let answer = call.await.expect("no panic");
        assert!(
            matches!(answer, Ok(false) | Err(CallError::RecordLost)),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_woken_backup_that_is_in_sync_again_has_what_it_missed_when_its_primary_dies() {
    for _ in 0..rounds(2, 100) {
        let recorder = Recorder::new();
        let mut pair = pair_with_a_stopped_backup(&recorder).await;
        let one = recorder.client(1, pair.clerk().await);
        let other = recorder.client(2, pair.clerk().await);
        assert!(!one.lock("x").await.expect("an answer"));
        pair.wake(B);
        pair.wait_whole().await;
        pair.kill(A);
        for client in [&one, &other] {
            assert!(!client.lock("x").await.expect("an answer"), "it is held");
            assert!(!client.unlock("old").await.expect("an answer"));
        }
        assert!(other.unlock("x").await.expect("an answer"));
        let both = tokio::join!(one.lock("x"), other.lock("x"));
        let granted = [both.0, both.1].map(|answer| answer.expect("an answer"));
        assert!(granted[0] != granted[1], "one of them");
        pair.run(A);
        pair.wait_whole().await;
        assert!(one.unlock("x").await.expect("an answer"));
        assert!(!other.unlock("x").await.expect("an answer"));
        check(&pair, &recorder.history()).await;
    }
}
