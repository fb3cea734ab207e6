//! When a session begins and when it ends.

use super::fake::Kind;
use super::*;
use crate::config::LEASE;
use crate::service::Acquired;

const SOON: Duration = Duration::from_millis(100);

/// Which records were said goodbye to.
fn closed_sessions(fake: &Fake) -> Vec<u64> {
    let session = |request| match request {
        Request::CloseSession { session, .. } => Some(session.0),
        _ => None,
    };
    let mut records: Vec<_> = fake.asked().into_iter().filter_map(session).collect();
    records.sort_unstable();
    records
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lease_is_refused() {
    let pair = Pair::up().await;
    for lease in [Duration::ZERO, Duration::from_millis(99), Duration::MAX] {
        let connected = pair.builder().lease(lease).connect().await;
        let error = connected.expect_err("no lease");
        assert!(matches!(error, ConnectError::InvalidLease(_)), "{error}");
    }
    assert_eq!(pair.a.asked(), []);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_lost_wakes_whoever_waits() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Acquired::Queued; 3]);
    let is_lost = async {
        pair.a.was_asked_to(Kind::Acquire, 3).await;
        sleep(SOON).await;
        pair.a.lose_the_session();
    };
    let requests = join_all(["x", "y", "z"].map(|name| clerk.acquire(name)));
    let ((requests, elapsed), ()) = tokio::join!(timed(requests), is_lost);
    for request in requests {
        assert!(
            matches!(request, Err(AcquireError::SessionLost)),
            "{request:?}"
        );
    }
    assert!(is_about(elapsed, SOON), "{elapsed:?}");
    let guard = clerk.acquire("x").await.expect("in another session");
    assert_eq!(guard.state(), GuardState::Held);
    assert_eq!(pair.a.count(Kind::Open), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_expires_unheard_wakes_whoever_waits() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Acquired::Queued]);
    let nobody_answers = async {
        pair.a.was_asked_to(Kind::Acquire, 1).await;
        pair.a.on_session(Reply::Never);
        pair.b.on_session(Reply::Never);
    };
    let ((request, elapsed), ()) = tokio::join!(timed(clerk.acquire("x")), nobody_answers);
    assert!(
        matches!(request, Err(AcquireError::SessionLost)),
        "{request:?}"
    );
    assert!(elapsed < LEASE * 5 / 4, "{elapsed:?}");
    pair.b.on_session(Reply::Yes);
    let _guard = clerk.acquire("x").await.expect("in another session");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_has_lost_its_place_stands_again() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Acquired::Queued, Acquired::Ended]);
    let is_lost = async {
        pair.a.was_asked_to(Kind::Acquire, 1).await;
        sleep(SOON).await;
        pair.a.lose_the_session();
    };
    let (leadership, ()) = tokio::join!(clerk.campaign("boss"), is_lost);
    let leadership = leadership.expect("it is elected in the end");
    assert_eq!(leadership.state(), GuardState::Held);
    assert_eq!(pair.a.count(Kind::Acquire), 3);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_with_a_timeout_has_one_for_all_its_places_together() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Acquired::Queued, Acquired::Queued]);
    let is_lost = async {
        pair.a.was_asked_to(Kind::Acquire, 1).await;
        sleep(LEASE / 2).await;
        pair.a.lose_the_session();
    };
    let candidate = clerk.request("boss").timeout(LEASE).campaign();
    let ((leadership, elapsed), ()) = tokio::join!(timed(candidate), is_lost);
    let error = leadership.expect_err("others hold it all the time");
    assert!(
        matches!(error, AcquireError::TimedOut { after, .. } if after == LEASE),
        "{error}"
    );
    assert!(is_about(elapsed, LEASE), "{elapsed:?}");
    assert_eq!(pair.a.count(Kind::Acquire), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_its_session_lost_is_made_in_another_one() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on(Kind::Poll, Reply::Never);
    pair.b.on(Kind::Poll, Reply::Never);
    let guard = clerk.acquire("x").await.expect("granted");
    pair.a.lose_the_session();
    let other = clerk.acquire("y").await.expect("granted");
    assert_eq!(guard.state(), GuardState::Lost);
    assert_eq!(guard.lost().await, LossReason::SessionLost);
    assert_eq!(other.state(), GuardState::Held);
    assert_eq!(pair.a.count(Kind::Open), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_expired_unheard_is_said_goodbye_to() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let guard = clerk.acquire("x").await.expect("granted");
    for kind in [Kind::Poll, Kind::KeepAlive] {
        pair.a.on(kind, Reply::No(Refusal::NotReady));
        pair.b.on(kind, Reply::No(Refusal::NotReady));
    }
    assert_eq!(guard.lost().await, LossReason::Expired);
    sleep(SOON).await;
    let said = [closed_sessions(&pair.a), closed_sessions(&pair.b)].concat();
    assert_eq!(said, [101]);
}

#[tokio::test(start_paused = true)]
async fn guards_keep_their_session_when_the_clerk_is_dropped() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let guard = clerk.acquire("x").await.expect("granted");
    drop(clerk);
    sleep(LEASE * 3).await;
    assert_eq!(closed_sessions(&pair.a), [1]);
    assert_eq!(guard.state(), GuardState::Held);
    drop(guard);
    sleep(SOON).await;
    assert_eq!(closed_sessions(&pair.a), [1, 101]);
    assert_eq!(pair.a.count(Kind::Goodbye), 1);
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_released_also_when_the_clerk_is_gone() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let guard = clerk.acquire("x").await.expect("granted");
    drop(clerk);
    guard.release().await.expect("held");
    sleep(SOON).await;
    assert_eq!(closed_sessions(&pair.a), [1, 101]);
}

#[tokio::test(start_paused = true)]
async fn a_clerk_that_is_closed_loses_its_guards() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let guard = clerk.acquire("x").await.expect("granted");
    let (clone, waiting) = (clerk.clone(), clerk.clone());
    pair.a.on_acquires([Acquired::Queued]);
    let waiting = tokio::spawn(async move { waiting.acquire("y").await });
    sleep(SOON).await;
    let ((), elapsed) = timed(clerk.close()).await;
    assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
    assert_eq!(closed_sessions(&pair.a), [1, 101]);
    assert_eq!(guard.lost().await, LossReason::Closed);
    let request = waiting.await.expect("no panic");
    assert!(matches!(request, Err(AcquireError::Closed)), "{request:?}");
    let request = clone.acquire("z").await;
    assert!(matches!(request, Err(AcquireError::Closed)), "{request:?}");
}

#[tokio::test(start_paused = true)]
async fn closing_a_clerk_that_owns_locks_takes_a_second_at_the_most() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let _guard = clerk.acquire("x").await.expect("granted");
    for fake in [&pair.a, &pair.b] {
        fake.on_session(Reply::Never);
        fake.on_others(Reply::Never);
    }
    let ((), elapsed) = timed(clerk.close()).await;
    assert!(is_about(elapsed, Duration::from_secs(1)), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_opened_while_the_clerk_is_closed_is_not_kept() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on(Kind::Open, Reply::Late(SOON));
    let clone = clerk.clone();
    let is_closed = async {
        pair.a.was_asked_to(Kind::Open, 1).await;
        clerk.close().await;
    };
    let (request, ()) = tokio::join!(clone.acquire("x"), is_closed);
    assert!(matches!(request, Err(AcquireError::Closed)), "{request:?}");
    sleep(SOON).await;
    assert_eq!(closed_sessions(&pair.a), [1, 101]);
    assert_eq!(pair.a.count(Kind::Acquire), 0);
}
