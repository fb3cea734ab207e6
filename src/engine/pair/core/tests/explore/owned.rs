//! What sessions can rely on, by what their clients were told and by the lock table of each server.

use super::checks::Violation;
use super::clients::{LOCKS, Step, call_id, name_of};
use super::history::{Call, Moment, Said};
use super::scope::Scope;
use super::world::World;
use crate::machine::Machine;
use crate::service::{Acquired, News};
use crate::types::{ServerId, Token};

type Outcome = Result<(), Violation>;

fn violation<V>(what: impl Into<String>) -> Result<V, Violation> {
    Err(Violation(what.into()))
}

fn lock_of(scope: &Scope, (client, step): Call) -> Option<u8> {
    scope.clients[usize::from(client)][usize::from(step)].acquires()
}

/// A client is told that what it asked for by `call` is its own: with one token each time, which no other
/// call has for that lock.
pub(super) fn granted(world: &mut World, call: Call, token: Token, scope: &Scope) -> Outcome {
    for (other, known) in world.history.granted() {
        let same_lock = lock_of(scope, other) == lock_of(scope, call);
        if other == call && known != token {
            return violation(format!("{call:?} is granted with {known} and with {token}"));
        }
        if other != call && same_lock && known == token {
            return violation(format!("{call:?} and {other:?} have one token, {token}"));
        }
    }
    world.history.push(Moment::Granted(call, token));
    Ok(())
}

/// A client is told what has changed.
pub(super) fn news(world: &mut World, client: u8, news: &News, scope: &Scope) -> Outcome {
    let steps = scope.clients[usize::from(client)];
    let Some(record) = world.clients[usize::from(client)].record else {
        return Ok(());
    };
    for change in &news.changes {
        let acquires = (0..).zip(steps).filter(|(_, it)| it.acquires().is_some());
        let mut calls = acquires.map(|(step, _)| step);
        let call = calls.find(|step| call_id(client, steps, *step, record).seq == change.acquired);
        let Some(step) = call else {
            return violation(format!(
                "client {client} hears of what it never asked: {news:?}"
            ));
        };
        granted(world, (client, step), change.token, scope)?;
    }
    let state = &mut world.clients[usize::from(client)];
    state.through = state.through.max(news.through);
    Ok(())
}

/// Of two clients that were told that they have the same lock, and have not given it back, the one with
/// the lower token has lost its session at every server that answers. `answering`: their machines.
pub(super) fn one_holder(world: &World, scope: &Scope, answering: &[&Machine]) -> Outcome {
    for (call, token) in world
        .history
        .granted()
        .filter(|it| holds(world, scope, it.0))
    {
        let later = world.history.granted().find(|(other, above)| {
            *above > token
                && lock_of(scope, *other) == lock_of(scope, call)
                && holds(world, scope, *other)
        });
        let Some((later, _)) = later else { continue };
        let record = world.clients[usize::from(call.0)]
            .record
            .unwrap_or_default();
        if answering.iter().any(|it| it.record(record).is_some()) {
            return violation(format!("{call:?} and {later:?} have the lock, and live"));
        }
    }
    Ok(())
}

fn holds(world: &World, scope: &Scope, (client, step): Call) -> bool {
    let state = &world.clients[usize::from(client)];
    let steps = scope.clients[usize::from(client)];
    !state.lost && !state.may_have_released(steps, step)
}

/// In a server's lock table every place is one of a living session, at the most the first one has the lock,
/// and nobody waits for a lock that nobody has.
pub(super) fn places(server: ServerId, machine: &Machine) -> Outcome {
    for lock in 0..LOCKS {
        let queue = machine.queue_of(&name_of(lock));
        for ((session, _), _) in &queue.places {
            if machine.record(*session).is_none() {
                return violation(format!("{server} keeps a place for the dead: {queue:?}"));
            }
        }
        let mut granted = queue.places.iter().map(|(_, token)| token.is_some());
        let first = granted.next();
        if first.is_some_and(|first| first == queue.ownerless) {
            return violation(format!("{server} does not pass the lock on: {queue:?}"));
        }
        if granted.any(|granted| granted) {
            return violation(format!(
                "{server} grants it twice, or out of turn: {queue:?}"
            ));
        }
    }
    Ok(())
}

/// What a living session was told of its places is so in `machine`.
pub(super) fn are_kept(
    world: &World,
    scope: &Scope,
    server: ServerId,
    machine: &Machine,
) -> Outcome {
    for (client, steps) in (0..).zip(scope.clients) {
        let state = &world.clients[usize::from(client)];
        let Some(record) = state.record.filter(|_| state.epoch == world.epoch) else {
            continue;
        };
        if machine.record(record).is_none() {
            continue;
        }
        if state.lost && state.ended {
            return violation(format!(
                "client {client} is sent away, and lives at {server}"
            ));
        }
        for (step, it) in (0..).zip(*steps) {
            let call = (client, step);
            let queues = matches!(it, Step::Acquire(_) | Step::Try(_));
            let comes_in = world.history.told(call) == Some(Said::Yes);
            if !queues || !comes_in || state.may_have_released(steps, step) {
                continue;
            }
            let known = world.history.token(call);
            let found = machine.acquired(&call_id(client, steps, step, record));
            let is_kept = match found {
                Acquired::Granted(token) => known.is_none_or(|known| known == token),
                Acquired::Queued => known.is_none(),
                Acquired::Held | Acquired::Ended => false,
            };
            if !is_kept {
                return violation(format!(
                    "{server} says {found:?} of {call:?}, told {known:?}"
                ));
            }
        }
    }
    Ok(())
}
