//! How owned locks are acquired, and that nothing stays behind when they are not.

use std::sync::atomic::AtomicUsize;

use super::fake::Kind;
use super::*;
use crate::service::Acquired::{Ended, Granted, Held, Queued};
use crate::service::LockMode;
use crate::types::Token;

const SOON: Duration = Duration::from_millis(100);

/// The names that were asked for, and by which calls.
fn acquires(fake: &Fake) -> Vec<(String, u64)> {
    let acquire = |request| match request {
        Request::Acquire { id, name, .. } => Some((name.to_string(), id.seq.0)),
        _ => None,
    };
    fake.asked().into_iter().filter_map(acquire).collect()
}

/// How locks were asked for, and whether they were to be waited for.
fn hows(fake: &Fake) -> Vec<(LockMode, bool)> {
    let options = |request| match request {
        Request::Acquire { options, .. } => Some((options.mode, options.waits)),
        _ => None,
    };
    fake.asked().into_iter().filter_map(options).collect()
}

/// The calls that were given back, in the order of their numbers.
fn released(fake: &Fake) -> Vec<u64> {
    let mut released = fake.released();
    released.sort_unstable();
    released
}

#[tokio::test(start_paused = true)]
async fn a_clerk_that_owns_nothing_opens_no_session() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    clerk.lock("x").await.expect("answered");
    assert_eq!(pair.a.count(Kind::Open), 0);
    let _guard = clerk.acquire("x").await.expect("granted");
    assert_eq!(pair.a.count(Kind::Open), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_free_is_granted_at_once() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (guard, elapsed) = timed(clerk.acquire("x")).await;
    let guard = guard.expect("granted");
    assert_eq!((guard.name().as_str(), guard.token()), ("x", Token(1)));
    assert_eq!(guard.state(), GuardState::Held);
    assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_requests_share_one_session_and_are_numbered_in_it() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    clerk.lock("x").await.expect("answered");
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    let guards = join_all(names.iter().map(|name| clerk.acquire(name))).await;
    assert!(guards.iter().all(Result::is_ok), "{guards:?}");
    assert_eq!(pair.a.count(Kind::Open), 1);
    let mut numbers: Vec<_> = acquires(&pair.a).into_iter().map(|(_, seq)| seq).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..20));
}

