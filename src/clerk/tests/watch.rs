//! What a watch tells, and when it looks.

use super::*;
use crate::config::WATCH_EVERY;
use crate::inspect::samples::{lock, unowned};
use crate::inspect::{LockChange, LockEvent};

/// The locks that the changes are about, and whether somebody was granted them.
fn told(changes: Result<Vec<LockChange>, InspectError>) -> Vec<(String, bool)> {
    let changes = changes.expect("answered").into_iter();
    changes
        .map(|change| {
            let is_grant = matches!(change.event, LockEvent::Granted(_));
            (change.name.to_string(), is_grant)
        })
        .collect()
}

fn change(name: &str, is_grant: bool) -> (String, bool) {
    (name.to_owned(), is_grant)
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_at_once_what_is_held_and_then_what_has_changed() {
    let pair = Pair::up().await;
    let mut watch = pair.clerk().await.watch("a");
    pair.a
        .holds(&[lock("a/1", &[(1, 10)], &[]), unowned("b", &[])]);
    let (first, elapsed) = timed(watch.changes()).await;
    assert_eq!(told(first), [change("a/1", true)]);
    assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");

    let comes_and_goes = async {
        sleep(WATCH_EVERY * 5 / 2).await;
        pair.a.holds(&[lock("a/1", &[(2, 11)], &[])]);
    };
    let ((then, elapsed), ()) = tokio::join!(timed(watch.changes()), comes_and_goes);
    assert_eq!(told(then), [change("a/1", false), change("a/1", true)]);
    assert!(is_about(elapsed, WATCH_EVERY * 3), "{elapsed:?}");
    assert_eq!(pair.a.listings(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_watch_gives_changes_one_by_one_and_the_rest_at_once() {
    let pair = Pair::up().await;
    let mut watch = pair.clerk().await.watch("");
    let unowned = |names: &[&str]| {
        names
            .iter()
            .map(|name| unowned(name, &[]))
            .collect::<Vec<_>>()
    };
    pair.a.holds(&unowned(&["a", "b", "c"]));
    let first = watch.next().await.map(|change| vec![change]);
    assert_eq!(told(first), [change("a", false)]);
    pair.a.holds(&unowned(&["a", "b", "c", "d"]));
    let rest = told(watch.changes().await);
    assert_eq!(rest, [change("b", false), change("c", false)]);
    assert_eq!(pair.a.listings(), 1);
    let next = watch.next().await.map(|change| vec![change]);
    assert_eq!(told(next), [change("d", false)]);

    pair.a.holds(&unowned(&["a", "b", "c", "d", "e", "f"]));
    watch.next().await.expect("answered");
    pair.a.holds(&unowned(&["a", "b", "c", "d", "e", "f", "g"]));
    let known = told(watch.changes_now().await);
    assert_eq!(known, [change("f", false), change("g", false)]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_sees_nothing_has_nothing_to_tell_until_there_is_something() {
    let pair = Pair::up().await;
    let every = Duration::from_millis(100);
    let mut watch = pair.clerk().await.watch("").every(every);
    assert_eq!(watch.age(), None);
    assert_eq!(told(watch.changes_now().await), []);
    sleep(every * 7).await;
    assert_eq!(watch.age(), Some(every * 7));
    let nothing = timeout(every * 10, watch.changes()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(pair.a.listings(), 11);
    pair.a.holds(&[unowned("a", &[])]);
    assert_eq!(told(watch.changes().await), [change("a", false)]);
    assert!(watch.age() < Some(every));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dropped_while_it_looks_misses_nothing() {
    let pair = Pair::up().await;
    let mut watch = pair.clerk().await.watch("");
    pair.a.holds(&[unowned("b", &[])]);
    assert_eq!(told(watch.changes_now().await), [change("b", false)]);
    sleep(WATCH_EVERY).await;
    pair.a.holds(&[unowned("a", &[]), unowned("b", &[])]);
    for reply in [Reply::Late(PATIENCE / 2), Reply::Never] {
        pair.a.on_others(reply);
        let dropped = timeout(PATIENCE / 3, watch.changes()).await;
        assert!(dropped.is_err(), "{dropped:?}");
        sleep(WATCH_EVERY).await;
    }
    pair.a.on_others(Reply::Yes);
    assert_eq!(told(watch.changes().await), [change("a", false)]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_when_the_servers_are_back_and_tells_what_has_changed_meanwhile() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let mut watch = clerk.watch("");
    pair.a.holds(&[unowned("a", &[])]);
    assert_eq!(told(watch.changes().await), [change("a", false)]);
    for fake in [&pair.a, &pair.b] {
        fake.on_others(Reply::Never);
    }
    let (error, elapsed) = timed(watch.changes()).await;
    let error = error.expect_err("nobody answers");
    assert!(matches!(error, InspectError::Unanswered { .. }), "{error}");
    assert!(is_about(elapsed, WATCH_EVERY + TIMEOUT), "{elapsed:?}");
    assert!(watch.age() > Some(TIMEOUT));
    pair.a.on_others(Reply::Yes);
    pair.a.holds(&[unowned("a", &[]), unowned("b", &[])]);
    assert_eq!(told(watch.changes().await), [change("b", false)]);
    clerk.close().await;
    let error = watch.changes().await.expect_err("it is closed");
    assert!(matches!(error, InspectError::Closed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_can_look_as_often_as_there_is_an_answer_or_hardly_ever() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let mut watch = clerk.watch("").every(Duration::ZERO);
    pair.a.on_others(Reply::Late(PATIENCE / 10));
    let dropped = timeout(PATIENCE, watch.changes()).await;
    assert!(dropped.is_err(), "{dropped:?}");
    assert!(
        (8..=10).contains(&pair.a.listings()),
        "{}",
        pair.a.listings()
    );
    let mut watch = clerk.watch("").every(Duration::MAX);
    assert_eq!(told(watch.changes_now().await), []);
    timeout(TIMEOUT, watch.changes())
        .await
        .expect_err("it waits");
}
