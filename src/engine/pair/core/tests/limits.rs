//! Servers whose states may become differently large.

use super::world::{PEER_TIMEOUT, World, name};
use super::{A, B};
use crate::config::{Limits, MIN_MEMORY};
use crate::engine::pair::core::Event;
use crate::machine::footprint;
use crate::service::{Answer, Refusal, Resource, RoleName};
use crate::types::ServerId;

fn of(clients: u64, locks: u64, memory: Option<u64>) -> Limits {
    Limits {
        clients,
        locks,
        memory,
        ..Limits::default()
    }
}

/// A pair whose `small` server has the limits that it is given, and the other one the defaults.
fn pair(small: ServerId, limits: Limits) -> World {
    let mut world = World::new();
    for server in ServerId::BOTH {
        world.set_limits(if server == small {
            limits
        } else {
            Limits::default()
        });
        world.start(server);
    }
    world.run(PEER_TIMEOUT);
    world.assert_whole(A);
    world
}

fn told(world: &World, server: ServerId) -> Vec<String> {
    let is_told = |event: &&Event| matches!(event, Event::LimitsDiffer { .. });
    let events = world.events(server).iter().filter(is_told);
    events.map(ToString::to_string).collect()
}

const FULL: Result<Answer, Refusal> = Err(Refusal::Overloaded(Resource::Locks));
const GRANTED: Result<Answer, Refusal> = Ok(Answer::Call(true));

#[test]
fn the_smaller_limits_apply_at_either_server_also_while_the_other_one_is_gone() {
    for (small, dies) in [(A, A), (A, B), (B, A), (B, B)] {
        let survivor = dies.peer();
        let mut world = pair(small, of(100, 1, None));
        let mut client = world.open_session(A, 1);
        assert_eq!(world.answer(A, client.lock("x")), GRANTED);
        assert_eq!(world.answer(A, client.lock("y")), FULL, "{small}");
        world.halt(dies);
        world.run(PEER_TIMEOUT * 2);
        assert_eq!(world.role(survivor), RoleName::Standalone);
        assert_eq!(world.answer(survivor, client.lock("y")), FULL, "{small}");

        world.set_limits(Limits::default());
        world.start(dies);
        world.run(PEER_TIMEOUT * 4);
        world.assert_whole(survivor);
        let is_corrected = small == dies;
        let expected = if is_corrected { GRANTED } else { FULL };
        let answer = world.answer(survivor, client.lock("y"));
        assert_eq!(answer, expected, "{small} is small, {dies} died");
    }
}

#[test]
fn each_kind_of_limit_applies_on_its_own() {
    let mut world = pair(B, of(1, 100, None));
    let mut client = world.open_session(A, 1);
    let refused = world.try_open(A, 2);
    assert_eq!(refused, Err(Refusal::Overloaded(Resource::Clients)));
    assert_eq!(world.answer(A, client.lock("x")), GRANTED);

    let memory = of(100, 1_000_000, Some(MIN_MEMORY));
    let mut world = pair(B, memory);
    let mut client = world.open_session(A, 1);
    let longest = |number| format!("{number:01024}");
    let most = memory.lock_bytes() / footprint::of_lock(&name(&longest(0)));
    for number in 0..most {
        let answer = world.answer(A, client.lock(&longest(number)));
        if answer != GRANTED {
            assert_eq!(answer, Err(Refusal::Overloaded(Resource::Memory)));
            assert!(number > most / 2, "{number} of {most}");
            return;
        }
    }
    let answer = world.answer(A, client.lock(&longest(most)));
    assert_eq!(answer, Err(Refusal::Overloaded(Resource::Memory)));
}

#[test]
fn limits_that_differ_are_told_once_by_each_server_with_their_options() {
    let mut world = pair(B, of(7, 4_000_000, Some(64 * 1024 * 1024)));
    world.reset();
    world.run(PEER_TIMEOUT * 4);
    world.assert_whole(A);
    for (server, clients, memory) in [
        (A, "100000 here and 7 there", "none here and 64MiB there"),
        (B, "7 here and 100000 there", "64MiB here and none there"),
    ] {
        let expected = format!(
            "the limits of the two servers differ, and the smaller ones apply: --max-clients is \
             {clients}, --max-memory is {memory}. Start both servers with the same"
        );
        assert_eq!(told(&world, server), [expected]);
    }
}

#[test]
fn limits_that_are_alike_are_not_told() {
    let world = pair(A, Limits::default());
    for server in ServerId::BOTH {
        assert_eq!(told(&world, server), [""; 0]);
    }
}
