//! What must hold in every state, and for every answer.

use super::super::{A, B};
use super::clients::{self, Step};
use super::cores::{Cores, Look, Try};
use super::history::{Moment, Said};
use super::owned;
use super::scope::Scope;
use super::world::World;
use crate::machine::{DuplicateLookup, Machine};
use crate::service::{Acquired, Answer, Refusal, RoleName};
use crate::types::{ServerId, Token};

/// What is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation(pub(super) String);

type Outcome = Result<(), Violation>;

fn violation<V>(what: impl Into<String>) -> Result<V, Violation> {
    Err(Violation(what.into()))
}

/// A client is told the answer to a try.
pub(super) fn told(
    world: &mut World,
    of: Try,
    result: Result<Answer, Refusal>,
    scope: &Scope,
) -> Outcome {
    let epoch = world.epoch;
    let step = scope.clients[usize::from(of.client)][usize::from(of.step)];
    let client = &mut world.clients[usize::from(of.client)];
    let current = !client.lost && client.done == of.step;
    match result {
        Ok(Answer::Opened(opened)) => {
            // A relayed answer may have been on the way when a new pair was formed.
            let is_old = epoch > 0 && opened.session.0 < clients::base(epoch - 1).0;
            if current && !is_old {
                client.record = Some(opened.session);
                client.epoch = epoch;
                client.view = (step == Step::Session).then_some(opened.view);
                advance(world, of.client, scope);
            }
        }
        Ok(Answer::Call(outcome)) => said(world, of, outcome.into(), None, scope)?,
        Ok(Answer::Acquired(acquired)) => {
            let (outcome, token) = match acquired {
                Acquired::Granted(token) => (Said::Yes, Some(token)),
                Acquired::Queued => (Said::Yes, None),
                Acquired::Held => (Said::No, None),
                Acquired::Ended if current => {
                    return violation(format!("{of:?}: its place is gone, its session is not"));
                }
                Acquired::Ended => return Ok(()),
            };
            said(world, of, outcome, token, scope)?;
        }
        Ok(Answer::Notifications(notifications)) if !client.lost => {
            let is_met = client.view.replace(notifications.view) == Some(notifications.view);
            owned::notifications(world, of.client, &notifications.answer, scope)?;
            is_one_order(world, scope)?;
            let waits = step.waits() && !has_come(world, of.client, scope) || !is_met;
            if current && !waits {
                advance(world, of.client, scope);
            }
        }
        Ok(Answer::Done) if current => advance(world, of.client, scope),
        Ok(
            Answer::Done
            | Answer::Notifications(_)
            | Answer::Holdings(_)
            | Answer::Lock(_)
            | Answer::Page(_),
        )
        | Err(Refusal::NotReady) => {}
        Err(Refusal::Interrupted) => client.unsure |= current,
        Err(Refusal::Owned) if matches!(step, Step::Unlock(_)) => {
            said(world, of, Said::Owned, None, scope)?;
        }
        Err(Refusal::UnknownSession) if client.ended => client.lost |= !client.is_finished(),
        Err(refusal) => {
            let said_goodbye = client.is_finished();
            if current && !said_goodbye {
                return violation(format!("{of:?} is refused: {refusal}"));
            }
        }
    }
    Ok(())
}

/// A client is told what came of a call, and the token if it holds a lock now.
fn said(world: &mut World, of: Try, outcome: Said, token: Option<Token>, scope: &Scope) -> Outcome {
    let call = (of.client, of.step);
    let client = &world.clients[usize::from(of.client)];
    if client.lost {
        return Ok(());
    }
    if let Some(token) = token {
        owned::granted(world, call, token, scope)?;
    }
    let client = &world.clients[usize::from(of.client)];
    if client.done == of.step {
        world.history.push(Moment::Told(call, outcome));
        advance(world, of.client, scope);
    } else if world
        .history
        .told(call)
        .is_some_and(|before| before != outcome)
    {
        return violation(format!("{of:?}: two answers to one call"));
    }
    is_one_order(world, scope)
}

fn is_one_order(world: &World, scope: &Scope) -> Outcome {
    if !world.history.is_explained(&scope.steps()) {
        return violation(format!("no one order explains {:?}", world.history));
    }
    Ok(())
}

/// The client goes on with its next step, past waiting for what it has already.
fn advance(world: &mut World, number: u8, scope: &Scope) {
    let client = &mut world.clients[usize::from(number)];
    if !scope.hears_all {
        for slot in &mut client.slots[usize::from(client.done)] {
            slot.out = false;
        }
    }
    client.done += 1;
    client.asked = false;
    client.unsure = false;
    if has_come(world, number, scope) {
        advance(world, number, scope);
    }
}

/// Whether the client's next step is to wait for what it has.
fn has_come(world: &World, number: u8, scope: &Scope) -> bool {
    let steps = scope.clients[usize::from(number)];
    let done = world.clients[usize::from(number)].done;
    let mut before = (0..done).zip(steps);
    match steps.get(usize::from(done)) {
        Some(Step::Await) => before.all(|(at, step)| {
            step.acquires().is_none() || world.history.token((number, at)).is_some()
        }),
        Some(Step::Lose) => before.any(|(at, _)| world.history.is_broken((number, at))),
        _ => false,
    }
}

