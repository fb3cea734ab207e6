//! Work under a lock: when it begins, and what ends it.

use std::future::{pending, ready};
use std::sync::atomic::AtomicBool;

use super::fake::Kind;
use super::*;
use crate::config::LEASE;
use crate::service::Acquired;

const SOON: Duration = Duration::from_millis(100);

/// Says whether it was dropped.
struct Noted(Arc<AtomicBool>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Work that does not end, and whether it was dropped.
fn endless() -> (impl Future<Output = ()>, Arc<AtomicBool>) {
    let dropped = Arc::new(AtomicBool::new(false));
    let noted = Noted(dropped.clone());
    let work = async move {
        let _noted = noted;
        pending::<()>().await;
    };
    (work, dropped)
}

#[tokio::test(start_paused = true)]
async fn work_runs_while_the_lock_is_held_and_its_output_comes_after_the_release() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let work = async {
        assert_eq!(pair.a.count(Kind::Acquire), 1);
        sleep(LEASE * 3).await;
        assert_eq!(pair.a.count(Kind::Release), 0);
        7
    };
    assert_eq!(clerk.with_lock("x", work).await, Ok(7));
    assert_eq!(pair.a.released(), [0]);
}

#[tokio::test(start_paused = true)]
async fn work_is_not_begun_without_the_lock() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Acquired::Queued]);
    let work = async { panic!("it was begun") };
    let request = clerk.request("x").timeout(SOON);
    let done: Result<(), _> = request.with_lock(work).await;
    let error = done.expect_err("it is held");
    let told = matches!(
        &error,
        WithLockError::Acquire(AcquireError::TimedOut { after, .. }) if *after == SOON
    );
    assert!(told && !error.was_begun(), "{error}");
    let done = clerk.with_lock("", ready(())).await;
    let expected = WithLockError::Acquire(NameError::Empty.into());
    assert_eq!(done, Err(expected));
}

#[tokio::test(start_paused = true)]
async fn work_is_dropped_when_its_lock_is_lost() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (work, dropped) = endless();
    let is_broken = async {
        sleep(SOON).await;
        assert!(!dropped.load(Ordering::Relaxed));
        pair.a.break_lock(0);
    };
    let ((done, elapsed), ()) = tokio::join!(timed(clerk.with_lock("x", work)), is_broken);
    assert_eq!(done, Err(WithLockError::Lost(LossReason::Broken)));
    assert!(is_about(elapsed, SOON), "{elapsed:?}");
    assert!(dropped.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn work_is_dropped_when_its_lease_is_over_though_no_server_answers() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (work, dropped) = endless();
    let are_gone = async {
        sleep(SOON).await;
        for fake in [&pair.a, &pair.b] {
            fake.on_session(Reply::Never);
        }
    };
    let ((done, elapsed), ()) = tokio::join!(timed(clerk.with_lock("x", work)), are_gone);
    assert_eq!(done, Err(WithLockError::Lost(LossReason::Expired)));
    assert!(elapsed < LEASE * 5 / 4, "{elapsed:?}");
    assert!(dropped.load(Ordering::Relaxed));
}

/// It has no await between the loss and its end.
#[tokio::test(start_paused = true)]
async fn an_output_that_comes_after_the_loss_is_not_returned() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for fake in [&pair.a, &pair.b] {
        fake.on(Kind::Poll, Reply::Never);
        fake.on(Kind::KeepAlive, Reply::Never);
    }
    let work = async { tokio::time::advance(LEASE).now_or_never() };
    let done = clerk.with_lock("x", work).await;
    assert_eq!(done, Err(WithLockError::Lost(LossReason::Expired)));
}

#[tokio::test(start_paused = true)]
async fn work_whose_lock_the_servers_did_not_have_any_more_has_no_output() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let work = async { pair.a.on_releases(false) };
    let done = clerk.with_lock("x", work).await;
    assert_eq!(done, Err(WithLockError::NotHeld));
}

#[tokio::test(start_paused = true)]
async fn work_under_a_lock_that_no_server_releases_has_its_output() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for fake in [&pair.a, &pair.b] {
        fake.on(Kind::Release, Reply::Never);
    }
    let (done, elapsed) = timed(clerk.with_lock("x", ready(7))).await;
    assert_eq!(done, Ok(7));
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_given_back_when_its_work_is_dropped_or_panics() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (work, dropped) = endless();
    let cut_short = timeout(SOON, clerk.with_lock("x", work)).await;
    cut_short.expect_err("it is endless");
    assert!(dropped.load(Ordering::Relaxed));
    pair.a.was_asked_to(Kind::Release, 1).await;

    let of_its_own = clerk.clone();
    let task = tokio::spawn(async move {
        let work = async { panic!("inside") };
        of_its_own.with_lock::<()>("x", work).await
    });
    assert!(task.await.expect_err("it panics").is_panic());
    pair.a.was_asked_to(Kind::Release, 2).await;
    assert!(clerk.lock("y").await.expect("answered"));
}
