//! What the pair promises to sessions: leases, queues and news, also across failures.

use std::time::Duration;

use super::world::{Client, Envelope, Message, PEER_TIMEOUT, World, name};
use super::{A, B};
use crate::config::Limits;
use crate::engine::leader::{LeaderEvent, SessionOwner};
use crate::engine::pair::core::{Effect, Event, Input, Now};
use crate::engine::pair::protocol::Frame;
use crate::service::{
    AcquireOptions, Acquired, Answer, CallId, LockMode, Notifications, Refusal, Request, Resource,
    Revision,
};
use crate::types::{ClientAddress, Lease, Seq, ServerId, Token, View};

pub(super) const LEASE: Duration = PEER_TIMEOUT.saturating_mul(4);

/// Less than the poll's quarter of a lease.
const SOON: Duration = PEER_TIMEOUT.checked_div(4).expect("not by zero");

const WAITS: AcquireOptions = AcquireOptions {
    mode: LockMode::Exclusive,
    waits: true,
};

/// A session with the number of its next call.
pub(super) struct TestSession(pub(super) Client, u64);

impl TestSession {
    pub(super) fn open(world: &mut World, server: ServerId, client: u128) -> Self {
        let lease = Lease::new(LEASE).expect("a lease");
        Self(world.open_as(server, client, Some(lease)), 0)
    }

    pub(super) fn next(&mut self) -> CallId {
        let seq = Seq(self.1);
        self.1 += 1;
        CallId {
            client: self.0.id,
            session: self.0.record,
            seq,
            first_incomplete: seq,
        }
    }

    pub(super) fn acquire(&mut self, lock: &str) -> Request {
        Request::Acquire {
            id: self.next(),
            name: name(lock),
            options: WAITS,
        }
    }

    pub(super) fn release(&mut self, acquired: u64) -> Request {
        Request::Release {
            id: self.next(),
            acquired: Seq(acquired),
        }
    }

    pub(super) fn keep_alive(&self) -> Request {
        Request::KeepAlive {
            client: self.0.id,
            session: self.0.record,
        }
    }

    /// In the first view.
    pub(super) fn poll(&self, since: u64) -> Request {
        self.poll_in(View::first(A), since)
    }

    pub(super) fn poll_in(&self, view: View, since: u64) -> Request {
        Request::Poll {
            client: self.0.id,
            session: self.0.record,
            since: Revision(since),
            view,
        }
    }

    pub(super) fn holdings(&self, from: u64) -> Request {
        Request::Holdings {
            client: self.0.id,
            session: self.0.record,
            from: Seq(from),
        }
    }
}

pub(super) fn granted(answer: Result<Answer, Refusal>) -> Token {
    match answer {
        Ok(Answer::Acquired(Acquired::Granted(token))) => token,
        other => panic!("not granted: {other:?}"),
    }
}

pub(super) fn notifications(answer: Option<Result<Answer, Refusal>>) -> Notifications {
    match answer {
        Some(Ok(Answer::Notifications(notifications))) => notifications.answer,
        other => panic!("no news: {other:?}"),
    }
}

/// Alice has the lock `job`, and Bob waits for it.
fn contended() -> (World, TestSession, TestSession) {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    let mut bob = TestSession::open(&mut world, B, 2);
    granted(world.answer(A, alice.acquire("job")));
    let queued = world.answer(B, bob.acquire("job"));
    assert_eq!(queued, Ok(Answer::Acquired(Acquired::Queued)));
    (world, alice, bob)
}

#[test]
fn a_poll_is_answered_when_the_turn_has_come_and_not_before() {
    let (mut world, mut alice, bob) = contended();
    let poll = world.ask(B, bob.poll(0));
    world.run(SOON);
    assert_eq!(world.reply_to(poll), None);
    assert_eq!(world.answer(A, alice.release(0)), Ok(Answer::Call(true)));
    let notifications = notifications(world.reply_to(poll));
    assert_eq!(notifications.changes.len(), 1);
    assert_eq!(notifications.changes[0].acquired, Seq(0));
    assert_eq!(
        notifications.through,
        Revision(notifications.changes[0].token.0)
    );
}

