use super::super::samples::{inside, lock, permits, shared, unowned};
use super::*;
use crate::types::{SessionId, Token};

fn graph(locks: &[LockInfo], start: &str) -> WaitGraph {
    WaitGraph::new(locks, &start.parse().expect("a good name"))
}

/// The names of the locks that it comes through, and the sessions of the cycle.
fn told(locks: &[LockInfo], start: &str) -> (Vec<String>, Vec<u64>) {
    let graph = graph(locks, start);
    let names = graph.locks().iter().map(|lock| lock.name.to_string());
    let cycle = graph.cycle().iter().map(|link| link.who.session.0);
    (names.collect(), cycle.collect())
}

/// Who waits, holding what, for what, and at which place.
fn waits(graph: &WaitGraph) -> Vec<(u64, &str, &str, usize)> {
    let waits = graph.waits().iter();
    waits
        .map(|wait| {
            let (holds, waits_for) = (wait.holds.as_str(), wait.waits_for.as_str());
            (wait.who.session.0, holds, waits_for, wait.place)
        })
        .collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_lock_that_is_free_or_whose_holder_waits_for_nothing_is_its_own_reason() {
    let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[])];
    assert_eq!(told(&locks, "a"), (names(&["a"]), vec![]));
    assert_eq!(told(&locks, "c"), (names(&["c"]), vec![]));
    assert!(!graph(&locks, "c").locks()[0].is_held());
}

#[test]
fn it_goes_from_holders_to_what_they_wait_for_and_ends_at_a_lock_of_nobody() {
    let locks = [
        lock("a", &[(1, 10)], &[9]),
        lock("b", &[(2, 11)], &[8, 1]),
        unowned("c", &[2]),
        lock("d", &[(9, 12)], &[]),
    ];
    assert_eq!(told(&locks, "a"), (names(&["a", "b", "c"]), vec![]));
    let graph = graph(&locks, "a");
    assert_eq!(waits(&graph), [(1, "a", "b", 2), (2, "b", "c", 1)]);
    assert!(!graph.is_deadlock());
}

#[test]
fn every_holder_of_a_shared_lock_is_followed() {
    let locks = [
        shared("a", &[(1, 10), (2, 11)], &[]),
        lock("b", &[(3, 12)], &[1]),
        lock("c", &[(4, 13)], &[2]),
    ];
    assert_eq!(told(&locks, "a"), (names(&["a", "b", "c"]), vec![]));
}

#[test]
fn two_that_wait_for_each_other_are_a_deadlock() {
    let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
    assert_eq!(told(&locks, "a"), (names(&["a", "b"]), vec![1, 2]));
    assert_eq!(told(&locks, "b"), (names(&["b", "a"]), vec![2, 1]));
    let graph = graph(&locks, "a");
    assert!(graph.is_deadlock());
    let link = &graph.cycle()[0];
    assert_eq!(link.waits_for.as_str(), "b");
    assert_eq!(link.held_by.token, Some(Token::new(11)));
}

#[test]
fn a_deadlock_is_found_from_a_lock_that_only_leads_to_it_and_names_only_those_in_it() {
    let locks = [
        lock("a", &[(1, 10)], &[]),
        lock("b", &[(2, 11)], &[1, 4]),
        lock("c", &[(3, 12)], &[2]),
        lock("d", &[(4, 13)], &[3]),
        lock("e", &[(5, 14)], &[1]),
    ];
    let (_, cycle) = told(&locks, "a");
    assert_eq!(cycle, [2, 3, 4]);
    assert!(told(&locks, "e").1.is_empty());
}

#[test]
fn one_of_several_holders_is_enough_for_a_deadlock() {
    let locks = [
        shared("a", &[(1, 10), (2, 11)], &[3]),
        lock("b", &[(3, 12)], &[2]),
    ];
    assert_eq!(told(&locks, "a").1, [2, 3]);
    assert_eq!(told(&locks, "b").1, [3, 2]);
}

#[test]
fn whoever_waits_for_a_permit_is_in_a_deadlock_when_no_holder_can_go_on() {
    let mut locks = vec![
        permits("a", 2, &[(1, 10), (2, 11)], &[3]),
        lock("b", &[(3, 12)], &[1]),
    ];
    assert_eq!(told(&locks, "a"), (names(&["a", "b"]), vec![]));
    locks.push(lock("c", &[(4, 13)], &[2]));
    locks.push(lock("d", &[(3, 14)], &[4]));
    let deadlocked = graph(&locks, "a");
    assert_eq!(told(&locks, "a").1, [3, 2, 4]);
    assert!(deadlocked.stands(&locks));
    // The other holder of a permit goes on.
    locks[2] = lock("c", &[(4, 13)], &[]);
    assert!(!deadlocked.stands(&locks));
    locks[2] = lock("c", &[(4, 13)], &[2]);
    locks[0] = permits("a", 2, &[(1, 10), (2, 15)], &[3]);
    assert!(!deadlocked.stands(&locks));
}

