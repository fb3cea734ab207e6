//! What is seen of locks: all that is held, who waits for whom, and what changes.

use std::time::Duration;

use lockservice::testkit::{Pair, PairOptions, wait_until};
use lockservice::{
    Clerk, ConnectError, LockChange, LockEvent, LockGuard, ServerId, SessionName, Token,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fixture::{LONG, clerk};

const PATIENCE: Duration = Duration::from_secs(30);

/// Lets a clerk wait for a lock, and sees it in the queue.
async fn queue(clerk: &Clerk, name: &str) -> JoinHandle<LockGuard> {
    let before = clerk.show(name).await.expect("an answer").waiters;
    let waits = tokio::spawn({
        let (clerk, name) = (clerk.clone(), name.to_owned());
        async move { clerk.acquire(&name).await.expect("its turn comes") }
    });
    wait_until("it is in the queue", PATIENCE, async || {
        clerk.show(name).await.expect("an answer").waiters > before
    })
    .await;
    waits
}

#[tokio::test]
async fn a_listing_has_every_holder_and_everybody_who_waits() {
    let pair = Pair::start(PairOptions::threads()).await;
    let clerk = clerk(&pair, LONG).await;
    let mut guards = Vec::new();
    for _ in 0..6 {
        let guard = clerk.request("a/config").shared().acquire().await;
        guards.push(guard.expect("it can be shared"));
    }
    let boss = clerk.acquire("a/boss").await.expect("it is free");
    let mut waits = Vec::new();
    for _ in 0..5 {
        waits.push(queue(&clerk, "a/boss").await);
    }
    assert!(clerk.lock("b").await.expect("an answer"));
    let listed = clerk.list("a/").await.expect("an answer");
    let [by_boss, by_many] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!(by_boss.name.as_str(), "a/boss");
    assert_eq!((by_boss.holders().count(), by_boss.queue().count()), (1, 5));
    let tokens = by_many.holders().filter_map(|holder| holder.token);
    assert!(tokens.eq(guards.iter().map(LockGuard::token)));
    drop((boss, waits));
}

#[tokio::test]
async fn why_names_a_deadlock_that_ends_when_one_of_its_locks_is_broken() {
    let mut pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let a = alice.acquire("a").await.expect("it is free");
    let b = bob.acquire("b").await.expect("it is free");
    let alice_waits = queue(&alice, "b").await;
    let why = alice.wait_graph("a").await.expect("an answer");
    assert!(!why.is_deadlock());
    assert_eq!(why.waits()[0].waits_for.as_str(), "b");
    let _bob_waits = queue(&bob, "a").await;

    pair.kill(ServerId::A);
    let why = alice.wait_graph("a").await.expect("an answer");
    assert!(why.is_deadlock());
    let sessions = why.cycle().iter().map(|link| link.who.session);
    assert!(sessions.eq([a.session(), b.session()]));
    let link = &why.cycle()[0];
    assert_eq!(link.held_by.token, Some(b.token()));
    let broken = alice.break_lock(link.waits_for.as_str(), b.token(), "a deadlock");
    assert!(broken.await.expect("an answer").is_broken());
    drop(alice_waits.await.expect("no panic"));
    assert!(
        !alice
            .wait_graph("a")
            .await
            .expect("an answer")
            .is_deadlock()
    );
}

/// A clerk that works inside the session of `outer`.
async fn inside(pair: &Pair, outer: &LockGuard) -> Clerk {
    let builder = Clerk::builder(pair.servers().clone()).lease(LONG);
    let builder = builder.inside(outer.session()).name("inner");
    builder.connect().await.expect("a server answers")
}

#[tokio::test]
async fn why_names_a_deadlock_of_two_that_each_run_inside_a_holder() {
    let mut pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let a = alice.acquire("a").await.expect("it is free");
    let b = bob.acquire("b").await.expect("it is free");
    let (in_alice, in_bob) = (inside(&pair, &a).await, inside(&pair, &b).await);
    let waits = [queue(&in_alice, "b").await, queue(&in_bob, "a").await];

    pair.kill(ServerId::A);
    let why = alice.wait_graph("a").await.expect("an answer");
    let cycle = why.cycle().iter();
    let cycle: Vec<_> = cycle.map(|link| link.held_by.session).collect();
    assert_eq!(cycle, [b.session(), a.session()], "{why:?}");
    assert_eq!(why.cycle()[0].who.inside, [a.session()]);
    drop(waits);
}

#[tokio::test]
async fn who_waits_for_what_is_held_around_it_is_told_so_also_across_a_session_between() {
    let pair = Pair::start(PairOptions::threads()).await;
    let alice = clerk(&pair, LONG).await;
    let job = alice.acquire("job").await.expect("it is free");
    let between = inside(&pair, &job).await;
    let held = between.acquire("other").await.expect("it is free");
    let inner = inside(&pair, &held).await;
    held.release().await.expect("it was held");

    let known = between.held_around("job").await.expect("an answer");
    assert_eq!(known.map(|holder| holder.session), Some(job.session()));
    let waits = queue(&inner, "job").await;
    let known = inner.held_around("job").await.expect("an answer");
    assert_eq!(known.map(|holder| holder.token), Some(Some(job.token())));
    assert_eq!(alice.held_around("job").await.expect("an answer"), None);
    assert!(
        alice
            .wait_graph("job")
            .await
            .expect("an answer")
            .is_deadlock()
    );
    job.release().await.expect("it was held");
    drop(waits.await.expect("its turn has come"));
}

#[tokio::test]
async fn who_holds_a_lock_and_who_waits_is_shown_with_a_name_and_an_address() {
    let pair = Pair::start(PairOptions::threads()).await;
    let connect = |name: &str| {
        let builder = Clerk::builder(pair.servers().clone());
        builder.lease(LONG).name(name).connect()
    };
    let alice = connect("alice@a, pid 1").await.expect("a server answers");
    let bob = connect("").await.expect("a server answers");
    let held = alice.acquire("job").await.expect("it is free");
    let waits = queue(&bob, "job").await;
    let shown = bob.show("job").await.expect("an answer");
    let names = shown.entries.iter().map(|place| place.name.as_ref());
    let names: Vec<_> = names.map(|name| name.map(SessionName::as_str)).collect();
    assert_eq!(names, [Some("alice@a, pid 1"), None], "{shown:?}");
    assert!(
        shown.entries.iter().all(|place| place.address.is_some()),
        "{shown:?}"
    );
    let refused = connect(&"x".repeat(257)).await;
    assert!(
        matches!(refused, Err(ConnectError::InvalidName(_))),
        "{refused:?}"
    );
    drop((held, waits));
}

#[tokio::test]
async fn a_crowd_of_waiters_with_the_longest_names_is_shown_as_far_as_it_fits_into_a_frame() {
    const CROWD: u64 = 300;
    let pair = Pair::start(PairOptions::threads()).await;
    let name = "x".repeat(SessionName::MAX_BYTES);
    let builder = Clerk::builder(pair.servers().clone()).lease(LONG);
    let connect = builder.name(&*name).connect();
    let clerk = connect.await.expect("a server answers");
    let held = clerk.acquire("job").await.expect("it is free");
    let crowd = (0..CROWD).map(|_| {
        let clerk = clerk.clone();
        tokio::spawn(async move { clerk.acquire("job").await })
    });
    let crowd: Vec<_> = crowd.collect();
    wait_until("all of them wait", PATIENCE, async || {
        let listed = clerk.list("job").await.expect("an answer");
        listed[0].waiters == CROWD
    })
    .await;
    let shown = clerk.show("job").await.expect("an answer");
    assert_eq!(shown.waiters, CROWD);
    assert_eq!(shown.entries[0].token, Some(held.token()), "{shown:?}");
    assert!((70..256).contains(&shown.entries.len()), "{shown:?}");
    for waits in crowd {
        waits.abort();
    }
}

fn of_holder(change: &LockChange) -> (&str, Option<Token>) {
    let token = change.event.entry().and_then(|place| place.token);
    (change.name.as_str(), token)
}

#[tokio::test]
async fn a_watch_tells_what_changes_also_across_a_failover() {
    let mut pair = Pair::start(PairOptions::threads()).await;
    let clerk = clerk(&pair, LONG).await;
    let first = clerk.acquire("a/1").await.expect("it is free");
    let mut watch = clerk.watch("a/").every(Duration::from_millis(10));
    let seen = watch.changes().await.expect("an answer");
    let [granted] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert!(
        matches!(granted.event, LockEvent::Granted(_)),
        "{granted:?}"
    );
    assert_eq!(of_holder(granted), ("a/1", Some(first.token())));

    pair.kill(ServerId::A);
    let token = first.token();
    first.release().await.expect("it was held");
    let seen = timeout(PATIENCE, watch.changes()).await.expect("in time");
    let seen = seen.expect("the other server answers");
    let [ended] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert!(matches!(ended.event, LockEvent::Ended(_)), "{ended:?}");
    assert_eq!(of_holder(ended), ("a/1", Some(token)));
}
