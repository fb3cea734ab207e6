//! Servers that are asked to end. In these tests no time passes unless they say so: a server that
//! hands over costs its clients a few messages, and no timeout.

use super::world::{Envelope, Message, PEER_TIMEOUT, World};
use super::{A, B};
use crate::engine::pair::core::{Event, FailureCause, Input, Now, ProbeResult};
use crate::engine::pair::protocol::Frame;
use crate::engine::pair::protocol::{FrameAnswer, PeerState, StreamPurpose};
use crate::service::Request;
use crate::service::{Answer, Refusal, RoleName};
use crate::types::ServerId;

fn has_handed_over(world: &World, server: ServerId) -> bool {
    world.core(server).has_handed_over()
}

fn is_ack(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::FrameAnswer { .. })
}

#[test]
fn a_backup_takes_over_at_once_from_a_primary_that_is_asked_to_end() {
    let mut world = World::new().whole();
    let mut client = world.open_session(B, 1);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));
    world.end(A);
    let relayed = world.ask(B, client.lock("x"));
    world.run_to_rest();
    assert_eq!(world.role(B), RoleName::Standalone);
    assert_eq!(world.reply_to(relayed), Some(Ok(Answer::Call(false))));
    let cause = FailureCause::Retired;
    let took_over =
        |event: &Event| matches!(event, Event::TookOver { cause: it, .. } if *it == cause);
    assert!(world.events(B).iter().any(took_over));
    assert!(has_handed_over(&world, A), "it has told its peer");

    world.halt(A);
    world.start(A);
    world.run(PEER_TIMEOUT * 3);
    world.assert_whole(B);
}

#[test]
fn a_primary_goes_on_alone_at_once_when_its_backup_is_asked_to_end() {
    let mut world = World::new().whole();
    let mut client = world.open_session(B, 1);
    let relayed = world.ask(B, client.lock("x"));
    world.run_to_rest_but(is_ack);
    let direct = world.ask(A, client.lock("y"));
    world.end(B);
    world.run_to_rest();
    assert_eq!(world.role(A), RoleName::Standalone);
    assert_eq!(world.reply_to(relayed), Some(Ok(Answer::Call(true))));
    assert_eq!(world.reply_to(direct), Some(Ok(Answer::Call(true))));
    assert!(has_handed_over(&world, B));
    let synced = |event: &Event| matches!(event, Event::SyncBegan { .. });
    assert!(!world.events(A).iter().any(synced), "it is about to end");
}

#[test]
fn a_retired_server_refuses_clients_and_takes_no_link() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.end(B);
    world.run_to_rest();
    assert_eq!(world.answer(B, client.lock("x")), Err(Refusal::NotReady));
    let view = world.view(A).expect("A has a view");
    let purpose = StreamPurpose::Sync;
    let peer_timeout = PEER_TIMEOUT;
    let frame = Frame::Open {
        view,
        purpose,
        peer_timeout,
    };
    let stream = super::super::InStream(u64::MAX);
    let mut effects = Vec::new();
    let mut core = world.core(B).clone();
    core.step(Now(world.now), Input::Frame { stream, frame }, &mut effects);
    let closed = super::super::Effect::FrameAnswer(FrameAnswer::Closed);
    assert_eq!(effects, [closed]);
    core.step(Now(world.now), Input::ViewAnnounced { view }, &mut effects);
    assert!(matches!(core.peer_state(), PeerState::Retired { .. }));
}

#[test]
fn two_servers_that_are_asked_to_end_at_once_wait_for_nobody() {
    for first in [A, B] {
        let mut world = World::new().whole();
        let mut client = world.open_session(B, 1);
        let call = world.ask(B, client.lock("x"));
        world.end(first);
        world.end(first.peer());
        world.run_to_rest();
        assert!(world.reply_to(call).is_some());
        for server in ServerId::BOTH {
            assert!(has_handed_over(&world, server), "{server}, {first} first");
        }
    }
}