#[tokio::test(start_paused = true)]
async fn how_a_lock_is_wanted_is_told() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let shared = clerk.request("x").shared();
    let _shared = shared.acquire().await.expect("granted");
    let _exclusive = clerk.try_acquire("y").await.expect("granted");
    let one_of_five = clerk.request("z").permits(5);
    let _one_of_five = one_of_five.acquire().await.expect("granted");
    let five = LockMode::Permits(5.try_into().expect("not zero"));
    assert_eq!(
        hows(&pair.a),
        [
            (LockMode::Shared, true),
            (LockMode::Exclusive, false),
            (five, true)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn no_permits_are_refused_before_anything_is_asked() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let refused = clerk.request("x").permits(0).acquire().await;
    assert!(
        matches!(refused, Err(AcquireError::NoPermits)),
        "{refused:?}"
    );
    let refused = clerk.request("x").permits(0).try_acquire().await;
    assert!(
        matches!(refused, Err(AcquireError::NoPermits)),
        "{refused:?}"
    );
    let refused = clerk.request_all(["x", "y"]).permits(0).acquire().await;
    assert!(
        matches!(refused, Err(AcquireError::NoPermits)),
        "{refused:?}"
    );
    assert_eq!(acquires(&pair.a), []);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_held_is_not_to_be_had_at_once_and_nothing_is_given_back() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Held]);
    assert!(
        clerk
            .try_acquire("x")
            .await
            .expect("answered")
            .acquired()
            .is_none()
    );
    sleep(SOON).await;
    assert!(pair.a.released().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_takes_an_hour_is_waited_for() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued]);
    let hour = Duration::from_hours(1);
    let its_turn_comes = async {
        sleep(hour).await;
        pair.a.tell(0, 7, false);
    };
    let ((guard, elapsed), ()) = tokio::join!(timed(clerk.acquire("x")), its_turn_comes);
    assert_eq!(guard.expect("granted").token(), Token(7));
    assert!(is_about(elapsed, hour), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn news_of_a_grant_can_overtake_the_answer() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let _other = clerk.acquire("y").await.expect("granted");
    let late = PATIENCE * 8;
    pair.a.on(Kind::Acquire, Reply::Late(late));
    pair.a.tell(1, 7, false);
    let (guard, elapsed) = timed(clerk.acquire("x")).await;
    assert_eq!(guard.expect("granted").token(), Token(7));
    assert!(elapsed < late, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_come_in_time_is_given_up() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued]);
    let limit = Duration::from_mins(1);
    let (guard, elapsed) = timed(clerk.request("x").timeout(limit).acquire()).await;
    let error = guard.expect_err("its turn did not come");
    assert!(
        matches!(error, AcquireError::TimedOut { after, .. } if after == limit),
        "{error}"
    );
    assert!(is_about(elapsed, limit), "{elapsed:?}");
    sleep(SOON).await;
    assert_eq!(pair.a.released(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_leaves_the_queue() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued]);
    timeout(SOON, clerk.acquire("x"))
        .await
        .expect_err("it waits");
    pair.a.was_asked_to(Kind::Release, 1).await;
    assert_eq!(pair.a.released(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_before_it_is_answered_is_given_back() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on(Kind::Acquire, Reply::Never);
    timeout(SOON, clerk.try_acquire("x"))
        .await
        .expect_err("it waits");
    pair.a.was_asked_to(Kind::Release, 1).await;
    assert_eq!(pair.a.released(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_crosses_with_the_release_is_given_back_by_it() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued]);
    pair.a.on(Kind::Release, Reply::Late(SOON));
    timeout(SOON, clerk.acquire("x"))
        .await
        .expect_err("it waits");
    pair.a.tell(0, 7, false);
    sleep(SOON * 3).await;
    assert_eq!(pair.a.released(), [0]);
}

/// The grant has come, but the request was not polled again before it was dropped.
#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_took_is_given_back() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued]);
    let mut request = Box::pin(clerk.acquire("x"));
    timeout(SOON, request.as_mut()).await.expect_err("it waits");
    pair.a.tell(0, 7, false);
    sleep(SOON).await;
    drop(request);
    pair.a.was_asked_to(Kind::Release, 1).await;
    assert_eq!(pair.a.released(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_server_answers_fails_and_is_given_back_later() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let _other = clerk.acquire("y").await.expect("granted");
    pair.a.on(Kind::Acquire, Reply::No(Refusal::NotReady));
    pair.b.on(Kind::Acquire, Reply::Never);
    let (guard, elapsed) = timed(clerk.acquire("x")).await;
    let error = guard.expect_err("nobody answers");
    let AcquireError::Unanswered {
        after,
        tried: report,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*after, TIMEOUT);
    assert!(report.servers().iter().all(|server| server.attempts > 0));
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    sleep(SOON).await;
    assert_eq!([pair.a.released(), pair.b.released()].concat(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_no_server_opens_is_an_error_that_tells_what_was_tried() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_session(Reply::No(Refusal::NotReady));
    pair.b.on_session(Reply::Never);
    let (guard, elapsed) = timed(clerk.acquire("x")).await;
    let text = guard.expect_err("nobody answers").to_string();
    assert!(
        text.contains("memory:a: the server is not ready") && text.contains("10s"),
        "{text}"
    );
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    let limit = Duration::from_secs(1);
    let (guard, elapsed) = timed(clerk.request("x").timeout(limit).try_acquire()).await;
    let text = guard.expect_err("nobody answers").to_string();
    assert!(text.starts_with("no answer within 1s"), "{text}");
    assert!(is_about(elapsed, limit), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lock_name_is_not_asked_for() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let error = clerk.acquire("").await.expect_err("no name");
    assert!(matches!(error, AcquireError::InvalidName(_)), "{error}");
    assert_eq!(pair.a.count(Kind::Open), 0);
}

#[tokio::test(start_paused = true)]
async fn an_overload_that_stays_fails_the_request() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for fake in [&pair.a, &pair.b] {
        let refusal = Refusal::Overloaded(Resource::Locks);
        fake.on(Kind::Acquire, Reply::No(refusal));
    }
    let error = clerk.acquire("x").await.expect_err("overloaded");
    let resource = Resource::Locks;
    assert!(
        matches!(error, AcquireError::Overloaded { resource: of, .. } if of == resource),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_broken_before_it_was_heard_of_is_told() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Ended]);
    let error = clerk.acquire("x").await.expect_err("broken");
    assert!(matches!(error, AcquireError::Ended), "{error}");

    pair.a.on_acquires([Queued]);
    let is_broken = async {
        pair.a.was_asked_to(Kind::Acquire, 2).await;
        sleep(SOON).await;
        pair.a.tell(1, 7, false);
        pair.a.break_lock(1);
    };
    let (request, ()) = tokio::join!(clerk.acquire("x"), is_broken);
    assert!(matches!(request, Err(AcquireError::Ended)), "{request:?}");
}

#[tokio::test(start_paused = true)]
async fn several_locks_are_acquired_in_the_order_of_their_names_each_once() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let guards = clerk.acquire_all(["c", "a", "b", "a"]).await;
    let guards = guards.expect("granted");
    let names: Vec<_> = guards.iter().map(|guard| guard.name().as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let asked = [("a", 0), ("b", 1), ("c", 2)].map(|(name, seq)| (name.to_owned(), seq));
    assert_eq!(acquires(&pair.a), asked);
}

#[tokio::test(start_paused = true)]
async fn of_several_locks_all_are_given_back_when_one_is_not_granted() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a
        .on_acquires([Granted(Token(1)), Granted(Token(2)), Ended]);
    let guards = clerk.acquire_all(["a", "b", "c"]).await;
    assert!(matches!(guards, Err(AcquireError::Ended)), "{guards:?}");
    pair.a.was_asked_to(Kind::Release, 3).await;
    assert_eq!(released(&pair.a), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn of_several_locks_all_are_given_back_when_the_request_is_dropped() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Granted(Token(1)), Queued]);
    timeout(SOON, clerk.acquire_all(["a", "b"]))
        .await
        .expect_err("it waits");
    pair.a.was_asked_to(Kind::Release, 2).await;
    assert_eq!(released(&pair.a), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn of_several_locks_none_is_granted_when_a_name_is_none() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let guards = clerk.acquire_all(["a", ""]).await;
    assert!(
        matches!(guards, Err(AcquireError::InvalidName(_))),
        "{guards:?}"
    );
    assert_eq!(acquires(&pair.a), []);
}

#[tokio::test(start_paused = true)]
async fn how_several_locks_are_wanted_is_told_of_each() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let shared = clerk.request_all(["a", "b"]).shared();
    let _guards = shared.acquire().await.expect("granted");
    assert_eq!(hows(&pair.a), [(LockMode::Shared, true); 2]);
}

#[tokio::test(start_paused = true)]
async fn several_locks_have_one_timeout_together_and_all_are_given_back_when_it_is_over() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued, Granted(Token(8)), Queued]);
    let limit = Duration::from_mins(1);
    let turn_of_the_first_comes = async {
        sleep(limit * 3 / 4).await;
        pair.a.tell(0, 7, false);
    };
    let request = clerk.request_all(["a", "b", "c"]).timeout(limit);
    let ((guards, elapsed), ()) = tokio::join!(timed(request.acquire()), turn_of_the_first_comes);
    let error = guards.expect_err("the turn of the last did not come");
    assert_eq!(error.to_string(), "\"c\" was still held by others after 1m");
    assert!(is_about(elapsed, limit), "{elapsed:?}");
    pair.a.was_asked_to(Kind::Release, 3).await;
    assert_eq!(released(&pair.a), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_several_locks_also_limits_how_long_an_answer_is_waited_for() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let _other = clerk.acquire("y").await.expect("granted");
    pair.a.on(Kind::Acquire, Reply::Never);
    pair.b.on(Kind::Acquire, Reply::Never);
    let limit = Duration::from_secs(2);
    let request = clerk.request_all(["a"]).timeout(limit);
    let (guards, elapsed) = timed(request.acquire()).await;
    let error = guards.expect_err("nobody answers");
    assert!(
        matches!(error, AcquireError::Unanswered { after, .. } if after == limit),
        "{error}"
    );
    assert!(is_about(elapsed, limit), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn of_several_locks_that_are_not_all_free_none_is_to_be_had_at_once() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Granted(Token(1)), Held]);
    let guards = clerk.request_all(["a", "b", "c"]).try_acquire().await;
    assert!(guards.expect("answered").acquired().is_none());
    assert_eq!(hows(&pair.a), [(LockMode::Exclusive, false); 2]);
    pair.a.was_asked_to(Kind::Release, 1).await;
    assert_eq!(released(&pair.a), [0]);

    let guards = clerk.request_all(["a", "b"]).try_acquire().await;
    assert_eq!(
        guards
            .expect("answered")
            .acquired()
            .map(|guards| guards.len()),
        Some(2)
    );
}

