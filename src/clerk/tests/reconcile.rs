//! What a session does when the servers' view has changed: it compares what it has with what they
//! have.

use super::fake::Kind;
use super::*;
use crate::config::LEASE;
use crate::service::Acquired::{Granted, Queued};
use crate::types::{Token, View};

const SOON: Duration = Duration::from_millis(100);

/// The `nth` view after that in which sessions are opened.
fn view(nth: u32) -> View {
    (0..nth).fold(View::first(ServerId::A), |view, _| view.next(ServerId::B))
}

/// The calls that were given back, in the order of their numbers.
fn released(fake: &Fake) -> Vec<u64> {
    let mut released = fake.released();
    released.sort_unstable();
    released
}

async fn guards<const N: usize>(clerk: &Clerk, names: [&str; N]) -> [LockGuard; N] {
    let guards = join_all(names.map(|name| clerk.acquire(name))).await;
    let guards: Vec<_> = guards.into_iter().map(|it| it.expect("granted")).collect();
    guards.try_into().expect("one each")
}

/// Waits until the session has reconciled so often, as far as the server knows.
async fn reconciled(fake: &Fake, times: usize) {
    fake.was_asked_to(Kind::Holdings, times).await;
    sleep(SOON).await;
    assert_eq!(fake.count(Kind::Holdings), times);
}

#[tokio::test(start_paused = true)]
async fn a_new_view_costs_a_session_one_exchange_and_loses_nothing() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [guard] = guards(&clerk, ["x"]).await;
    pair.a.on_acquires([Queued]);
    let waiter = clerk.clone();
    let waiter = tokio::spawn(async move { waiter.acquire("y").await });
    pair.a.was_asked_to(Kind::Acquire, 2).await;
    sleep(LEASE * 2).await;
    assert_eq!(pair.a.count(Kind::Holdings), 0, "nothing has changed");

    pair.a.enters(view(1), &[(0, Some(1)), (1, None)]);
    sleep(LEASE * 2).await;
    assert_eq!(pair.a.count(Kind::Holdings), 1);
    assert_eq!(guard.state(), GuardState::Held);
    assert!(pair.a.released().is_empty());
    // The new view counts its news from where it stands.
    pair.a.tell(1, 7, false);
    let other = waiter.await.expect("no panic").expect("its turn has come");
    assert_eq!(other.token(), Token(7));
    assert_eq!(pair.a.count(Kind::Acquire), 2);
    assert_eq!(pair.a.count(Kind::Holdings), 1);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_the_servers_did_not_keep_is_lost_at_once_and_others_are_not() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [kept, gone, by_another] = guards(&clerk, ["a", "b", "c"]).await;
    sleep(SOON).await;
    let waiting = async { tokio::join!(gone.lost(), by_another.lost()) };
    let changes = async { pair.a.enters(view(1), &[(0, Some(1)), (2, Some(9))]) };
    let ((reasons, elapsed), ()) = tokio::join!(timed(waiting), changes);
    assert_eq!(reasons, (LossReason::Diverged, LossReason::Diverged));
    assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
    assert_eq!(gone.state(), GuardState::Lost);
    assert_eq!(kept.state(), GuardState::Held);
    // Nobody believes in that grant.
    pair.a.was_asked_to(Kind::Release, 1).await;
    assert_eq!(pair.a.released(), [2]);
    let error = gone.release().await.expect_err("lost");
    let told = matches!(error, ReleaseError::Lost(LossReason::Diverged));
    assert!(told, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_place_in_the_queue_is_lost_queues_again() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued, Queued]);
    let its_place_is_lost = async {
        pair.a.was_asked_to(Kind::Acquire, 1).await;
        sleep(SOON).await;
        pair.a.enters(view(1), &[]);
        pair.a.was_asked_to(Kind::Acquire, 2).await;
        pair.a.tell(1, 7, false);
    };
    let (guard, ()) = tokio::join!(clerk.acquire("x"), its_place_is_lost);
    assert_eq!(guard.expect("its turn has come").token(), Token(7));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_told_of_its_grant_by_the_servers_it_turns_to() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Queued]);
    let it_is_granted = async {
        pair.a.was_asked_to(Kind::Acquire, 1).await;
        sleep(SOON).await;
        pair.a.enters(view(1), &[(0, Some(7))]);
    };
    let (guard, ()) = tokio::join!(clerk.acquire("x"), it_is_granted);
    assert_eq!(guard.expect("granted").token(), Token(7));
}

#[tokio::test(start_paused = true)]
async fn what_the_servers_have_and_nobody_holds_is_given_back() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [released, _held] = guards(&clerk, ["x", "y"]).await;
    released.release().await.expect("held");
    pair.a.enters(view(1), &[(0, Some(1)), (1, Some(2))]);
    pair.a.was_asked_to(Kind::Release, 2).await;
    sleep(SOON).await;
    assert_eq!(pair.a.released(), [0, 0]);
}