/// A primary answers. It must be one of the newest pair.
pub(super) fn answers(world: &World, server: ServerId, cores: &Cores) -> Outcome {
    let core = world.host(server).core.map(|core| cores.look(core));
    let Some(primary) = core.filter(|core| core.is_primary()) else {
        return Ok(());
    };
    let op = primary.status_now().op;
    if world.epoch > 0 && op < clients::base(world.epoch - 1) {
        return violation(format!("{server} answers from an old pair"));
    }
    Ok(())
}

/// Checks a state.
pub(super) fn check(world: &World, scope: &Scope, cores: &Cores) -> Outcome {
    let look = |server: ServerId| Some(cores.look(world.host(server).core?));
    let role = |server| look(server).map(|core| core.status_now().role);
    if role(A) == Some(RoleName::Standalone) && role(B) == Some(RoleName::Standalone) {
        return violation("both servers answer, apart from each other");
    }
    let mut answering = Vec::new();
    for server in [A, B] {
        let Some(core) = look(server) else { continue };
        let Some(machine) = core.machine() else {
            continue;
        };
        owned::are_notified(world, scope, server, core)?;
        owned::entries(world, scope, server, machine)?;
        never_ran(world, scope, server, machine)?;
        let answers = role(server) == Some(RoleName::Standalone);
        if answers {
            nothing_acknowledged_is_missing(world, scope, server, machine)?;
            is_explained(world, scope, cores, (server, machine))?;
            answering.push(machine);
        }
    }
    if world.is_whole(cores) {
        for server in [A, B] {
            let machine = look(server).and_then(Look::machine);
            let machine = machine.expect("a whole pair has machines");
            nothing_acknowledged_is_missing(world, scope, server, machine)?;
            if role(server) == Some(RoleName::Primary) {
                is_explained(world, scope, cores, (server, machine))?;
                answering.push(machine);
            }
        }
    }
    owned::few_holders(world, scope, &answering)
}

/// Everything that was acknowledged is in `machine`, with its outcome.
fn nothing_acknowledged_is_missing(
    world: &World,
    scope: &Scope,
    server: ServerId,
    machine: &Machine,
) -> Outcome {
    owned::are_kept(world, scope, server, machine)?;
    for (client, steps) in (0..).zip(scope.clients) {
        let state = &world.clients[usize::from(client)];
        let Some(session) = state.record.filter(|_| !state.lost) else {
            continue;
        };
        let leaving = steps.iter().position(|step| *step == Step::Goodbye);
        let left = leaving.is_some_and(|at| state.has_asked(at));
        if left || state.epoch != world.epoch {
            continue;
        }
        if machine.session(session).is_none() {
            if state.ended {
                continue;
            }
            return violation(format!("{server} lacks the record of client {client}"));
        }
        for (call, outcome) in world
            .history
            .answered()
            .filter(|(call, _)| call.0 == client)
        {
            let id = clients::call_id(client, steps, call.1, session);
            let recall = machine.find_duplicate(&id);
            let known = match recall {
                DuplicateLookup::Done(known) => outcome == known.into(),
                DuplicateLookup::Refused(_) => true,
                DuplicateLookup::Fresh => outcome == Said::Owned,
            };
            if !known {
                return violation(format!(
                    "{server} says {recall:?} of {call:?}, answered {outcome:?}"
                ));
            }
        }
    }
    Ok(())
}

/// The locks that `machine` holds are those to which the calls lead that were answered, in one
/// order.
fn is_explained(
    world: &World,
    scope: &Scope,
    cores: &Cores,
    (server, machine): (ServerId, &Machine),
) -> Outcome {
    let records: Vec<_> = world.clients.iter().map(|client| client.record).collect();
    if !cores.is_new(&(&world.history, &records, machine.digest())) {
        return Ok(());
    }
    if !world.history.explains(&scope.steps(), &records, machine) {
        return violation(format!(
            "no one order of {:?} leads to the locks of {server}, which answers",
            world.history
        ));
    }
    Ok(())
}

/// A step of which every try was refused as not executed, is not executed.
fn never_ran(world: &World, scope: &Scope, server: ServerId, machine: &Machine) -> Outcome {
    for (client, steps) in (0..).zip(scope.clients) {
        let state = &world.clients[usize::from(client)];
        let (Some(session), false) = (state.record, state.is_finished()) else {
            continue;
        };
        let out = state.slots[usize::from(state.done)];
        let may_run = state.unsure || out.iter().any(|slot| slot.out);
        if !steps[usize::from(state.done)].is_call() || !state.asked || may_run {
            continue;
        }
        let id = clients::call_id(client, steps, state.done, session);
        if matches!(machine.find_duplicate(&id), DuplicateLookup::Done(_)) {
            return violation(format!(
                "{server} has executed what was refused as not executed"
            ));
        }
    }
    Ok(())
}