#[tokio::test(start_paused = true)]
async fn several_locks_are_not_waited_for_any_more_when_one_that_is_held_is_broken() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Granted(Token(1)), Queued]);
    let first_is_broken = async {
        pair.a.was_asked_to(Kind::Acquire, 2).await;
        pair.a.break_lock(0);
    };
    let request = timeout(SOON, clerk.acquire_all(["a", "b"]));
    let (guards, ()) = tokio::join!(request, first_is_broken);
    assert!(matches!(guards, Ok(Err(AcquireError::Ended))), "{guards:?}");
    pair.a.was_asked_to(Kind::Release, 2).await;
    assert_eq!(released(&pair.a), [0, 1]);
}

/// Those that came first must not pass for held when their session was lost meanwhile.
#[tokio::test(start_paused = true)]
async fn of_several_locks_none_is_granted_when_the_session_of_the_first_is_lost() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let mut request = Box::pin(clerk.acquire_all(["a", "b"]));
    pair.a.on_acquires([Granted(Token(1)), Queued]);
    timeout(SOON, request.as_mut()).await.expect_err("it waits");
    pair.a.lose_the_session();
    let guards = request.await;
    assert!(
        matches!(guards, Err(AcquireError::SessionLost)),
        "{guards:?}"
    );

    pair.a.on_acquires([Granted(Token(2))]);
    let first_is_lost = async {
        pair.a.was_asked_to(Kind::Acquire, 3).await;
        pair.a.lose_the_session();
    };
    pair.a.on(Kind::Poll, Reply::Never);
    let (guards, ()) = tokio::join!(clerk.acquire_all(["a", "b"]), first_is_lost);
    assert!(
        matches!(guards, Err(AcquireError::SessionLost)),
        "{guards:?}"
    );
}

