//! What a session is told after a change of view, so that it can reconcile.

use super::sessions::{LEASE, TestSession, granted, notifications};
use super::world::{PEER_TIMEOUT, World};
use super::{A, B};
use crate::service::{
    Acquired, Answer, Holding, HoldingState, Holdings, InView, Notifications, Refusal, Request,
};
use crate::types::{ClientId, Seq, Token, View};

fn holdings(answer: Option<Result<Answer, Refusal>>) -> InView<Holdings> {
    match answer {
        Some(Ok(Answer::Holdings(holdings))) => *holdings,
        other => panic!("no holdings: {other:?}"),
    }
}

fn held(acquired: u64, token: Token) -> Holding {
    Holding {
        acquired: Seq(acquired),
        state: HoldingState::Held {
            token,
            contended: false,
        },
    }
}

fn queued(acquired: u64) -> Holding {
    Holding {
        acquired: Seq(acquired),
        state: HoldingState::Queued,
    }
}

#[test]
fn a_poll_of_another_view_is_answered_at_once_and_one_of_the_current_view_waits() {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    let token = granted(world.answer(A, alice.acquire("job")));
    let waiting = world.ask(B, alice.poll(token.0));
    world.run_to_rest();
    assert_eq!(world.reply_to(waiting), None);
    world.halt(A);
    world.run(PEER_TIMEOUT / 2);
    let view = View::first(A).next(B);
    let notified = |answer| match answer {
        Some(Ok(Answer::Notifications(notifications))) => *notifications,
        other => panic!("no news: {other:?}"),
    };
    for poll in [waiting, world.ask(B, alice.poll(token.0))] {
        let notified = notified(world.reply_to(poll));
        let nothing = Notifications {
            through: crate::service::Revision(token.0),
            ..Notifications::default()
        };
        assert_eq!((notified.view, notified.answer), (view, nothing));
    }
    let current = world.ask(B, alice.poll_in(view, token.0));
    world.run(PEER_TIMEOUT / 2);
    assert_eq!(world.reply_to(current), None);
}

/// Nothing but the two servers' view is different, so nothing is lost.
#[test]
fn a_session_has_the_same_after_a_failover_and_after_a_join() {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    let mut bob = TestSession::open(&mut world, B, 2);
    let one = granted(world.answer(A, alice.acquire("one")));
    let two = granted(world.answer(B, bob.acquire("two")));
    world.answer(A, alice.acquire("two")).expect("it is queued");
    world.halt(A);
    world.run(PEER_TIMEOUT / 2);
    let after_failover = holdings(Some(world.answer(B, alice.holdings(0))));
    assert_eq!(after_failover.answer.holdings, [held(0, one), queued(1)]);
    world.start(A);
    world.run(PEER_TIMEOUT * 2);
    world.assert_whole(B);
    let after_join = holdings(Some(world.answer(A, alice.holdings(0))));
    assert!(after_join.view > after_failover.view);
    assert_eq!(after_join.answer.holdings, after_failover.answer.holdings);
    let of_bob = holdings(Some(world.answer(A, bob.holdings(0))));
    let [
        Holding {
            acquired: Seq(0),
            state,
        },
    ] = of_bob.answer.holdings[..]
    else {
        panic!("{of_bob:?}");
    };
    let contended = true;
    let token = two;
    assert_eq!(state, HoldingState::Held { token, contended });
}

/// [M5]: a primary that was stopped and woken must not say so of its old state.
#[test]
fn what_a_session_has_is_told_when_the_backup_has_acknowledged_a_later_frame() {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    granted(world.answer(A, alice.acquire("job")));
    let pending = world.ask(A, alice.holdings(0));
    world.run_to_rest_but(|_| true);
    assert_eq!(world.reply_to(pending), None);
    world.run_to_rest();
    assert_eq!(holdings(world.reply_to(pending)).answer.holdings.len(), 1);
}

#[test]
fn asking_for_what_a_session_has_renews_its_lease_and_needs_a_session() {
    let mut world = World::new().whole();
    let alice = TestSession::open(&mut world, A, 1);
    for _ in 0..4 {
        world.run(LEASE / 2);
        holdings(Some(world.answer(A, alice.holdings(0))));
    }
    let stranger = Request::Holdings {
        client: ClientId::from_u128(9),
        session: alice.0.record,
        from: Seq(0),
    };
    assert_eq!(world.answer(A, stranger), Err(Refusal::UnknownSession));
    let session = world.open_session(A, 3);
    let without_lease = Request::Holdings {
        client: session.id,
        session: session.record,
        from: Seq(0),
    };
    assert_eq!(world.answer(A, without_lease), Err(Refusal::NoLease));
}

/// Not tolerated; but the one history that is kept is told to the clients of both.
#[test]
fn after_a_cut_a_session_is_told_what_the_servers_kept() {
    let mut world = World::new().whole();
    let mut alice = TestSession::open(&mut world, A, 1);
    let mut bob = TestSession::open(&mut world, B, 2);
    world.run_but(PEER_TIMEOUT * 2, |_| true);
    let there = |world: &mut World, server, request| {
        let pending = world.ask(server, request);
        world.run_to_rest_but(|_| true);
        world.reply_to(pending).expect("it is alone")
    };
    granted(there(&mut world, A, alice.acquire("job")));
    let kept = granted(there(&mut world, B, bob.acquire("job")));
    let views = [A, B].map(|server| world.view(server).expect("it is alone"));
    for session in [&alice, &bob] {
        there(&mut world, B, session.keep_alive()).expect("it lives");
    }
    world.run(PEER_TIMEOUT * 2);
    world.assert_whole(B);
    let of_alice = holdings(Some(world.answer(A, alice.holdings(0))));
    let of_bob = holdings(Some(world.answer(A, bob.holdings(0))));
    assert!(!views.contains(&of_alice.view), "{of_alice:?}");
    assert_eq!(of_alice.answer.holdings, []);
    assert_eq!(of_bob.answer.holdings, [held(0, kept)]);
    let notified = notifications(Some(world.answer(A, alice.poll_in(views[0], u64::MAX))));
    assert_eq!(notified.changes, []);
    let queued = world.answer(A, alice.acquire("job"));
    assert_eq!(queued, Ok(Answer::Acquired(Acquired::Queued)));
}
