//! Locks that a few hold at once.

use std::time::Duration;

use lockservice::clerk::Clerk;
use lockservice::service::LockInfo;
use lockservice::testkit::{Pair, PairOptions, wait_until};
use lockservice::types::{ServerId, Token};
use tokio::process::Command;

use crate::fixture::{LONG, clerk};

const PATIENCE: Duration = Duration::from_secs(30);

/// The tokens of all holders.
fn tokens(lock: &LockInfo) -> Vec<Token> {
    lock.entries
        .iter()
        .filter_map(|place| place.token)
        .collect()
}

/// Waits until the lock has so many holders, and so many wait for it.
async fn wait_for_entries(clerk: &Clerk, name: &str, holders: usize, waiters: u64) {
    wait_until("the places are taken", PATIENCE, async || {
        let lock = clerk.show(name).await.expect("an answer");
        (tokens(&lock).len(), lock.waiters) == (holders, waiters)
    })
    .await;
}

#[tokio::test]
async fn one_more_than_there_are_permits_waits_until_a_holder_is_killed_also_through_a_failover() {
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let mut holder = Command::new(env!("CARGO_BIN_EXE_lockc"))
        .args(["--servers", &pair.servers().to_string(), "run"])
        .args(["--permits", "2", "--lease", "2s", "pool/db"])
        .args(["--", "sleep", "600"])
        .kill_on_drop(true)
        .spawn()
        .expect("lockc starts");
    wait_for_entries(&alice, "pool/db", 1, 0).await;
    let held = alice.request("pool/db").permits(2).acquire().await;
    let held = held.expect("there is another one");
    let waits = tokio::spawn({
        let request = bob.request("pool/db").permits(2);
        async move { request.acquire().await }
    });
    wait_for_entries(&alice, "pool/db", 2, 1).await;
    let before = alice.show("pool/db").await.expect("an answer");

    pair.kill(ServerId::A);
    let after = alice.show("pool/db").await.expect("an answer");
    assert_eq!(after, before);
    let tried = alice.request("pool/db").permits(2).try_acquire().await;
    assert!(tried.expect("an answer").acquired().is_none());
    pair.run(ServerId::A);
    pair.wait_whole().await;

    holder.kill().await.expect("it runs");
    let next = waits.await.expect("no panic").expect("its turn has come");
    assert!(
        tokens(&before)
            .into_iter()
            .all(|token| next.token() > token)
    );
    wait_for_entries(&alice, "pool/db", 2, 0).await;
    held.release().await.expect("it was held all the while");
    let last = alice.request("pool/db").permits(2).try_acquire().await;
    assert!(last.expect("an answer").acquired().is_some());
}

#[tokio::test]
async fn a_session_can_have_several_permits_and_whoever_wants_the_lock_alone_is_not_passed_over() {
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let permit = || alice.request("pool").permits(3).acquire();
    let one = permit().await.expect("it is free");
    let two = permit().await.expect("there are more");
    assert!(one.token() < two.token());
    let alone = tokio::spawn(async move { bob.acquire("pool").await });
    wait_for_entries(&alice, "pool", 2, 1).await;
    one.contended().await;
    two.contended().await;
    let tried = alice.request("pool").permits(3).try_acquire().await;
    assert!(
        tried.expect("an answer").acquired().is_none(),
        "somebody waits"
    );
    one.release().await.expect("it was held");
    two.release().await.expect("it was held");
    let alone = alone.await.expect("no panic").expect("its turn has come");
    alone.release().await.expect("it was held");
}