/// Counts how often it is polled.
async fn counted<T>(work: impl Future<Output = T>, polls: Arc<AtomicUsize>) -> T {
    let mut work = Box::pin(work);
    std::future::poll_fn(|context| {
        polls.fetch_add(1, Ordering::Relaxed);
        work.as_mut().poll(context)
    })
    .await
}

/// However many wait, a grant wakes the one that it is for, and so does the renewal that comes with
/// it.
#[tokio::test(start_paused = true)]
async fn a_grant_wakes_nobody_but_whom_it_is_for() {
    const WAITERS: usize = 1_000;
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires(vec![Queued; WAITERS]);
    let polls = Arc::<AtomicUsize>::default();
    let mut waiters = Vec::new();
    for _ in 0..WAITERS {
        let request = clerk.request("x").acquire();
        waiters.push(tokio::spawn(counted(request, polls.clone())));
    }
    pair.a.was_asked_to(Kind::Acquire, WAITERS).await;
    sleep(SOON).await;
    let before = polls.load(Ordering::Relaxed);
    let mut held = Vec::new();
    for (number, waiter) in (0..).zip(waiters.drain(..10)) {
        pair.a.tell(number, number + 1, true);
        held.push(waiter.await.expect("it ends").expect("granted"));
    }
    let woken = polls.load(Ordering::Relaxed) - before;
    assert!((10..=30).contains(&woken), "{woken}");
}
