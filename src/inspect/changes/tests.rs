use super::super::samples::{lock, shared, unowned};
use super::*;

/// What has changed, in short: the lock, and whose place it was, with the token of a holder.
fn told(before: &[LockInfo], after: &[LockInfo]) -> Vec<String> {
    let changes = changes(before, after);
    changes.iter().map(short).collect()
}

fn short(change: &LockChange) -> String {
    let what = change.event.name();
    let place = change.event.entry();
    let session = place.map(|place| format!(" {}", place.session));
    let token = place.and_then(|place| place.token);
    let token = token.map(|token| format!(" by {token}"));
    let [session, token] = [session, token].map(Option::unwrap_or_default);
    format!("{}: {what}{session}{token}", change.name)
}

#[test]
fn nothing_is_told_of_what_has_not_changed() {
    let locks = [lock("a", &[(1, 10)], &[2, 2, 3]), unowned("b", &[1])];
    assert_eq!(told(&locks, &locks), [""; 0]);
}

#[test]
fn a_lock_that_passes_on_is_told_as_it_happened() {
    assert_eq!(
        told(
            &[lock("a", &[(1, 10)], &[2, 3])],
            &[lock("a", &[(2, 11)], &[3, 4])]
        ),
        ["a: ended 1 by 10", "a: granted 2 by 11", "a: queued 4"]
    );
}

#[test]
fn who_leaves_the_queue_without_the_lock_is_told() {
    assert_eq!(
        told(
            &[lock("a", &[(1, 10)], &[2])],
            &[lock("a", &[(1, 10)], &[])]
        ),
        ["a: left 2"]
    );
}

#[test]
fn a_session_with_several_places_is_counted() {
    assert_eq!(
        told(
            &[lock("a", &[(1, 10)], &[2, 2])],
            &[lock("a", &[(2, 11)], &[2])]
        ),
        ["a: ended 1 by 10", "a: granted 2 by 11"]
    );
    assert_eq!(
        told(
            &[lock("a", &[(1, 10)], &[2])],
            &[lock("a", &[(1, 10)], &[2, 2, 2])]
        ),
        ["a: queued 2"; 2]
    );
}

#[test]
fn a_new_grant_of_the_same_session_is_a_change() {
    assert_eq!(
        told(&[lock("a", &[(1, 10)], &[])], &[lock("a", &[(1, 11)], &[])]),
        ["a: ended 1 by 10", "a: granted 1 by 11"]
    );
}

#[test]
fn locks_come_and_go_by_name() {
    assert_eq!(
        told(
            &[shared("b", &[(1, 10), (2, 11)], &[]), unowned("d", &[])],
            &[lock("a", &[(3, 12)], &[]), unowned("c", &[])],
        ),
        [
            "a: granted 3 by 12",
            "b: ended 1 by 10",
            "b: ended 2 by 11",
            "c: locked",
            "d: unlocked",
        ]
    );
}
