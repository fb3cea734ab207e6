//! Two servers that are cut off from each other both go on alone, and both grant. That is not
//! tolerated; these things hold even so.

use std::collections::BTreeSet;

use super::sessions::{TestSession, granted};
use super::world::{Envelope, Message, PEER_TIMEOUT, World};
use super::{A, B};
use crate::engine::pair::core::{Effect, Event, Input, Now, ProbeResult};
use crate::engine::pair::protocol::{Dropped, Frame, Introduction, PeerState, StreamPurpose};
use crate::service::Answer;
use crate::types::{OpNumber, ServerId, Token};

/// Grants the lock `job` at a server again and again.
fn grants(world: &mut World, server: ServerId, times: u64) -> Vec<Token> {
    let mut session = TestSession::open(world, server, 1);
    let tokens = (0..times).map(|turn| {
        let token = granted(world.answer(server, session.acquire("job")));
        let release = session.release(2 * turn);
        assert_eq!(world.answer(server, release), Ok(Answer::Call(true)));
        token
    });
    tokens.collect()
}

/// All tokens that were given, each once.
#[derive(Default)]
struct Given(BTreeSet<Token>);

impl Given {
    fn add(&mut self, tokens: &[Token]) {
        assert!(tokens.is_sorted(), "{tokens:?}");
        for token in tokens {
            assert!(self.0.insert(*token), "{token} was given before");
        }
    }

    /// Adds tokens that must be above all before.
    fn add_above(&mut self, tokens: &[Token]) {
        assert!(
            self.0.last() < tokens.first(),
            "{:?} is not above {:?}",
            tokens.first(),
            self.0.last()
        );
        self.add(tokens);
    }
}

/// The backup takes over from `primary`, which then joins again.
fn fail_over(world: &mut World, primary: ServerId) {
    world.halt(primary);
    world.run(PEER_TIMEOUT);
    world.start(primary);
    world.run(PEER_TIMEOUT * 10);
    world.assert_whole(primary.peer());
}

#[test]
fn two_servers_that_are_cut_off_from_each_other_never_give_one_token() {
    let mut world = World::new().whole();
    let mut given = Given::default();
    for (times_each, fails_over) in [([9, 2], true), ([9, 2], false), ([2, 9], true)] {
        given.add_above(&grants(&mut world, A, 1));
        world.cut();
        for (server, times) in ServerId::BOTH.into_iter().zip(times_each) {
            given.add(&grants(&mut world, server, times));
        }
        world.heal();
        world.assert_whole(B);
        given.add_above(&grants(&mut world, A, 1));
        world.assert_whole(B);
        assert_eq!(world.machine(A), world.machine(B));
        if fails_over {
            fail_over(&mut world, B);
            given.add_above(&grants(&mut world, B, 1));
        }
    }
}

#[test]
fn a_server_that_was_restarted_gives_no_token_that_it_gave_before() {
    let mut world = World::new().whole();
    let mut given = Given::default();
    world.cut();
    for (server, times) in [(A, 9), (B, 2)] {
        given.add(&grants(&mut world, server, times));
    }
    world.halt(A);
    world.heal();
    world.start(A);
    world.run(PEER_TIMEOUT * 10);
    world.assert_whole(B);
    fail_over(&mut world, B);
    given.add_above(&grants(&mut world, A, 1));
}

#[test]
fn a_pair_that_forms_begins_above_what_either_server_has_given() {
    let mut world = World::new();
    world.start(A);
    let ours = world.core(A).introduction().highest;
    for (theirs, base) in [(0, ours.next()), (1_000_000, OpNumber(1_000_001))] {
        let peer = Introduction {
            highest: OpNumber(theirs),
            ..World::says(PeerState::Starting)
        };
        let (mut core, mut effects) = (world.core(A).clone(), Vec::new());
        let now = Now(world.now);
        let probe = core.detector.begin_probe(now);
        let result = ProbeResult::Answered(peer);
        core.step(now, Input::Probed { probe, result }, &mut effects);
        let formed = effects.iter().find_map(|effect| match effect {
            Effect::OpenStream {
                frame:
                    Frame::Open {
                        purpose: StreamPurpose::Form { base, .. },
                        ..
                    },
                ..
            } => Some(*base),
            _ => None,
        });
        assert_eq!(formed, Some(base));
    }
}

#[test]
fn both_servers_tell_once_what_is_lost_when_a_cut_heals() {
    let mut world = World::new().whole();
    let mut holder = TestSession::open(&mut world, A, 7);
    granted(world.answer(A, holder.acquire("held")));
    world.cut();
    grants(&mut world, A, 3);
    grants(&mut world, B, 2);
    let lost = Dropped {
        view: world.view(A).expect("it is primary"),
        operations: 1 + 2 * 3,
        locks: 1,
        clients: 2,
    };
    world.mend();
    let is_copy = |envelope: &Envelope| match &envelope.message {
        Message::Frame { frame, .. } => matches!(frame, Frame::SnapshotChunk { .. }),
        _ => false,
    };
    world.lose(PEER_TIMEOUT * 4, is_copy);
    let broke_off = |event: &Event| *event == Event::SyncBroken;
    assert!(world.events(B).iter().any(broke_off));
    world.run(PEER_TIMEOUT * 10);
    world.assert_whole(B);
    let introduction = world.core(A).introduction();
    assert_eq!(introduction.dropped, None, "it has a state again");
    let notified = |server, about: fn(&Event) -> Option<Dropped>| {
        let events = world.events(server).iter().filter_map(about);
        events.collect::<Vec<_>>()
    };
    let by_the_loser = |event: &Event| match event {
        Event::SteppedDown { dropped, .. } => *dropped,
        _ => None,
    };
    let by_the_winner = |event: &Event| match event {
        Event::PeerDropped { dropped } => Some(*dropped),
        _ => None,
    };
    assert_eq!(notified(A, by_the_loser), [lost]);
    assert_eq!(notified(B, by_the_winner), [lost]);
    assert_eq!(notified(A, by_the_winner), []);
    assert_eq!(notified(B, by_the_loser), []);
}

/// It has a state again, which is the other server's too.
#[test]
fn what_was_dropped_once_is_not_told_when_a_server_gives_up_a_later_state() {
    let mut world = World::new().whole();
    world.cut();
    grants(&mut world, A, 1);
    grants(&mut world, B, 1);
    world.heal();
    world.assert_whole(B);
    let stream = world.accept();
    let view = world.view(A).expect("it is backup");
    world.dismiss(A, stream, view);
    let last = world.events(A).iter().rev().find_map(|event| match event {
        Event::SteppedDown { dropped, .. } => Some(*dropped),
        _ => None,
    });
    assert_eq!(last, Some(None));
    assert_eq!(world.core(A).introduction().dropped, None);
}

/// Which is no cut: only one of them answered.
#[test]
fn a_server_that_was_stopped_has_dropped_nothing_when_it_yields() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.answer(A, client.lock("x")).expect("an answer");
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    world.answer(B, client.unlock("x")).expect("an answer");
    world.wake(A);
    world.run(PEER_TIMEOUT * 10);
    world.assert_whole(B);
    let is_loss = |event: &&Event| {
        matches!(
            event,
            Event::SteppedDown {
                dropped: Some(_),
                ..
            } | Event::PeerDropped { .. }
        )
    };
    for server in ServerId::BOTH {
        assert_eq!(world.events(server).iter().find(is_loss), None);
    }
}