/// It is the servers that were left behind that have answered.
#[tokio::test(start_paused = true)]
async fn a_grant_that_was_asked_for_before_the_view_changed_is_compared_once_more() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [_other] = guards(&clerk, ["y"]).await;
    pair.a.on(Kind::Acquire, Reply::Late(SOON * 2));
    let view_changes = async {
        pair.a.was_asked_to(Kind::Acquire, 2).await;
        pair.a.enters(view(1), &[(0, Some(1))]);
        reconciled(&pair.a, 1).await;
    };
    let (guard, ()) = tokio::join!(clerk.acquire("x"), view_changes);
    let guard = guard.expect("granted");
    let (reason, elapsed) = timed(guard.lost()).await;
    assert_eq!(reason, LossReason::Diverged);
    assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
    assert_eq!(pair.a.count(Kind::Holdings), 2);

    // What is asked for in the new view is believed.
    pair.a.on(Kind::Acquire, Reply::Yes);
    let [later] = guards(&clerk, ["z"]).await;
    sleep(LEASE).await;
    assert_eq!(later.state(), GuardState::Held);
    assert_eq!(pair.a.count(Kind::Holdings), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_released_before_the_view_changed_is_given_back_once_more() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [by_hand, dropped] = guards(&clerk, ["x", "y"]).await;
    pair.a.on(Kind::Release, Reply::Late(SOON * 2));
    drop(dropped);
    let view_changes = async {
        pair.a.was_asked_to(Kind::Release, 2).await;
        pair.a.enters(view(1), &[(0, Some(1)), (1, Some(2))]);
        pair.a.was_asked_to(Kind::Holdings, 1).await;
    };
    let (released_by_hand, ()) = tokio::join!(by_hand.release(), view_changes);
    released_by_hand.expect("a server says so");
    sleep(SOON * 9).await;
    let released = released(&pair.a);
    assert!(released.starts_with(&[0, 0, 1, 1]), "{released:?}");
}

/// The servers have done it already, and the answer is on its way.
#[tokio::test(start_paused = true)]
async fn a_guard_that_is_being_released_is_not_lost() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [guard] = guards(&clerk, ["x"]).await;
    let watcher = guard.watcher();
    pair.a.on(Kind::Release, Reply::Late(SOON * 2));
    let view_changes = async {
        pair.a.was_asked_to(Kind::Release, 1).await;
        pair.a.enters(view(1), &[]);
        reconciled(&pair.a, 1).await;
    };
    let (released, lost, ()) = tokio::join!(guard.release(), watcher.lost(), view_changes);
    released.expect("held");
    assert_eq!(lost, None);
}

#[tokio::test(start_paused = true)]
async fn a_session_reconciles_page_by_page_and_from_the_start_when_the_view_changes_meanwhile() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [a, b, c] = guards(&clerk, ["a", "b", "c"]).await;
    pair.a.tells_pages_of(1);
    pair.a.on(Kind::Holdings, Reply::Late(SOON));
    pair.a.enters(view(1), &[(0, Some(1)), (2, Some(3))]);
    // The first page is told in one view, and the second one in another.
    pair.a.was_asked_to(Kind::Holdings, 2).await;
    assert_eq!(b.lost().now_or_never(), Some(LossReason::Diverged));
    pair.a
        .enters(view(2), &[(0, Some(1)), (1, Some(2)), (2, Some(3))]);
    pair.a.was_asked_to(Kind::Holdings, 5).await;
    sleep(LEASE).await;
    assert_eq!(pair.a.count(Kind::Holdings), 5);
    assert_eq!([a.state(), c.state()], [GuardState::Held; 2]);
    assert_eq!(pair.a.released(), [1], "nobody believes in it");
}

/// A server that was left behind answers for another one, and knows of nothing.
#[tokio::test(start_paused = true)]
async fn a_page_of_another_view_than_the_first_one_is_not_believed() {
    for believed in [0, 1] {
        let pair = Pair::up().await;
        let clerk = pair.clerk().await;
        let [a, b] = guards(&clerk, ["a", "b"]).await;
        let kept = [(0, Some(1)), (1, Some(2))];
        pair.a.tells_pages_of(1);
        pair.a.on(Kind::Holdings, Reply::Late(SOON));
        pair.a.enters(view(2), &kept);
        pair.a.was_asked_to(Kind::Holdings, believed + 1).await;
        pair.a.enters(view(1), &[]);
        pair.a.was_asked_to(Kind::Holdings, believed + 2).await;
        pair.a.enters(view(2), &kept);
        sleep(LEASE).await;
        let states = [a.state(), b.state()];
        assert_eq!(states, [GuardState::Held; 2], "after {believed} pages");
        assert!(pair.a.released().is_empty(), "after {believed} pages");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_lives_while_no_server_tells_what_it_has() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let [guard] = guards(&clerk, ["x"]).await;
    for fake in [&pair.a, &pair.b] {
        fake.on(Kind::Holdings, Reply::Never);
        fake.enters(view(1), &[]);
    }
    for _ in 0..100 {
        sleep(LEASE / 25).await;
        assert_ne!(guard.state(), GuardState::Lost);
    }
    for fake in [&pair.a, &pair.b] {
        fake.on(Kind::Holdings, Reply::Yes);
    }
    assert_eq!(guard.lost().await, LossReason::Diverged);
}

#[tokio::test(start_paused = true)]
async fn of_several_locks_one_that_is_lost_while_others_are_waited_for_is_told() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_acquires([Granted(Token(1)), Queued]);
    let the_first_is_lost = async {
        pair.a.was_asked_to(Kind::Acquire, 2).await;
        sleep(SOON).await;
        pair.a.enters(view(1), &[(1, None)]);
    };
    let request = clerk.acquire_all(["a", "b"]);
    let (guards, ()) = tokio::join!(request, the_first_is_lost);
    assert!(matches!(guards, Err(AcquireError::Diverged)), "{guards:?}");
    sleep(SOON).await;
    assert_eq!(released(&pair.a), [0, 1]);
}