/// Alice gives the lock back, and before the backup hears of that, Bob polls.
fn released_and_polled() -> (World, u32) {
    let (mut world, mut alice, bob) = contended();
    world.ask(A, alice.release(0));
    let poll = world.ask(A, bob.poll(0));
    (world, poll)
}

fn has_commands(envelope: &Envelope) -> bool {
    let Message::Frame { frame, .. } = &envelope.message else {
        return false;
    };
    matches!(frame, Frame::Forward { commands, .. } if !commands.is_empty())
}

/// The first frame of a new link is acknowledged, and the commands behind it are not.
#[test]
fn news_waits_for_what_it_tells_of_also_on_a_new_link() {
    let (mut world, poll) = released_and_polled();
    world.reset();
    world.run_to_rest_but(has_commands);
    assert_eq!(world.reply_to(poll), None);
    world.run_to_rest();
    assert_eq!(notifications(world.reply_to(poll)).changes.len(), 1);
}

#[test]
fn news_waits_for_what_it_tells_of_also_when_a_heartbeat_is_acknowledged_before() {
    let (mut world, poll) = released_and_polled();
    world.run_but(PEER_TIMEOUT / 4, has_commands);
    assert_eq!(world.reply_to(poll), None);
    world.run_to_rest();
    assert_eq!(notifications(world.reply_to(poll)).changes.len(), 1);
}

#[test]
fn a_poll_without_news_is_answered_after_a_quarter_of_the_lease() {
    let (mut world, _, bob) = contended();
    let poll = world.ask(A, bob.poll(0));
    world.run(LEASE.saturating_sub(PEER_TIMEOUT / 2) / 4);
    assert_eq!(world.reply_to(poll), None);
    world.run(PEER_TIMEOUT / 4);
    assert_eq!(
        notifications(world.reply_to(poll)),
        Notifications::default()
    );
}

/// Alice's poll waits at A, and then she is granted the lock `job` at once.
fn granted_beside_a_poll() -> (World, TestSession, Request, u32, Token) {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    let poll = world.ask(A, alice.poll(0));
    let acquire = alice.acquire("job");
    let token = granted(world.answer(A, acquire.clone()));
    (world, alice, acquire, poll, token)
}

#[test]
fn a_grant_at_once_is_told_by_its_answer_and_does_not_end_the_poll() {
    let (mut world, alice, _, poll, token) = granted_beside_a_poll();
    assert_eq!(world.reply_to(poll), None);
    world.run(LEASE / 4 + SOON);
    let notified = notifications(world.reply_to(poll));
    assert_eq!(notified.through, Revision(token.0), "{notified:?}");
    let next = world.ask(A, alice.poll(notified.through.0));
    world.run(SOON);
    assert_eq!(world.reply_to(next), None, "it is told once");
}

#[test]
fn a_grant_whose_answer_was_lost_is_told_by_the_repeated_call_and_by_the_next_poll() {
    let (mut world, alice, acquire, _, token) = granted_beside_a_poll();
    for server in [B, A] {
        assert_eq!(granted(world.answer(server, acquire.clone())), token);
    }
    let notified = notifications(Some(world.answer(B, alice.poll(0))));
    assert_eq!(notified.through, Revision(token.0), "{notified:?}");
}

#[test]
fn a_grant_is_told_to_a_session_that_moves_to_the_server_that_takes_over() {
    let (mut world, alice, acquire, _, token) = granted_beside_a_poll();
    world.halt(A);
    world.run(PEER_TIMEOUT / 2);
    let view = world.view(B).expect("it is primary");
    let notified = notifications(Some(world.answer(B, alice.poll_in(view, 0))));
    assert_eq!(notified.through, Revision(token.0), "{notified:?}");
    assert_eq!(granted(world.answer(B, acquire)), token);
}

