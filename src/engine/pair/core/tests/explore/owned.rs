//! What sessions can rely on, by what their clients were told and by the lock table of each server.

use super::checks::Violation;
use super::clients::{LOCKS, Step, call_id, name_of};
use super::cores::{Look as _, Servant};
use super::history::{Call, Moment, Said};
use super::scope::Scope;
use super::world::World;
use crate::machine::Machine;
use crate::service::{Acquired, Notifications, Revision};
use crate::types::{Seq, ServerId, SessionId, Token};

type Outcome = Result<(), Violation>;

fn violation<V>(what: impl Into<String>) -> Result<V, Violation> {
    Err(Violation(what.into()))
}

fn lock_of(scope: &Scope, (client, step): Call) -> Option<u8> {
    scope.clients[usize::from(client)][usize::from(step)].acquires()
}

/// A client is told that what it asked for by `call` is its own: with one token each time, which no
/// other call has for that lock.
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
pub(super) fn notifications(
    world: &mut World,
    client: u8,
    notifications: &Notifications,
    scope: &Scope,
) -> Outcome {
    let steps = scope.clients[usize::from(client)];
    let Some(session) = world.clients[usize::from(client)].record else {
        return Ok(());
    };
    for change in &notifications.changes {
        let acquires = (0..).zip(steps).filter(|(_, it)| it.acquires().is_some());
        let mut calls = acquires.map(|(step, _)| step);
        let call = calls.find(|step| call_id(client, steps, *step, session).seq == change.acquired);
        let Some(step) = call else {
            return violation(format!(
                "client {client} hears of what it never asked: {notifications:?}"
            ));
        };
        granted(world, (client, step), change.token, scope)?;
    }
    for acquired in &notifications.broken {
        let acquires = (0..).zip(steps).filter(|(_, it)| it.acquires().is_some());
        let mut calls = acquires.map(|(step, _)| (client, step));
        let call = calls.find(|call| call_id(client, steps, call.1, session).seq == *acquired);
        let Some(call) = call.filter(|call| breaks(world, scope, *call).next().is_some()) else {
            return violation(format!(
                "client {client} hears of a lock as broken that nobody breaks: {notifications:?}"
            ));
        };
        world.history.push(Moment::Broken(call));
    }
    let state = &mut world.clients[usize::from(client)];
    state.through = state.through.max(notifications.through);
    Ok(())
}

/// The calls that were asked to break what `call` acquired.
fn breaks(world: &World, scope: &Scope, call: Call) -> impl Iterator<Item = Call> {
    let clients = (0..).zip(scope.clients);
    let calls = clients.flat_map(|(client, steps)| {
        let steps = (0..).zip(*steps);
        steps.map(move |(step, it)| ((client, step), *it))
    });
    let breaks = calls.filter(move |(_, it)| *it == Step::Break(call.0, call.1));
    let breaks = breaks.map(|(by, _)| by);
    breaks.filter(|by| world.history.is_asked(*by))
}

/// Whenever a client was granted a lock, no more have it than each of them was promised. Those whom
/// a server that answers takes for holders have had it since their own grant, so they had it at
/// every grant with a higher token; a session that is gone there, and one whose lock was broken,
/// had it no more, perhaps. `answering`: the machines of those servers.
pub(super) fn few_holders(world: &World, scope: &Scope, answering: &[&Machine]) -> Outcome {
    for machine in answering {
        for (call, token) in world.history.granted() {
            let before = world.history.granted().filter(|(other, known)| {
                *known < token
                    && lock_of(scope, *other) == lock_of(scope, call)
                    && holds(world, scope, *other, machine)
            });
            let mut holders: Vec<_> = before.map(|(other, _)| other).collect();
            holders.push(call);
            let most = holders.iter().map(|call| most_holders(scope, *call)).min();
            if most.is_some_and(|most| holders.len() > most) {
                return violation(format!("{holders:?} have the lock at once, and live"));
            }
        }
    }
    Ok(())
}

fn most_holders(scope: &Scope, (client, step): Call) -> usize {
    let step = scope.clients[usize::from(client)][usize::from(step)];
    usize::try_from(step.mode().most_holders()).unwrap_or(usize::MAX)
}

