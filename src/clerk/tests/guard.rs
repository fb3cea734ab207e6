//! The holder of a lock: how long it is sure to be one, and how it ends.

use super::fake::Kind;
use super::*;
use crate::config::{LEASE, LEASE_MARGIN};
use crate::service::Acquired;
use crate::types::Token;

const SOON: Duration = Duration::from_millis(100);

fn margin(lease: Duration) -> Duration {
    lease / LEASE_MARGIN
}

/// How much of the lease is left.
fn left(guard: &LockGuard) -> Duration {
    Instant::from_std(guard.safe_until()) - Instant::now()
}

/// A clerk with such a lease, and a guard of it.
async fn held(pair: &Pair, lease: Duration) -> (Clerk, LockGuard) {
    let connected = pair.builder().lease(lease).connect().await;
    let clerk = connected.expect("answered");
    let guard = clerk.acquire("x").await.expect("granted");
    (clerk, guard)
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_lost_before_its_lease_is_over_when_no_server_answers() {
    for reply in [
        Reply::Never,
        Reply::HangUp,
        Reply::No(Refusal::NotReady),
        Reply::No(Refusal::Overloaded(Resource::Calls)),
    ] {
        for millis in [100, 500, 10_000, 60_000] {
            let lease = Duration::from_millis(millis);
            let pair = Pair::up().await;
            let start = Instant::now();
            let (_clerk, guard) = held(&pair, lease).await;
            for fake in [&pair.a, &pair.b] {
                fake.on(Kind::Poll, reply);
                fake.on(Kind::KeepAlive, reply);
            }
            // The poll that was sent before is still answered, at a quarter of the lease.
            assert_eq!(guard.lost().await, LossReason::Expired);
            let elapsed = start.elapsed();
            let longest = lease + Duration::from_millis(5);
            assert!(
                elapsed > lease / 2 && elapsed + margin(lease) <= longest,
                "{reply:?}, {lease:?}: {elapsed:?}"
            );
            assert_eq!(guard.state(), GuardState::Lost);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_held_for_as_long_as_renewals_are_answered() {
    for millis in [100, 150, 1_000, 10_000, 3_600_000] {
        let lease = Duration::from_millis(millis);
        let pair = Pair::up().await;
        let (_clerk, guard) = held(&pair, lease).await;
        for _ in 0..1_000 {
            sleep(lease / 50).await;
            assert_eq!(guard.state(), GuardState::Held, "{lease:?}");
        }
        let polls = pair.a.count(Kind::Poll);
        assert!((70..=90).contains(&polls), "{lease:?}: {polls}");
        assert_eq!(pair.a.count(Kind::KeepAlive), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_answered_late_counts_from_its_sending() {
    let pair = Pair::up().await;
    pair.a.on(Kind::Poll, Reply::Late(SOON));
    let start = Instant::now();
    let (_clerk, guard) = held(&pair, LEASE).await;
    let safe_until = |guard: &LockGuard| Instant::from_std(guard.safe_until());
    let counted_from = |guard: &LockGuard| safe_until(guard) + margin(LEASE) - LEASE - start;
    let first_answer = LEASE / 4 + SOON;
    sleep(first_answer + SOON).await;
    assert_eq!(pair.a.count(Kind::Poll), 2);
    assert!(is_about(counted_from(&guard), Duration::ZERO));
    sleep(first_answer).await;
    assert_eq!(pair.a.count(Kind::Poll), 3);
    let from = counted_from(&guard);
    assert!(is_about(from, first_answer), "{from:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_at_risk_when_renewals_are_overdue() {
    let pair = Pair::up().await;
    let (_clerk, guard) = held(&pair, LEASE).await;
    for fake in [&pair.a, &pair.b] {
        fake.on(Kind::Poll, Reply::Never);
        fake.on(Kind::KeepAlive, Reply::Never);
    }
    while left(&guard) > LEASE * 2 / 5 {
        sleep(SOON).await;
    }
    assert_eq!(guard.state(), GuardState::Held);
    sleep(LEASE / 10).await;
    assert_eq!(guard.state(), GuardState::AtRisk);
    pair.b.on(Kind::KeepAlive, Reply::Yes);
    sleep(LEASE / 4).await;
    assert_eq!(guard.state(), GuardState::Held);
}

/// One that hangs; the other one holds a poll as long as any.
#[tokio::test(start_paused = true)]
async fn a_guard_outlives_a_server() {
    for millis in [100, 1_000, 5_000, 10_000] {
        let lease = Duration::from_millis(millis);
        for reply in [Reply::Never, Reply::HangUp, Reply::No(Refusal::NotReady)] {
            let pair = Pair::up().await;
            let (_clerk, guard) = held(&pair, lease).await;
            pair.a.on_session(reply);
            pair.b.on(Kind::Open, Reply::Never);
            for _ in 0..200 {
                sleep(lease / 50).await;
                assert_ne!(guard.state(), GuardState::Lost, "{lease:?}, {reply:?}");
            }
            assert_eq!(guard.state(), GuardState::Held);
        }
    }
}

/// The longest failover that a lease has to outlive: the other server takes over after a while.
#[tokio::test(start_paused = true)]
async fn a_guard_outlives_a_failover_of_half_its_lease() {
    let pair = Pair::up().await;
    let (_clerk, guard) = held(&pair, LEASE).await;
    pair.a.on_session(Reply::Never);
    pair.b.on_session(Reply::Never);
    sleep(LEASE / 2).await;
    pair.b.on_session(Reply::Yes);
    sleep(LEASE * 2).await;
    assert_eq!(guard.state(), GuardState::Held);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_leads_nowhere_costs_no_guard() {
    let pair = Pair::up().await;
    let (_clerk, guard) = held(&pair, LEASE).await;
    let lost = async {
        let reason = guard.lost().await;
        panic!("{reason}");
    };
    let comes_back = async {
        pair.a.on_session(Reply::Never);
        pair.b.on_session(Reply::Never);
        sleep(LEASE / 3).await;
        // What was sent is lost; what is sent from now on is answered.
        pair.a.on_session(Reply::Yes);
        sleep(LEASE * 2).await;
    };
    tokio::select! {
        () = lost => {}
        () = comes_back => {}
    }
    assert_eq!(guard.state(), GuardState::Held);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_servers_do_not_know_loses_its_guards() {
    let pair = Pair::up().await;
    let (clerk, guard) = held(&pair, LEASE).await;
    let other = clerk.acquire("y").await.expect("granted");
    pair.a.lose_the_session();
    let (reason, elapsed) = timed(guard.lost()).await;
    assert_eq!(reason, LossReason::SessionLost);
    assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
    assert_eq!(other.state(), GuardState::Lost);
    let error = other.release().await.expect_err("lost");
    assert!(
        matches!(error, ReleaseError::Lost(LossReason::SessionLost)),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_guard_gives_nothing_back() {
    let pair = Pair::up().await;
    let (clerk, guard) = held(&pair, LEASE).await;
    let other = clerk.acquire("y").await.expect("granted");
    pair.a.lose_the_session();
    guard.lost().await;
    let _later = clerk.acquire("x").await.expect("granted");
    other.release().await.expect_err("refused");
    drop(guard);
    sleep(SOON).await;
    assert_eq!((pair.a.released(), pair.b.released()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_released_says_whether_it_was_held() {
    let pair = Pair::up().await;
    let (clerk, guard) = held(&pair, LEASE).await;
    guard.release().await.expect("held");
    assert_eq!(pair.a.released(), [0]);
    let guard = clerk.acquire("x").await.expect("granted");
    pair.a.on_releases(false);
    let error = guard.release().await.expect_err("not held");
    assert!(matches!(error, ReleaseError::NotHeld), "{error}");
    sleep(SOON).await;
    assert_eq!(pair.a.released(), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_dropped_gives_its_lock_back_in_the_background() {
    let pair = Pair::up().await;
    let (clerk, guard) = held(&pair, LEASE).await;
    let start = Instant::now();
    drop(guard);
    pair.a.was_asked_to(Kind::Release, 1).await;
    assert_eq!(pair.a.released(), [0]);
    assert!(is_about(start.elapsed(), Duration::ZERO));
    drop(clerk);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_guards_that_are_dropped_at_once_give_their_locks_back() {
    let pair = Pair::up().await;
    let (clerk, first) = held(&pair, LEASE).await;
    let mut guards = vec![first];
    for name in 1..1_000 {
        guards.push(clerk.acquire(&name.to_string()).await.expect("granted"));
    }
    pair.a.on(Kind::Release, Reply::Late(SOON));
    drop(guards);
    pair.a.was_asked_to(Kind::Release, 1_000).await;
    let mut released = pair.a.released();
    released.sort_unstable();
    assert!(released.into_iter().eq(0..1_000));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_dropped_goes_on_in_the_background() {
    let pair = Pair::up().await;
    let (clerk, guard) = held(&pair, LEASE).await;
    pair.a.on(Kind::Release, Reply::Never);
    timeout(SOON, guard.release()).await.expect_err("it waits");
    pair.a.on(Kind::Release, Reply::Yes);
    pair.a.was_asked_to(Kind::Release, 2).await;
    assert_eq!(pair.a.released(), [0, 0]);
    drop(clerk);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_no_server_answers_fails_and_goes_on_in_the_background() {
    let pair = Pair::up().await;
    let limit = Duration::from_secs(2);
    let builder = pair.builder().timeout(limit);
    let clerk = builder.connect().await.expect("answered");
    let guard = clerk.acquire("x").await.expect("granted");
    for fake in [&pair.a, &pair.b] {
        fake.on(Kind::Release, Reply::Never);
    }
    let (released, elapsed) = timed(guard.release()).await;
    let error = released.expect_err("nobody answers");
    let told = matches!(
        error,
        ReleaseError::Unanswered { after, may_have_happened: true, .. } if after == limit
    );
    assert!(told, "{error}");
    assert!(is_about(elapsed, limit), "{elapsed:?}");
    let before = pair.b.released().len();
    sleep(limit * 10).await;
    pair.b.on(Kind::Release, Reply::Yes);
    pair.b.was_asked_to(Kind::Release, before + 10).await;
    sleep(limit * 2).await;
    let after = pair.b.released().len();
    sleep(limit * 10).await;
    assert_eq!(pair.b.released().len(), after);
}

#[tokio::test(start_paused = true)]
async fn a_release_ends_with_the_lease() {
    let pair = Pair::up().await;
    let lease = Duration::from_secs(1);
    let start = Instant::now();
    let (_clerk, guard) = held(&pair, lease).await;
    pair.a.on_session(Reply::Never);
    pair.b.on_session(Reply::Never);
    let error = guard.release().await.expect_err("lost");
    let told = matches!(error, ReleaseError::Lost(LossReason::Expired));
    assert!(told, "{error}");
    assert!(start.elapsed() < lease * 5 / 4, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_told_when_somebody_else_waits() {
    let pair = Pair::up().await;
    let (clerk, guard) = held(&pair, LEASE).await;
    let other = clerk.acquire("y").await.expect("granted");
    timeout(LEASE * 2, guard.contended())
        .await
        .expect_err("it waits");
    pair.a.tell(0, 1, true);
    let ((), elapsed) = timed(guard.contended()).await;
    assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
    timeout(LEASE * 2, other.contended())
        .await
        .expect_err("it waits");
    assert_eq!(guard.state(), GuardState::Held);
}

#[tokio::test(start_paused = true)]
async fn a_guard_whose_lock_is_broken_is_lost_and_others_are_not() {
    let pair = Pair::up().await;
    let (clerk, guard) = held(&pair, LEASE).await;
    let other = clerk.acquire("y").await.expect("granted");
    let is_broken = async {
        sleep(SOON).await;
        pair.a.break_lock(0);
    };
    let ((reason, elapsed), ()) = tokio::join!(timed(guard.lost()), is_broken);
    assert_eq!(reason, LossReason::Broken);
    assert!(is_about(elapsed, SOON), "{elapsed:?}");
    assert_eq!(guard.state(), GuardState::Lost);
    assert_eq!(other.state(), GuardState::Held);
    let error = guard.release().await.expect_err("broken");
    let told = matches!(error, ReleaseError::Lost(LossReason::Broken));
    assert!(told, "{error}");
    // The servers remember what was broken until they hear that the guard is gone.
    pair.a.was_asked_to(Kind::Release, 1).await;
    assert_eq!(pair.a.released(), [0]);
}

#[tokio::test(start_paused = true)]
async fn news_that_got_lost_is_told_again() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Acquired::Queued]);
    let mut request = Box::pin(clerk.acquire("x"));
    timeout(SOON, request.as_mut()).await.expect_err("it waits");
    // The poll that is told of the grant is answered into nothing.
    pair.a.on(Kind::Poll, Reply::HangUp);
    pair.b.on(Kind::Poll, Reply::HangUp);
    sleep(LEASE / 4).await;
    pair.a.tell(0, 7, false);
    sleep(SOON).await;
    pair.a.on(Kind::Poll, Reply::Yes);
    let guard = request.await.expect("granted");
    assert_eq!(guard.token(), Token(7));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_tells_another_task_of_the_loss_and_of_nothing_else() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let guard = clerk.acquire("x").await.expect("granted");
    let watcher = guard.watcher();
    let watching = tokio::spawn({
        let watcher = watcher.clone();
        async move { watcher.lost().await }
    });
    assert_eq!(watcher.state(), GuardState::Held);
    pair.a.break_lock(0);
    assert_eq!(watching.await.expect("it ends"), Some(LossReason::Broken));
    assert_eq!(watcher.state(), GuardState::Lost);

    let other = clerk.acquire("y").await.expect("granted");
    let watcher = other.watcher();
    let (released, lost) = tokio::join!(other.release(), watcher.lost());
    released.expect("it was held");
    assert_eq!(lost, None);
    assert_eq!(watcher.state(), GuardState::Lost);
}