#[test]
fn a_grant_that_was_queued_for_ends_the_poll_that_was_there_before() {
    let (mut world, mut alice, mut bob) = contended();
    let poll = world.ask(A, bob.poll(0));
    let queued = world.answer(A, bob.acquire("job"));
    assert_eq!(queued, Ok(Answer::Acquired(Acquired::Queued)));
    assert_eq!(world.answer(A, alice.release(0)), Ok(Answer::Call(true)));
    assert_eq!(
        notifications(world.reply_to(poll)).changes[0].acquired,
        Seq(0)
    );
}

#[test]
fn who_holds_a_lock_hears_at_once_that_somebody_waits() {
    let (mut world, _, _, poll, token) = granted_beside_a_poll();
    let mut bob = TestSession::open(&mut world, B, 2);
    world.answer(B, bob.acquire("job")).expect("it is queued");
    let changes = notifications(world.reply_to(poll)).changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((changes[0].token, changes[0].contended), (token, true));
}

#[test]
fn a_newer_poll_of_a_session_sends_the_older_one_away() {
    let (mut world, _, bob) = contended();
    let older = world.ask(A, bob.poll(0));
    world.run(SOON);
    let newer = world.ask(A, bob.poll(0));
    world.run(SOON);
    assert_eq!(
        notifications(world.reply_to(older)),
        Notifications::default()
    );
    assert_eq!(world.reply_to(newer), None);
}

#[test]
fn a_lease_that_is_renewed_does_not_end_and_one_that_is_not_ends_after_one_lease() {
    let (mut world, alice, bob) = contended();
    for _ in 0..8 {
        world.run(LEASE / 2);
        assert_eq!(world.answer(A, alice.keep_alive()), Ok(Answer::Done));
        assert_eq!(world.answer(B, bob.keep_alive()), Ok(Answer::Done));
    }
    let silent = until_granted(&mut world, A, &bob);
    assert!(
        LEASE <= silent && silent <= LEASE + PEER_TIMEOUT / 4,
        "{silent:?}"
    );
    let gone = world.answer(A, alice.poll(0));
    assert_eq!(gone, Err(Refusal::UnknownSession));
}

/// How long it takes until the lock that a session waits for is its own.
fn until_granted(world: &mut World, server: ServerId, waiter: &TestSession) -> Duration {
    let mut elapsed = Duration::ZERO;
    let view = world.view(server).expect("it is primary");
    while elapsed < LEASE * 4 {
        let poll = world.ask(server, waiter.poll_in(view, 0));
        world.run_to_rest();
        if world
            .reply_to(poll)
            .is_some_and(|answer| notifications(Some(answer)) != Notifications::default())
        {
            break;
        }
        world.run(PEER_TIMEOUT / 16);
        elapsed += PEER_TIMEOUT / 16;
    }
    elapsed
}

#[test]
fn the_queue_survives_a_failover_and_so_does_a_poll_at_the_backup() {
    let (mut world, mut alice, bob) = contended();
    let poll = world.ask(B, bob.poll(0));
    world.run(SOON);
    world.halt(A);
    world.run(PEER_TIMEOUT / 2);
    let Some(Ok(Answer::Notifications(notified))) = world.reply_to(poll) else {
        panic!("it is told of the view");
    };
    let next = world.ask(B, bob.poll_in(notified.view, notified.answer.through.0));
    assert_eq!(world.reply_to(next), None);
    assert_eq!(world.answer(B, alice.release(0)), Ok(Answer::Call(true)));
    assert_eq!(notifications(world.reply_to(next)).changes.len(), 1);
}

#[test]
fn a_lease_ends_no_more_than_one_lease_late_when_the_primary_fails_meanwhile() {
    let (mut world, _, bob) = contended();
    world.run(LEASE / 2);
    world.halt(A);
    world.run(PEER_TIMEOUT / 8);
    let silent = until_granted(&mut world, B, &bob);
    assert!(silent <= LEASE + PEER_TIMEOUT / 4, "{silent:?}");
    assert!(silent >= LEASE / 2);
}

#[test]
fn a_primary_that_was_stopped_ends_no_lease_whose_renewal_it_had_not_read() {
    let (mut world, alice, _) = contended();
    world.halt(B);
    world.run(PEER_TIMEOUT / 2);
    world.stop(A);
    let renewal = world.ask(A, alice.poll(0));
    world.run(LEASE * 2);
    world.wake(A);
    world.run(PEER_TIMEOUT);
    assert!(
        matches!(world.reply_to(renewal), Some(Ok(_))),
        "{:?}",
        world.reply_to(renewal)
    );
}