/// Whether the client was told so, has not given it back, and has the lock by what `machine` knows.
fn holds(world: &World, scope: &Scope, (client, step): Call, machine: &Machine) -> bool {
    let state = &world.clients[usize::from(client)];
    let steps = scope.clients[usize::from(client)];
    let Some(session) = state.record.filter(|_| !state.lost) else {
        return false;
    };
    let id = call_id(client, steps, step, session);
    let is_held = || matches!(machine.acquired(&id), Acquired::Granted(_));
    !state.may_have_released(steps, step) && machine.session(session).is_some() && is_held()
}

/// In a server's lock table every place is one of a living session, no more have the lock than each
/// of them was promised, and nobody waits who could come in.
pub(super) fn entries(
    world: &World,
    scope: &Scope,
    server: ServerId,
    machine: &Machine,
) -> Outcome {
    for lock in 0..LOCKS {
        let queue = machine.queue_of(&name_of(lock));
        let mut most = usize::MAX;
        let mut waits = false;
        for (before, ((session, seq), token)) in queue.entries.iter().enumerate() {
            let is_retained = token.is_some_and(|token| machine.retention(token).is_some());
            if machine.session(*session).is_none() && !is_retained {
                return violation(format!("{server} keeps a place for the dead: {queue:?}"));
            }
            let call = call_of(world, scope, *session, *seq);
            most = most.min(call.map_or(1, |call| most_holders(scope, call)));
            let has_room = !queue.unowned && before < most;
            if token.is_some() && (waits || !has_room) {
                return violation(format!(
                    "{server} grants it to too many, or out of turn: {queue:?}"
                ));
            }
            if token.is_none() && !waits && has_room {
                return violation(format!("{server} does not pass the lock on: {queue:?}"));
            }
            waits |= token.is_none();
        }
    }
    Ok(())
}

fn call_of(world: &World, scope: &Scope, session: SessionId, seq: Seq) -> Option<Call> {
    let mut clients = (0..).zip(&world.clients);
    let (client, _) = clients.find(|(_, client)| client.record == Some(session))?;
    let steps = scope.clients[usize::from(client)];
    let mut calls = (0..).zip(steps).filter(|(_, it)| it.is_call());
    calls.find_map(|(step, _)| {
        (call_id(client, steps, step, session).seq == seq).then_some((client, step))
    })
}

/// No poll waits at a primary for what the primary could tell it.
///
/// The exception is a grant that the answer to its own call tells: that answer has not arrived yet,
/// or has brought the token.
pub(super) fn are_notified(
    world: &World,
    scope: &Scope,
    server: ServerId,
    core: &Servant,
) -> Outcome {
    let Some(machine) = core.machine() else {
        return Ok(());
    };
    for state in &world.clients {
        let Some(session) = state.record else {
            continue;
        };
        let Some(since) = core.lets_wait(session) else {
            continue;
        };
        let notifications = machine.notifications(session, since, usize::MAX);
        let mut changes = notifications.changes.iter();
        let is_hidden = changes.any(|change| {
            let call = call_of(world, scope, session, change.acquired);
            let is_answered = call.is_some_and(|call| world.history.told(call).is_some());
            let is_known = call.and_then(|call| world.history.token(call)).is_some();
            change.contended || is_answered && !is_known
        });
        if is_hidden || !notifications.broken.is_empty() {
            return violation(format!(
                "{server} lets a poll wait, and has {notifications:?}"
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
        let Some(session) = state.record.filter(|_| state.epoch == world.epoch) else {
            continue;
        };
        if machine.session(session).is_none() {
            continue;
        }
        if state.lost && state.ended {
            return violation(format!(
                "client {client} is sent away, and lives at {server}"
            ));
        }
        for (step, it) in (0..).zip(*steps) {
            let call = (client, step);
            let queues = it.acquires().is_some();
            let comes_in = world.history.told(call) == Some(Said::Yes);
            if !queues || !comes_in || state.may_have_released(steps, step) {
                continue;
            }
            let known = world.history.token(call);
            let id = call_id(client, steps, step, session);
            let found = machine.acquired(&id);
            let is_broken = world.history.is_broken(call)
                || breaks(world, scope, call).any(|by| world.history.told(by) == Some(Said::Yes));
            let is_kept = match found {
                Acquired::Granted(token) => !is_broken && known.is_none_or(|known| known == token),
                Acquired::Queued => known.is_none(),
                Acquired::Ended => {
                    let notifications = machine.notifications(session, Revision(0), usize::MAX);
                    notifications.broken.contains(&id.seq)
                        && breaks(world, scope, call).next().is_some()
                }
                Acquired::Held => false,
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
