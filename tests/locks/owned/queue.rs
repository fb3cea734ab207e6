//! First come, first served.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockservice::testkit::{Pair, PairOptions, wait_until};
use lockservice::types::ServerId;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fixture::{LONG, clerk};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_lock_goes_to_who_waits_for_it_and_its_tokens_rise() {
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let first = alice.acquire("jobs/nightly").await.expect("it is free");
    assert!(
        bob.try_acquire("jobs/nightly")
            .await
            .expect("an answer")
            .acquired()
            .is_none()
    );
    assert!(
        !bob.lock("jobs/nightly").await.expect("an answer"),
        "it is held"
    );
    let waits = tokio::spawn({
        let bob = bob.clone();
        async move { bob.acquire("jobs/nightly").await }
    });
    first.contended().await;
    let token = first.token();
    first.release().await.expect("it was held");
    let second = waits.await.expect("no panic").expect("its turn has come");
    assert!(second.token() > token);
    assert!(
        bob.unlock("jobs/nightly").await.is_err(),
        "a lock that is owned"
    );
    drop(second);
    let third = alice
        .acquire("jobs/nightly")
        .await
        .expect("it was given back");
    third.release().await.expect("it was held");
    assert!(
        alice.lock("jobs/nightly").await.expect("an answer"),
        "it is free"
    );
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_the_queue() {
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let held = alice.acquire("job").await.expect("it is free");
    let short = bob.request("job").timeout(Duration::from_millis(50));
    short.acquire().await.expect_err("held by others");
    held.release().await.expect("it was held");
    let again = alice.request("job").timeout(PATIENCE).acquire().await;
    again
        .expect("nobody is before it")
        .release()
        .await
        .expect("it was held");
}

/// They are more than the calls that a connection, or a clerk, may have in flight.
#[tokio::test]
async fn those_who_wait_leave_room_for_renewals_and_other_calls() {
    const ROUNDS: u64 = 10;
    const WAITERS: u64 = 500;
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (
        clerk(&pair, Duration::from_secs(5)).await,
        clerk(&pair, LONG).await,
    );
    let held = bob.acquire("job").await.expect("it is free");
    let own = alice.acquire("own").await.expect("it is free");
    let mut waiters = JoinSet::new();
    for round in 1..=ROUNDS {
        for _ in 0..WAITERS {
            let request = alice.request("job").shared();
            waiters.spawn(async move { request.acquire().await });
        }
        wait_until("they wait", PATIENCE, async || {
            bob.show("job").await.expect("an answer").waiters == round * WAITERS
        })
        .await;
    }
    let before = own.safe_until();
    wait_until("the lease is renewed", PATIENCE, async || {
        own.safe_until() > before + Duration::from_secs(1)
    })
    .await;
    own.release().await.expect("it was held");
    assert!(alice.lock("plain").await.expect("an answer"));
    assert!(
        alice
            .try_acquire("own")
            .await
            .expect("an answer")
            .is_acquired()
    );
    held.release().await.expect("it was held");
    for guard in waiters.join_all().await {
        drop(guard.expect("its turn has come"));
    }
}

/// Whoever takes them in the order that it names them in waits for the other for ever.
#[tokio::test]
async fn those_that_want_the_same_locks_in_other_orders_never_wait_for_each_other() {
    const ROUNDS: usize = 50;
    let pair = Pair::start(PairOptions::threads()).await;
    let mut workers = JoinSet::new();
    for names in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
        let clerk = clerk(&pair, LONG).await;
        workers.spawn(async move {
            for _ in 0..ROUNDS {
                let request = clerk.request_all(names).timeout(PATIENCE);
                let guards = request.acquire().await.expect("their turn comes");
                for guard in guards {
                    guard.release().await.expect("it was held");
                }
            }
        });
    }
    workers.join_all().await;
}

#[tokio::test]
async fn two_hundred_waiters_are_served_in_their_order_through_three_failovers() {
    const WAITERS: u64 = 200;
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let owner = clerk(&pair, LONG).await;
    let first = owner.acquire("queue").await.expect("it is free");
    let served = Arc::new(Mutex::new(Vec::new()));
    let may_release = Arc::new(Semaphore::new(0));
    let mut waiters = JoinSet::new();
    let clerks = futures::future::join_all((0..20).map(|_| clerk(&pair, LONG))).await;
    for number in 0..WAITERS {
        let clerk = clerks[usize::try_from(number % 20).expect("few")].clone();
        let (served, may_release) = (served.clone(), may_release.clone());
        waiters.spawn(async move {
            let guard = clerk.acquire("queue").await.expect("its turn comes");
            served
                .lock()
                .expect("no panic")
                .push((number, guard.token()));
            may_release.acquire().await.expect("it is open").forget();
            guard.release().await.expect("it was held");
        });
        // One after the other, so that their order is known: each is in the queue before the next.
        let places = number + 1;
        wait_until("the waiter is in the queue", PATIENCE, async || {
            let reports = pair.reports().await;
            let counts = reports
                .iter()
                .filter_map(|it| Some(it.status.as_ref().ok()?.waiters));
            counts.max() == Some(places)
        })
        .await;
    }
    let count = || served.lock().expect("no panic").len();
    first.release().await.expect("it was held");
    for (round, primary) in [ServerId::A, ServerId::B, ServerId::A]
        .into_iter()
        .enumerate()
    {
        assert_eq!(pair.primary().await, Some(primary));
        may_release.add_permits(50);
        wait_until("fifty more are served", PATIENCE, async || {
            count() > (round + 1) * 50
        })
        .await;
        // One holds the lock, and many wait.
        pair.kill(primary);
        may_release.add_permits(1);
        pair.run(primary);
        pair.wait_whole().await;
    }
    may_release.add_permits(50);
    waiters.join_all().await;
    let served = served.lock().expect("no panic").clone();
    let order: Vec<_> = served.iter().map(|(number, _)| *number).collect();
    assert_eq!(order, (0..WAITERS).collect::<Vec<_>>());
    assert!(served.is_sorted_by_key(|(_, token)| *token));
}
