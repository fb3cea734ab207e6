//! What is looked up, and that an error does not speak of it as of a command.

use super::*;
use crate::inspect::samples::{free, lock, shared};
use crate::service::LockInfo;

#[tokio::test(start_paused = true)]
async fn a_look_that_is_not_answered_says_that_nothing_was_changed() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_others(Reply::Never);
    pair.b.on_others(Reply::No(Refusal::NotReady));
    let (lock, elapsed) = timed(clerk.show("x")).await;
    let lock = lock.expect_err("nobody answers");
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    let list = clerk.list("").await.expect_err("nobody answers");
    for error in [lock, list] {
        let text = error.to_string();
        assert!(
            text.starts_with("no answer within 10s; nothing was changed; memory:a: no answer"),
            "{text}"
        );
        assert!(!text.contains("happened"), "{text}");
        let InspectError::Unanswered {
            after,
            tried: report,
        } = error
        else {
            panic!("{text}")
        };
        assert_eq!(after, TIMEOUT);
        assert!(report.servers().iter().all(|server| server.attempts > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_at_servers_that_are_overloaded_says_so() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for fake in [&pair.a, &pair.b] {
        fake.on_others(Reply::No(Refusal::Overloaded(Resource::Calls)));
    }
    let error = clerk.show("x").await.expect_err("overloaded");
    let InspectError::Overloaded { after, resource } = error else {
        panic!("{error}");
    };
    assert!(after > TIMEOUT * 3 / 4 && after <= TIMEOUT, "{after:?}");
    assert_eq!(resource, Resource::Calls);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lock_name_is_not_looked_up() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let asked = pair.a.asked().len();
    let error = clerk.show("").await.expect_err("no name");
    assert!(matches!(error, InspectError::InvalidName(_)), "{error}");
    assert_eq!(pair.a.asked().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_clerk_that_is_closed_looks_nothing_up() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    clerk.clone().close().await;
    let error = clerk.list("").await.expect_err("it is closed");
    assert!(matches!(error, InspectError::Closed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_listing_has_all_places_and_no_lock_that_was_freed_meanwhile() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let many = [(1, 10), (2, 11), (3, 12), (4, 13), (5, 14), (6, 15)];
    let locks = [
        shared("c", &many, &[]),
        lock("b", &[(1, 16)], &[2, 3, 4, 5, 6]),
        lock("a", &[(7, 17)], &[]),
    ];
    pair.a.holds(&locks);
    let listed = clerk.list("").await.expect("answered");
    let [c, b, a] = &locks;
    assert_eq!(listed, [a.clone(), b.clone(), c.clone()]);
    pair.a.shows([free("c")]);
    let listed = clerk.list("").await.expect("answered");
    assert_eq!(listed, [a.clone(), b.clone()]);
}

/// Two sessions that wait for each other.
fn circle() -> [LockInfo; 2] {
    [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])]
}

#[tokio::test(start_paused = true)]
async fn a_deadlock_is_told_when_it_was_there_in_two_looks() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.holds(&circle());
    let why = clerk.wait_graph("a").await.expect("answered");
    let sessions = why.cycle().iter().map(|link| link.who.session.0);
    assert_eq!(sessions.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(pair.a.listings(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_looks_like_a_deadlock_and_is_gone_in_the_next_look_is_looked_at_again() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.holds(&circle());
    let other_grant = lock("a", &[(3, 12)], &[2]);
    pair.a.shows([other_grant.clone()]);
    let why = clerk.wait_graph("a").await.expect("answered");
    assert!(why.is_deadlock());
    assert_eq!(pair.a.listings(), 2);

    let [_, b] = circle();
    let changes_each_time = [other_grant, b].into_iter().cycle().take(6);
    pair.a.shows(changes_each_time);
    let why = clerk.wait_graph("a").await.expect("answered");
    assert!(!why.is_deadlock());
    assert_eq!((why.locks().len(), why.waits().len()), (2, 2));
    assert_eq!(pair.a.listings(), 5);
}

#[tokio::test(start_paused = true)]
async fn why_without_a_lock_name_or_an_answer_is_an_error() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let error = clerk.wait_graph("").await.expect_err("no name");
    assert!(matches!(error, InspectError::InvalidName(_)), "{error}");
    pair.a.on_others(Reply::Never);
    pair.b.on_others(Reply::Never);
    let error = clerk.wait_graph("a").await.expect_err("nobody answers");
    assert!(matches!(error, InspectError::Unanswered { .. }), "{error}");
}
