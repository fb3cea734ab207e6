//! Locks that stay held for a time, whatever becomes of their holders.

use std::time::Duration;

use lockservice::testkit::{Pair, PairOptions, wait_until};
use lockservice::types::Retention;
use lockservice::{ReleaseError, ServerId};
use tokio::time::Instant;

use crate::fixture::{LONG, clerk};

const TIME: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_lock_stays_held_for_its_time_though_its_clerk_is_gone_and_a_server_as_well() {
    let mut pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let guard = alice.acquire("job").await.expect("it is free");
    let (token, session) = (guard.token(), guard.session());
    let retained = Instant::now();
    guard.release_after(TIME).await.expect("it is held");
    alice.close().await;

    let shown = bob.show("job").await.expect("an answer");
    let holder = shown.holders().next().expect("it is held");
    assert_eq!((holder.session, holder.token), (session, Some(token)));
    assert!(holder.is_left, "{holder:?}");
    let left = holder.retained_for.expect("it is retained");
    assert!(left <= TIME, "{left:?}");
    let refused = bob.try_acquire("job").await.expect("an answer");
    assert!(!refused.is_acquired(), "{refused:?}");

    pair.kill(ServerId::A);
    let next = bob.acquire("job").await.expect("its turn comes");
    assert!(retained.elapsed() >= TIME, "{:?}", retained.elapsed());
    assert!(next.token() > token, "{next:?}");
}

#[tokio::test]
async fn a_lock_that_is_retained_is_broken_like_any_other() {
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let guard = alice.acquire("job").await.expect("it is free");
    let token = guard.token();
    guard.release_after(LONG).await.expect("it is held");
    let broken = bob.break_lock("job", token, "it is wanted").await;
    assert!(broken.expect("an answer").is_broken());
    drop(bob.acquire("job").await.expect("it is free"));
}

#[tokio::test]
async fn a_guard_holds_its_lock_also_when_the_time_is_over_or_taken_back() {
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let guard = alice.acquire("job").await.expect("it is free");
    let too_long = guard.retain(Retention::MAX + Duration::from_secs(1)).await;
    assert!(
        matches!(too_long, Err(ReleaseError::TooLong(_))),
        "{too_long:?}"
    );
    let short = guard.retain(Duration::from_millis(1)).await;
    short.expect("it is held");
    wait_until("its time is over", LONG, async || {
        let shown = bob.show("job").await.expect("an answer");
        let mut holders = shown.holders();
        holders.all(|holder| holder.retained_for.is_none())
    })
    .await;
    guard.retain(LONG).await.expect("it is held");
    guard.retain(Duration::ZERO).await.expect("it is held");
    guard.release().await.expect("it is held");
    let free = bob.try_acquire("job").await.expect("an answer");
    assert!(free.is_acquired(), "{free:?}");
}
