//! The faults of a pair, on threads. The scenarios of `tests/` run on processes too.

use super::*;
use crate::service::RoleName;
use crate::testkit::{Recorder, invariants, wait_until};

const A: ServerId = ServerId::A;
const B: ServerId = ServerId::B;

async fn start() -> Pair {
    Pair::start(PairOptions::threads()).await
}

#[tokio::test]
async fn a_pair_starts_whole_with_the_first_server_as_primary() {
    let pair = start().await;
    assert_eq!(pair.primary().await, Some(A));
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("an answer"));
    assert!(!clerk.lock("x").await.expect("an answer"));
    assert!(pair.front(A).traffic().accepted > 0);
    assert!(pair.link_to(B).traffic().accepted > 0);
}

#[tokio::test]
async fn a_pair_on_unix_sockets_is_a_pair() {
    let mut pair = Pair::start(PairOptions::threads().unix()).await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("an answer"));
    pair.kill(A);
    assert!(!clerk.lock("x").await.expect("an answer"));
    pair.run(A);
    pair.wait_whole().await;
}

#[tokio::test]
async fn a_killed_server_is_refused_to_all_and_joins_when_it_runs_again() {
    let mut pair = start().await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("an answer"));
    pair.kill(A);
    assert!(!clerk.lock("x").await.expect("an answer"));
    pair.wait_role(B, RoleName::Standalone).await;
    assert!(pair.status(A).await.is_none());
    pair.restart(A);
    pair.wait_whole().await;
    assert_eq!(pair.primary().await, Some(B));
}

#[tokio::test]
async fn a_stopped_primary_loses_its_role_and_yields_when_it_wakes() {
    let mut pair = start().await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("an answer"));
    pair.stop(A);
    assert!(!clerk.lock("x").await.expect("an answer"));
    pair.wake(A);
    pair.wait_whole().await;
    assert_eq!(pair.primary().await, Some(B));
}

#[tokio::test]
async fn a_terminated_server_hands_over() {
    let mut pair = start().await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("an answer"));
    pair.terminate(A).await;
    assert!(!clerk.lock("x").await.expect("an answer"));
}

#[tokio::test]
async fn a_deaf_server_carries_out_what_it_is_asked_and_its_reply_is_lost() {
    let mut pair = start().await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("warm").await.expect("an answer"));
    let before = pair.status(A).await.expect("it answers").op;
    let lost_before = pair.front(A).traffic().replies.discarded;
    pair.deafen(A);
    let call = tokio::spawn({
        let clerk = clerk.clone();
        async move { clerk.lock("x").await }
    });
    wait_until("a lost reply", SOON, async || {
        pair.front(A).traffic().replies.discarded > lost_before
    })
    .await;
    assert!(
        pair.status(A)
            .await
            .is_some_and(|status| status.op > before)
    );
    pair.kill(A);
    assert!(call.await.expect("no panic").expect("an answer"));
    pair.run(A);
    pair.wait_whole().await;
}

#[tokio::test]
async fn a_reset_link_and_a_client_cut_off_cause_no_failover() {
    let pair = start().await;
    let view = pair.status(A).await.expect("it answers").view;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("an answer"));
    pair.reset_link();
    assert!(clerk.unlock("x").await.expect("an answer"));
    pair.cut_client(A);
    assert!(clerk.lock("x").await.expect("an answer"));
    pair.mend_client(A);
    pair.wait_whole().await;
    assert_eq!(pair.status(A).await.expect("it answers").view, view);
}

#[tokio::test]
async fn a_cut_link_is_noticed_and_the_pair_is_whole_after_it_is_mended() {
    let pair = start().await;
    pair.cut_link();
    pair.wait_role(A, RoleName::Standalone).await;
    pair.mend_link();
    pair.wait_whole().await;
}

#[tokio::test]
async fn what_clients_saw_is_consistent_with_the_end() {
    let mut pair = start().await;
    let recorder = Recorder::new();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..4 {
        let client = recorder.client(number, pair.clerk().await);
        clients.spawn(async move {
            for round in 0..200 {
                let name = ["x", "y"][round % 2];
                let _ = client.lock(name).await;
                let _ = client.unlock(name).await;
            }
        });
    }
    wait_until("half of the calls", SOON, async || {
        recorder.history().operations().len() > 800
    })
    .await;
    pair.kill(A);
    clients.join_all().await;
    pair.run(A);
    pair.wait_whole().await;
    let history = recorder.history();
    let end = pair.final_state(&history).await;
    assert_eq!(end.servers.len(), 2);
    invariants::check_all(&history, &end).unwrap_or_else(|violation| panic!("{violation}"));
}
