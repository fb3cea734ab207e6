//! What the pair promises of locks that stay held whatever becomes of their sessions.

use std::time::Duration;

use super::sessions::{LEASE, TestSession, granted, notifications};
use super::world::{PEER_TIMEOUT, World, name};
use super::{A, B};
use crate::config::RETENTION_STEPS;
use crate::service::{Acquired, Answer, LockInfo, Notifications, QueueEntryInfo, Refusal, Request};
use crate::types::{Retention, Seq, ServerId, Token};

/// Longer than a lease, so that it is not the lease that ends.
const TIME: Duration = LEASE.saturating_mul(4);

fn retain(session: &mut TestSession, acquired: u64, time: Duration) -> Request {
    Request::Retain {
        id: session.next(),
        acquired: Seq(acquired),
        retention: Retention::new(time).expect("less than a day"),
    }
}

/// Alice has the lock `job` and retains it, Bob waits for it, and all are known to both servers.
fn retained(time: Duration) -> (World, TestSession, TestSession, Token) {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    let mut bob = TestSession::open(&mut world, B, 2);
    let token = granted(world.answer(A, alice.acquire("job")));
    let request = retain(&mut alice, 0, time);
    assert_eq!(world.answer(B, request), Ok(Answer::Call(true)));
    let queued = world.answer(B, bob.acquire("job"));
    assert_eq!(queued, Ok(Answer::Acquired(Acquired::Queued)));
    (world, alice, bob, token)
}

fn show(world: &mut World, server: ServerId) -> LockInfo {
    let name = name("job");
    match world.answer(server, Request::Show { name }) {
        Ok(Answer::Lock(lock)) => *lock,
        other => panic!("not shown: {other:?}"),
    }
}

fn holder(lock: &LockInfo) -> &QueueEntryInfo {
    lock.holders().next().expect("somebody holds it")
}

/// The answer to a poll, which may take a part of a lease.
fn polled(world: &mut World, server: ServerId, session: &TestSession) -> Notifications {
    let view = world.view(server).expect("it has one");
    let poll = world.ask(server, session.poll_in(view, 0));
    let start = world.now;
    while world.reply_to(poll).is_none() && world.now < start + LEASE {
        world.run(PEER_TIMEOUT / 16);
    }
    notifications(world.reply_to(poll))
}

/// How long it takes until Bob has the lock; he renews his lease meanwhile.
fn until_granted(world: &mut World, server: ServerId, bob: &TestSession) -> Duration {
    let start = world.now;
    while world.now < start + TIME * 3 {
        let notified = polled(world, server, bob);
        if !notified.changes.is_empty() {
            break;
        }
    }
    world.now.saturating_sub(start)
}

#[test]
fn a_retained_lock_is_held_until_its_time_is_over_though_it_was_released() {
    let (mut world, mut alice, bob, token) = retained(TIME);
    assert_eq!(world.answer(A, alice.release(0)), Ok(Answer::Call(true)));
    let lock = show(&mut world, B);
    let shown = holder(&lock);
    assert_eq!((shown.token, shown.is_left), (Some(token), true));
    assert_eq!(shown.client, alice.0.id);
    let left = shown.retained_for.expect("it is retained");
    assert!(
        TIME.saturating_sub(PEER_TIMEOUT) <= left && left <= TIME,
        "{left:?}"
    );
    let waited = until_granted(&mut world, B, &bob);
    assert!(waited + PEER_TIMEOUT / 2 >= left, "{waited:?}");
    assert!(waited <= left + PEER_TIMEOUT / 2, "{waited:?}");
    assert_eq!(world.machine(A).retained(), 0);
}

#[test]
fn a_retained_lock_is_held_until_its_time_is_over_though_its_session_has_ended() {
    let (mut world, alice, bob, token) = retained(TIME);
    let waited = until_granted(&mut world, B, &bob);
    assert!(waited + PEER_TIMEOUT >= TIME, "{waited:?}");
    let gone = world.answer(A, alice.keep_alive());
    assert_eq!(
        gone,
        Err(Refusal::UnknownSession),
        "its lease was over before"
    );
    let lock = show(&mut world, A);
    assert!(holder(&lock).token > Some(token), "{lock:?}");
}

#[test]
fn how_much_is_left_is_shown_as_the_primary_counts_it() {
    let (mut world, alice, ..) = retained(TIME);
    let first = holder(&show(&mut world, A)).retained_for;
    world.run(PEER_TIMEOUT / 2);
    let later = holder(&show(&mut world, A)).retained_for;
    assert!(later < first, "{first:?}, {later:?}");
    assert_eq!(world.answer(A, alice.keep_alive()), Ok(Answer::Done));
}

#[test]
fn a_lock_whose_session_lives_on_is_held_when_its_time_is_over() {
    let (mut world, alice, ..) = retained(LEASE / 4);
    world.run(LEASE / 2);
    let lock = show(&mut world, A);
    let holder = holder(&lock);
    assert_eq!((holder.retained_for, holder.is_left), (None, false));
    assert_eq!(holder.session, alice.0.record);
}

#[test]
fn a_retention_is_counted_from_the_last_step_by_a_server_that_takes_over() {
    let (mut world, mut alice, bob, _) = retained(TIME);
    assert_eq!(world.answer(A, alice.release(0)), Ok(Answer::Call(true)));
    let start = world.now;
    while world.now < start + TIME / 2 {
        polled(&mut world, A, &bob);
    }
    let before = world.now.saturating_sub(start);
    let left = TIME.saturating_sub(before);
    world.halt(A);
    world.run(PEER_TIMEOUT / 2);
    let waited = until_granted(&mut world, B, &bob);
    let late = left / RETENTION_STEPS * 2 + PEER_TIMEOUT;
    assert!(waited + PEER_TIMEOUT >= left, "{waited:?} of {left:?}");
    assert!(waited <= left + late, "{waited:?} of {left:?}");
}

#[test]
fn a_repeated_call_that_retains_begins_nothing_anew() {
    let (mut world, mut alice, bob, _) = retained(TIME);
    let again = retain(&mut alice, 0, TIME);
    assert_eq!(world.answer(A, again.clone()), Ok(Answer::Call(true)));
    world.run(LEASE / 2);
    assert_eq!(world.answer(B, again), Ok(Answer::Call(true)));
    let left = holder(&show(&mut world, A)).retained_for;
    assert!(left <= Some(TIME.saturating_sub(LEASE / 4)), "{left:?}");
    assert_eq!(world.answer(A, alice.release(0)), Ok(Answer::Call(true)));
    let waited = until_granted(&mut world, A, &bob);
    assert!(waited <= TIME.saturating_sub(LEASE / 4), "{waited:?}");
}

#[test]
fn a_retained_lock_is_broken_also_when_its_session_is_gone() {
    let (mut world, mut alice, mut bob, token) = retained(TIME);
    assert_eq!(world.answer(A, alice.release(0)), Ok(Answer::Call(true)));
    let request = Request::Break {
        id: bob.next(),
        name: name("job"),
        token,
        reason: String::from("it is wanted"),
        address: None,
    };
    assert_eq!(world.answer(B, request), Ok(Answer::Call(true)));
    let notified = notifications(Some(world.answer(B, bob.poll(0))));
    assert_eq!(notified.changes.len(), 1, "{notified:?}");
    assert_eq!(world.machine(A).retained(), 0);
    world.run(PEER_TIMEOUT / 4);
    assert_eq!(world.machine(B).retained(), 0);
}
