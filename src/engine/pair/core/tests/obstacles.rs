//! What keeps two servers from forming a pair, and what it must not disturb.

use std::time::Duration;

use super::world::{Message, PEER_TIMEOUT, World};
use super::{A, B};
use crate::engine::pair::core::{Effect, Event, InStream, Input, Now, ProbeResult};
use crate::engine::pair::protocol::{Introduction, PeerState};
use crate::service::{Answer, Obstacle, RoleName};
use crate::types::ServerId;

const OTHER: Duration = Duration::from_millis(17);

fn reports(world: &World, server: ServerId) -> usize {
    let events = world.events(server).iter();
    let obstructed = |event: &&Event| matches!(event, Event::Obstructed { .. });
    events.filter(obstructed).count()
}

fn obstacle(world: &World, server: ServerId) -> Option<Obstacle> {
    world.core(server).status(Now(world.now)).obstacle
}

#[test]
fn servers_with_different_peer_timeouts_serve_nobody_and_say_why_once() {
    for alone in [false, true] {
        let mut world = World::new();
        world.start(A);
        world.start_as(B, alone, OTHER);
        world.run(PEER_TIMEOUT * 10);
        for (server, ours, theirs) in [(A, PEER_TIMEOUT, OTHER), (B, OTHER, PEER_TIMEOUT)] {
            assert_eq!(world.role(server), RoleName::Starting, "{server}");
            assert_eq!(reports(&world, server), 1, "{server}");
            let expected = Obstacle::PeerTimeout { ours, theirs };
            assert_eq!(obstacle(&world, server), Some(expected), "{server}");
        }
        world.halt(B);
        world.run(PEER_TIMEOUT);
        world.start(B);
        world.run(PEER_TIMEOUT * 10);
        world.assert_whole(A);
        assert_eq!((obstacle(&world, A), obstacle(&world, B)), (None, None));
    }
}

#[test]
fn a_server_that_is_restarted_with_another_peer_timeout_does_not_join() {
    for restarted in [A, B] {
        let survivor = restarted.peer();
        let mut world = World::new().whole();
        let mut client = world.open_session(survivor, 1);
        world.halt(restarted);
        world.start_as(restarted, false, OTHER);
        world.run(PEER_TIMEOUT * 10);
        assert_eq!(world.role(survivor), RoleName::Standalone);
        assert_eq!(world.role(restarted), RoleName::Starting);
        let syncs = world.events(survivor).iter();
        let syncs = syncs.filter(|event| matches!(event, Event::SyncBegan { .. }));
        assert_eq!(syncs.count(), 0);
        let locked = world.answer(survivor, client.lock("x"));
        assert_eq!(locked, Ok(Answer::Call(true)));
        for server in [A, B] {
            assert_eq!(reports(&world, server), 1, "{server}");
        }
        world.halt(restarted);
        world.start(restarted);
        world.run(PEER_TIMEOUT * 10);
        world.assert_whole(survivor);
    }
}

#[test]
fn a_newcomer_with_another_peer_timeout_does_not_disturb_a_pair() {
    let world = World::new().whole();
    for server in [A, B] {
        let asker = Introduction {
            peer_timeout: OTHER,
            ..World::says(PeerState::Starting)
        };
        let stream = InStream(u64::MAX);
        let (mut core, mut effects) = (world.core(server).clone(), Vec::new());
        core.step(Now(world.now), Input::Probe { stream, asker }, &mut effects);
        let introduction = Introduction {
            highest: world.machine(server).op(),
            ..World::says(core.peer_state())
        };
        let obstacle = Obstacle::PeerTimeout {
            ours: PEER_TIMEOUT,
            theirs: OTHER,
        };
        let expected = [
            Effect::Event(Event::Obstructed { obstacle }),
            Effect::Introduction(introduction),
        ];
        assert_eq!(effects, expected, "{server}");
    }
}

#[test]
fn what_answers_instead_of_the_peer_is_told_once_and_decides_nothing() {
    let mut world = World::new();
    world.start(B);
    world.start_with(A, true);
    for _ in 0..3 {
        let pending = world.take(|it| matches!(it.message, Message::Probe { .. }) && it.to == B);
        let Some(Message::Probe { probe, .. }) = pending.first().map(|pending| &pending.message)
        else {
            panic!("A asks: {pending:?}");
        };
        let result = ProbeResult::Obstructed(Obstacle::SameServer);
        let probe = *probe;
        world.input(A, Input::Probed { probe, result });
    }
    assert_eq!(world.role(A), RoleName::Starting);
    assert_eq!(reports(&world, A), 1);
    assert_eq!(obstacle(&world, A), Some(Obstacle::SameServer));
}