#[test]
fn two_ways_to_one_session_are_no_deadlock() {
    let locks = [
        shared("a", &[(1, 10), (2, 11)], &[]),
        lock("b", &[(3, 12)], &[1, 2]),
        lock("c", &[(3, 13)], &[1, 2]),
    ];
    assert!(told(&locks, "a").1.is_empty());
}

#[test]
fn a_session_that_waits_for_what_it_holds_is_shown_but_is_no_deadlock() {
    let locks = [lock("a", &[(1, 10)], &[1])];
    assert_eq!(told(&locks, "a"), (names(&["a"]), vec![]));
    assert_eq!(waits(&graph(&locks, "a")), [(1, "a", "a", 1)]);
}

#[test]
fn two_that_wait_for_each_other_inside_holders_are_a_deadlock() {
    let mut locks = [lock("a", &[(1, 10)], &[4]), lock("b", &[(2, 11)], &[3])];
    assert!(told(&locks, "a").1.is_empty());
    inside(&mut locks, 3, &[1]);
    inside(&mut locks, 4, &[2]);
    assert_eq!(told(&locks, "a"), (names(&["a", "b"]), vec![3, 4]));
    let graph = graph(&locks, "a");
    assert_eq!(waits(&graph), [(3, "a", "b", 1), (4, "b", "a", 1)]);
    assert_eq!(graph.waits()[0].inside, Some(SessionId(1)));
    assert!(graph.stands(&locks));
    let deadlock_set: Vec<_> = graph.deadlock_set().map(LockName::as_str).collect();
    assert_eq!(deadlock_set, ["a", "b"]);
    locks[1] = lock("b", &[(2, 11)], &[]);
    assert!(!graph.stands(&locks));
}

#[test]
fn who_waits_for_what_is_held_around_it_is_a_deadlock_of_one() {
    let mut locks = [lock("a", &[(1, 10)], &[3]), lock("b", &[(3, 11)], &[])];
    inside(&mut locks, 3, &[2, 1]);
    assert_eq!(told(&locks, "a"), (names(&["a"]), vec![3]));
    let link = graph(&locks, "a").cycle()[0].clone();
    assert_eq!((link.who.session.0, link.held_by.session.0), (3, 1));
    assert_eq!(told(&locks, "b"), (names(&["b", "a"]), vec![3]));
}

#[test]
fn who_shares_a_lock_and_waits_to_have_it_alone_is_a_deadlock() {
    let upgrade = [shared("a", &[(1, 10)], &[1])];
    assert_eq!(told(&upgrade, "a"), (names(&["a"]), vec![1]));
    let two = [shared("a", &[(1, 10), (2, 11)], &[1])];
    assert_eq!(told(&two, "a").1, [1], "also when the other one goes on");
    let mut inner = [shared("a", &[(1, 10)], &[3])];
    assert!(told(&inner, "a").1.is_empty());
    inside(&mut inner, 3, &[1]);
    assert_eq!(told(&inner, "a").1, [3]);
}

#[test]
fn what_is_only_retained_keeps_nobody_in_a_deadlock() {
    let mut locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
    locks[0].entries[0].is_left = true;
    assert!(told(&locks, "a").1.is_empty());
    assert!(told(&locks, "b").1.is_empty());
    assert!(waits(&graph(&locks, "a")).is_empty());
}

#[test]
fn a_deadlock_stands_if_it_is_there_again_by_the_same_tokens() {
    let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
    let graph = graph(&locks, "a");
    let deadlock_set: Vec<_> = graph.deadlock_set().map(LockName::as_str).collect();
    assert_eq!(deadlock_set, ["a", "b"]);
    assert!(graph.stands(&locks));
    let other_grant = [lock("a", &[(1, 15)], &[2]), locks[1].clone()];
    let waits_no_more = [lock("a", &[(1, 10)], &[]), locks[1].clone()];
    let gone = [locks[0].clone()];
    for later in [&other_grant[..], &waits_no_more, &gone] {
        assert!(!graph.stands(later), "{later:?}");
    }
    let without = graph.without_cycle();
    assert!(!without.is_deadlock() && without.stands(&[]));
    assert_eq!(without.deadlock_set().count(), 0);
}