/// It learns nothing from a peer that ends before it can answer, and needs to tell it nothing.
#[test]
fn a_server_that_retires_does_not_wait_for_a_peer_that_is_gone() {
    for (retires, killed) in [(A, B), (B, A)] {
        let mut world = World::new().whole();
        world.end(retires);
        world.halt(killed);
        world.run_to_rest();
        world.run(PEER_TIMEOUT / 4);
        assert!(has_handed_over(&world, retires), "{retires}");
    }
}

/// The peer's probe was sent before both retired, and the peer may be gone before it is sent again.
#[test]
fn a_server_without_a_link_tells_its_peer_that_it_retires() {
    let mut world = World::new().whole();
    let is_probe_of_b = |it: &Envelope| it.from == B && matches!(it.message, Message::Probe { .. });
    world.end(A);
    world.run_to_rest_but(is_probe_of_b);
    assert_eq!(
        world.take(is_probe_of_b).len(),
        1,
        "B has seen the link close"
    );
    world.end(B);
    world.run_to_rest();
    assert!(has_handed_over(&world, A) && has_handed_over(&world, B));
}

/// The probe of a peer that retires can come late, when the peer runs again and is synced.
#[test]
fn a_probe_of_a_retired_peer_changes_nothing() {
    let changes_nothing = |world: &mut World, server| {
        world.input(server, Input::Wake);
        for view in [None, world.view(server)] {
            let mut core = world.core(server).clone();
            let stream = super::super::InStream(u64::MAX);
            let asker = World::says(PeerState::Retired { view });
            let mut effects = Vec::new();
            core.step(Now(world.now), Input::Probe { stream, asker }, &mut effects);
            let introduction = super::super::Effect::Introduction(core.introduction());
            assert_eq!(effects, [introduction], "{server}, {view:?}");
            assert_eq!(&core, world.core(server), "{server}, {view:?}");
        }
    };
    let mut world = World::new().whole();
    for server in ServerId::BOTH {
        changes_nothing(&mut world, server);
    }
    world.halt(B);
    world.run(PEER_TIMEOUT);
    assert_eq!(world.role(A), RoleName::Standalone);
    changes_nothing(&mut world, A);
    world.start(B);
    let is_ack_of_b = |it: &Envelope| it.from == B && is_ack(it);
    world.run_but(PEER_TIMEOUT / 2, is_ack_of_b);
    assert!(world.core(B).has_stream(), "the copy is on its way");
    for server in ServerId::BOTH {
        changes_nothing(&mut world, server);
    }
}

#[test]
fn a_server_without_a_peer_has_handed_over_at_once() {
    let mut world = World::new();
    world.start_with(A, true);
    world.run_to_rest();
    assert_eq!(world.role(A), RoleName::Standalone);
    world.end(A);
    assert!(has_handed_over(&world, A));
    let mut world = World::new();
    world.start(A);
    world.end(A);
    assert!(has_handed_over(&world, A));
}

/// It has the only copy until then.
#[test]
fn a_primary_that_syncs_its_peer_ends_when_the_peer_has_joined() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(true)));
    world.halt(B);
    world.run(PEER_TIMEOUT / 100);
    world.start(B);
    let to_b =
        |envelope: &Envelope| envelope.to == B && matches!(envelope.message, Message::Frame { .. });
    world.run_but(PEER_TIMEOUT / 2, to_b);
    assert!(world.wire.iter().any(to_b), "the copy is on its way");
    world.end(A);
    assert_eq!(world.role(A), RoleName::Standalone, "it serves on");
    world.run_to_rest();
    assert_eq!(world.role(B), RoleName::Standalone);
    assert!(world.is_held(B, "x") && has_handed_over(&world, A));
}

#[test]
fn a_primary_whose_backup_hangs_ends_once_that_counts_as_dead() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.stop(B);
    let call = world.ask(A, client.lock("x"));
    world.end(A);
    world.run(PEER_TIMEOUT / 2);
    assert!(!has_handed_over(&world, A) && world.reply_to(call).is_none());
    world.run(PEER_TIMEOUT);
    assert_eq!(world.reply_to(call), Some(Ok(Answer::Call(true))));
    assert!(has_handed_over(&world, A));
}