#[test]
fn a_primary_that_was_fenced_renews_nothing() {
    let (mut world, alice, _) = contended();
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    let renewal = world.ask(A, alice.poll(0));
    world.run(LEASE * 3);
    world.wake(A);
    world.run(PEER_TIMEOUT * 2);
    let answer = world.reply_to(renewal);
    assert!(matches!(answer, Some(Err(_))), "{answer:?}");
}

/// Nobody's poll waits at a server that ends: the backup lets those wait itself that it relayed,
/// and the clients of the others ask there.
#[test]
fn a_server_that_is_asked_to_end_lets_no_poll_wait() {
    for ends in [A, B] {
        let (mut world, mut alice, bob) = contended();
        let relayed = world.ask(B, bob.poll(0));
        let direct = world.ask(A, alice.poll(u64::MAX));
        world.run_to_rest();
        world.end(ends);
        world.run_to_rest();
        let gone = if ends == A { direct } else { relayed };
        assert_eq!(world.reply_to(gone), Some(Err(Refusal::NotReady)));
        if ends == A {
            // Nor at the other one, which has another view.
            notifications(world.reply_to(relayed));
            continue;
        }
        assert_eq!(world.reply_to(direct), None, "it waits at A");
        world.answer(A, alice.release(0)).expect("it was held");
        world.run(LEASE / 4);
        notifications(world.reply_to(direct));
    }
}

/// When each holder of `job` got it, as the server `server` shows it.
fn since(world: &World, server: ServerId) -> Vec<u64> {
    let places = world.machine(server).show(&name("job")).entries;
    let since = places.iter().filter_map(|place| place.since);
    since.map(|since| since.0).collect()
}

#[test]
fn a_grant_keeps_the_time_of_the_primary_that_made_it_through_a_failover() {
    let mut world = World::new().whole();
    world.tell_time(A, 100);
    world.tell_time(B, 70);
    let mut alice = TestSession::open(&mut world, B, 1);
    let mut bob = TestSession::open(&mut world, A, 2);
    granted(world.answer(B, alice.acquire("job")));
    world.tell_time(A, 103);
    world.answer(A, bob.acquire("job")).expect("it is queued");
    world.run_to_rest();
    assert_eq!((since(&world, A), since(&world, B)), (vec![100], vec![100]));
    world.halt(A);
    world.run(PEER_TIMEOUT / 2);
    assert_eq!(since(&world, B), [100]);
    world.answer(B, alice.release(0)).expect("it was held");
    assert_eq!(since(&world, B), [70], "by the clock of B");
}

#[test]
fn what_ends_with_a_lease_is_granted_at_the_time_of_that() {
    let (mut world, _, bob) = contended();
    world.tell_time(A, 100);
    world.answer(A, bob.keep_alive()).expect("it is known");
    world.run(LEASE / 2);
    world.answer(A, bob.keep_alive()).expect("it is known");
    assert_eq!(since(&world, A), [0], "nobody has asked since");
    world.tell_time(A, 101);
    world.run(LEASE / 2 + PEER_TIMEOUT);
    assert_eq!((since(&world, A), since(&world, B)), (vec![101], vec![101]));
}

#[test]
fn the_time_costs_a_command_a_second_and_plain_calls_none() {
    let (mut world, mut alice, mut bob) = contended();
    let mut plain = world.open_session(A, 3);
    let ops = |world: &mut World, request| {
        let before = world.machine(A).op().0;
        world.answer(A, request).expect("an answer");
        world.machine(A).op().0 - before
    };
    world.tell_time(A, 100);
    assert_eq!(ops(&mut world, plain.lock("other")), 1);
    assert_eq!(ops(&mut world, alice.acquire("one")), 2);
    assert_eq!(ops(&mut world, alice.acquire("two")), 1);
    world.tell_time(A, 101);
    assert_eq!(ops(&mut world, alice.keep_alive()), 0);
    assert_eq!(ops(&mut world, alice.release(1)), 2);
    assert_eq!(ops(&mut world, bob.release(0)), 1);
    world.tell_time(A, 102);
    assert_eq!(ops(&mut world, plain.unlock("other")), 1);
    assert_eq!(ops(&mut world, plain.close_session()), 1);
    // A clock that is put back is followed too.
    world.tell_time(A, 7);
    assert_eq!(ops(&mut world, alice.release(0)), 2);
}