#[test]
fn a_backup_whose_primary_hangs_waits_no_longer_than_a_peer_timeout_to_tell_it() {
    let mut world = World::new().whole();
    world.stop(A);
    world.end(B);
    world.run(PEER_TIMEOUT / 2);
    assert!(!has_handed_over(&world, B));
    world.run(PEER_TIMEOUT);
    assert!(has_handed_over(&world, B));
}

/// A server that slept knows by the view that retired that nobody went on without it.
#[test]
fn a_server_in_doubt_goes_on_when_its_peer_has_retired_from_their_common_view() {
    for (sleeper, retires) in [(A, B), (B, A)] {
        let mut world = World::new().whole();
        let mut client = world.open_session(A, 1);
        assert_eq!(world.answer(A, client.lock("x")), Ok(Answer::Call(true)));
        world.stop(sleeper);
        world.run(PEER_TIMEOUT * 9 / 10);
        world.end(retires);
        world.wake(sleeper);
        world.input(sleeper, Input::Wake);
        world.run_to_rest();
        let doubted = |event: &Event| matches!(event, Event::Unconfirmed { .. });
        assert!(world.events(sleeper).iter().any(doubted), "{sleeper}");
        assert_eq!(world.role(sleeper), RoleName::Standalone);
        assert!(world.is_held(sleeper, "x"));
    }
}

/// B went on without A, answered, and retired: what A has is old.
#[test]
fn a_server_does_not_go_on_from_an_older_view_than_the_one_that_retired() {
    let mut world = World::new().whole();
    let mut client = world.open_session(A, 1);
    world.stop(A);
    world.run(PEER_TIMEOUT * 2);
    assert_eq!(world.answer(B, client.lock("x")), Ok(Answer::Call(true)));
    world.end(B);
    world.wake(A);
    world.run(PEER_TIMEOUT);
    assert_eq!(world.role(A), RoleName::Starting);
}

/// Its probe can cross with the last words of a peer that had never joined it.
#[test]
fn a_primary_whose_peer_retired_before_it_joined_goes_on_alone() {
    let mut world = World::new().whole();
    for view in [None, world.view(B)] {
        let mut core = world.core(A).clone();
        let mut effects = Vec::new();
        let now = Now(world.now);
        let stream = super::super::InStream(u64::MAX);
        let asker = World::says(PeerState::Starting);
        core.step(now, Input::Probe { stream, asker }, &mut effects);
        let probe = effects.iter().find_map(|effect| match effect {
            super::super::Effect::Probe { probe, .. } => Some(*probe),
            _ => None,
        });
        let probe = probe.expect("it asks");
        let result = ProbeResult::Answered(World::says(PeerState::Retired { view }));
        core.step(now, Input::Probed { probe, result }, &mut effects);
        assert_eq!(core.status(now).role, RoleName::Standalone, "{view:?}");
    }
    world.run_to_rest();
}

#[test]
fn a_relay_that_the_primary_sends_back_is_asked_again_and_then_refused() {
    let mut world = World::new().whole();
    let mut client = world.open_session(B, 1);
    let is_relay = |envelope: &Envelope| matches!(envelope.message, Message::Relay { .. });
    let call = world.ask(B, client.lock("x"));
    for _ in 0..3 {
        assert_eq!(world.reply_to(call), None);
        let relays = world.take(is_relay);
        let [relay] = &relays[..] else {
            panic!("one relay: {relays:?}")
        };
        let Message::Relay { relay, .. } = relay.message else {
            unreachable!()
        };
        let result = Some(Err(Refusal::NotReady));
        world.input(B, Input::Relayed { relay, result });
        world.run_to_rest_but(is_relay);
    }
    assert_eq!(world.reply_to(call), Some(Err(Refusal::NotReady)));
    let retry = client.clone().lock("x");
    assert!(matches!(retry, Request::Call { .. }));
    world.assert_whole(A);
}