#[test]
fn an_unlock_that_lets_a_waiter_in_tells_the_time() {
    let mut world = World::new().whole();
    let mut plain = world.open_session(A, 3);
    let mut alice = TestSession::open(&mut world, A, 1);
    world.answer(A, plain.lock("job")).expect("it is free");
    world.answer(A, alice.acquire("job")).expect("it is queued");
    world.tell_time(A, 100);
    world.answer(A, plain.unlock("job")).expect("it was held");
    assert_eq!(since(&world, A), [100]);
}

#[test]
fn places_count_as_locks_do_against_the_limit() {
    let limits = Limits {
        locks: 2,
        ..Limits::default()
    };
    let mut world = World::new().with_limits(limits).whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    granted(world.answer(A, alice.acquire("one")));
    let refused = world.answer(A, alice.acquire("other"));
    assert_eq!(refused, Err(Refusal::Overloaded(Resource::Locks)));
}

#[test]
fn a_primary_wakes_when_a_poll_has_waited_long_enough() {
    let (mut world, _, bob) = contended();
    world.halt(B);
    world.run(PEER_TIMEOUT);
    let (pending, instant) = (world.now, Duration::from_millis(1));
    let view = world.view(A).expect("it is alone");
    world.ask(A, bob.poll_in(view, 0));
    world.now = pending + (LEASE / 4).saturating_sub(instant);
    world.input(A, Input::Wake);
    assert!(world.core(A).next_wake() <= Now(pending + LEASE / 4));
}

#[test]
fn a_poll_that_waits_at_a_primary_that_is_fenced_is_handed_to_the_new_one() {
    let (mut world, _, bob) = contended();
    world.ask(A, bob.poll(0));
    let view = world.view(A).expect("A has a view").next(B);
    let mut effects = Vec::new();
    let mut core = world.core(A).clone();
    core.step(Now(world.now), Input::ViewAnnounced { view }, &mut effects);
    let handed_on = effects.iter().filter_map(|effect| match effect {
        Effect::Relay { request, .. } => Some(request.clone()),
        _ => None,
    });
    assert_eq!(handed_on.collect::<Vec<_>>(), [bob.poll(0)]);
}

#[test]
fn that_a_lock_was_broken_is_reported_and_that_it_was_not_is_not() {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    let mut admin = TestSession::open(&mut world, A, 2);
    let held = granted(world.answer(A, alice.acquire("job")));
    for (token, is_broken) in [(Token(held.get() + 1), false), (held, true)] {
        let request = Request::Break {
            id: admin.next(),
            name: name("job"),
            token,
            reason: String::from("it hangs"),
            address: Some(ClientAddress::new("10.0.0.9:1")),
        };
        // A repeated call breaks nothing.
        for _ in 0..2 {
            let answer = world.answer(A, request.clone());
            assert_eq!(answer, Ok(Answer::Call(is_broken)));
        }
        let event = Event::from(LeaderEvent::LockBroken {
            name: name("job"),
            token,
            holder: Some(SessionOwner {
                client: alice.0.id,
                session: alice.0.record,
                name: None,
                address: None,
            }),
            client: admin.0.id,
            address: Some(ClientAddress::new("10.0.0.9:1")),
            reason: String::from("it hangs"),
        });
        let is_break =
            |event: &&Event| matches!(event, Event::Leader(LeaderEvent::LockBroken { .. }));
        let reported: Vec<_> = world.events(A).iter().filter(is_break).collect();
        let expected = if is_broken { vec![&event] } else { vec![] };
        assert_eq!(reported, expected);
    }
}
