//! What comes of what happens.

use std::rc::Rc;

use super::super::{A, B};
use super::actions::Action;
use super::checks::Violation;
use super::clients::{self, Step};
use super::cores::{Caller, Cores, Drive, Late, Try};
use super::effects::Answered;
use super::history::{Call, Moment};
use super::network::{Conn, Flight, Message, PeerQuestion};
use super::scope::Scope;
use super::world::{Host, World};
use crate::engine::pair::core::{Event, Input, OutStream, ProbeId, Via};
use crate::engine::pair::protocol::FrameAnswer;
use crate::service::Request;
use crate::types::{ServerId, Token, View};

/// What a world is moved with.
pub(super) struct Context<'a> {
    pub(super) scope: &'a Scope,
    pub(super) cores: &'a mut Cores,
    /// What the servers reported, for the trace.
    pub(super) events: Vec<(ServerId, Event)>,
}

type Outcome = Result<(), Violation>;

impl World {
    /// Lets `action` happen.
    pub(super) fn act(&mut self, action: Action, context: &mut Context) -> Outcome {
        match action {
            Action::Deliver(at) => self.deliver(at, context)?,
            Action::Forth(at) => self.forth(at, context)?,
            Action::Back(at) => self.back(at, context)?,
            Action::LoseForth(at) => {
                self.conns[at].forth.break_off();
                self.forth(at, context)?;
            }
            Action::LoseBack(at) => {
                self.conns[at].back.break_off();
                self.back(at, context)?;
            }
            Action::Wake(server) => self.input(server, Input::Wake, None, context)?,
            Action::Beat(server) => self.drive(server, Drive::Beat, None, context)?,
            Action::Quiet(server) => self.drive(server, Drive::Quiet, None, context)?,
            Action::Timeout(server) => {
                self.host_mut(server.peer()).stopped = Some(Late::Long);
                self.drive(server, Drive::Timeout, None, context)?;
            }
            Action::Fade(client, server) => self.let_end(client, server, context)?,
            Action::Expire(client, server) => {
                self.budget.leases -= 1;
                self.let_end(client, server, context)?;
            }
            Action::RetentionEnds(token, server) => {
                if let Some(call) = self.history.granted_by(token) {
                    self.history.push(Moment::Elapsed(call));
                }
                self.drive(server, Drive::RetentionEnds(token), None, context)?;
            }
            Action::PollEnds(client, server) => {
                let session = self.clients[usize::from(client)].record;
                let drive = Drive::PollEnds(session.unwrap_or_default());
                self.drive(server, drive, None, context)?;
            }
            Action::Ask(client, server) => self.ask(client, server, context)?,
            Action::Restart(server) => self.restart(server, context)?,
            Action::Rouse(server, late) => {
                let host = self.host_mut(server);
                host.stopped = None;
                host.late = late;
            }
            Action::Stop(server) => {
                self.budget.stops -= 1;
                self.fail();
                self.host_mut(server).stopped = Some(Late::Voids);
            }
            Action::Halt(server) => {
                self.budget.halts -= 1;
                self.fail();
                self.halt(server, context);
            }
            Action::End(server) => {
                self.budget.ends -= 1;
                self.fail();
                self.input(server, Input::End, None, context)?;
            }
            Action::Exit(server) => self.halt(server, context),
            Action::Stick(at) => {
                self.budget.holes -= 1;
                self.conns[at].forth.stuck = true;
            }
            Action::Overdue(server) => self.drive(server, Drive::Overdue, None, context)?,
            Action::Unfed(server) => {
                // The backup is about to give its state up.
                self.failures = (self.failures + 1).min(2);
                self.drive(server, Drive::Unfed, None, context)?;
            }
            Action::Reset => self.reset(context),
            Action::Drop(client, step, at) => {
                self.budget.drops -= 1;
                self.give_up(client, step, at);
            }
            Action::Copy(client, step, server) => {
                self.budget.copies -= 1;
                let request = self.request(client, step, context.scope);
                let (to, via) = (Caller::Nobody, Via::Client);
                self.input(server, Input::Request { to, via, request }, None, context)?;
            }
            Action::LateFence(at) => {
                self.budget.fences -= 1;
                let (to, view) = self.fences[at];
                self.input(to, Input::ViewAnnounced { view }, None, context)?;
            }
        }
        self.tidy(context.cores);
        Ok(())
    }

    pub(super) fn fail(&mut self) {
        self.budget.failures -= 1;
        self.failures = (self.failures + 1).min(2);
    }

    pub(super) fn deliver(&mut self, at: usize, context: &mut Context) -> Outcome {
        let Flight { to, message } = self.flights.remove(at);
        let via = Via::Client;
        let (input, pending) = match message {
            Message::Probe {
                asks,
                link: stream,
                awaited,
            } => {
                let input = match asks {
                    PeerQuestion::Who(asker) => Input::Probe { stream, asker },
                    PeerQuestion::StepDown(view) => Input::Dismissed { stream, view },
                };
                (input, Some(Answered::Who { awaited }))
            }
            Message::Probed(result) => {
                let probe = ProbeId(0);
                (Input::Probed { probe, result }, None)
            }
            Message::Relay { who: to, request } => {
                let (via, request) = (Via::Peer, Rc::unwrap_or_clone(request));
                (Input::Request { to, via, request }, None)
            }
            Message::Relayed { who, result } => {
                let core = context.cores.look(self.host(to).core.expect("it runs"));
                let relays = &mut core.relays.callers();
                let relay = relays.find(|(_, to)| **to == Caller::Client(who));
                let Some((relay, _)) = relay else {
                    return Ok(());
                };
                (Input::Relayed { relay, result }, None)
            }
            Message::AnnounceView(view) => (Input::ViewAnnounced { view }, None),
            Message::Request { who, request } => {
                let (to, request) = (Caller::Client(who), Rc::unwrap_or_clone(request));
                (Input::Request { to, via, request }, None)
            }
        };
        self.input(to, input, pending, context)
    }

    pub(super) fn forth(&mut self, at: usize, context: &mut Context) -> Outcome {
        let conn = &mut self.conns[at];
        let (acceptor, stream) = (conn.from.peer(), conn.accepted);
        let Some((number, frame)) = conn.forth.queue.pop_front() else {
            conn.close_by_acceptor();
            return self.input(acceptor, Input::InStreamClosed { stream }, None, context);
        };
        let frame = Rc::unwrap_or_clone(frame);
        let pending = Some(Answered::Frame { at, number });
        self.input(acceptor, Input::Frame { stream, frame }, pending, context)
    }

    pub(super) fn back(&mut self, at: usize, context: &mut Context) -> Outcome {
        let conn = &mut self.conns[at];
        let dialler = conn.from;
        let stream = OutStream(0);
        let Some((frame, answer)) = conn.back.queue.pop_front() else {
            conn.close_by_dialler();
            return self.input(dialler, Input::OutStreamClosed { stream }, None, context);
        };
        if let FrameAnswer::HigherView { view } = answer {
            self.remember_fence(dialler, view);
        }
        let input = Input::FrameAnswered {
            stream,
            frame,
            answer,
        };
        self.input(dialler, input, None, context)
    }

    pub(super) fn remember_fence(&mut self, to: ServerId, view: View) {
        if self.budget.fences > 0 && !self.fences.contains(&(to, view)) {
            self.fences.push((to, view));
        }
    }

    pub(super) fn request(&self, client: u8, step: u8, scope: &Scope) -> Request {
        let steps = &scope.clients[usize::from(client)];
        let breaks = match steps[usize::from(step)] {
            Step::Break(holder, acquired) => self.lock_and_token((holder, acquired), scope),
            _ => None,
        };
        let state = &self.clients[usize::from(client)];
        clients::request(client, steps, step, state, breaks)
    }

    /// What was granted by a call, if its client was told.
    fn lock_and_token(&self, (client, step): Call, scope: &Scope) -> Option<(u8, Token)> {
        let lock = scope.clients[usize::from(client)][usize::from(step)].acquires()?;
        Some((lock, self.history.token((client, step))?))
    }

    /// The lease of a client's session is over at a server.
    fn let_end(&mut self, client: u8, server: ServerId, context: &mut Context) -> Outcome {
        let state = &mut self.clients[usize::from(client)];
        state.ended = true;
        let session = state.record.unwrap_or_default();
        self.history.push(Moment::Ended(client));
        self.drive(server, Drive::LeaseEnds(session), None, context)
    }

    pub(super) fn ask(&mut self, client: u8, server: ServerId, context: &mut Context) -> Outcome {
        let step = self.clients[usize::from(client)].done;
        let request = self.request(client, step, context.scope);
        let state = &mut self.clients[usize::from(client)];
        let slot = &mut state.slots[usize::from(step)][server.index()];
        slot.out = true;
        let who = Try {
            client,
            step,
            at: server,
            nth: slot.nth,
        };
        if !state.asked {
            state.asked = true;
            match context.scope.clients[usize::from(client)][usize::from(step)] {
                Step::Goodbye => self.history.push(Moment::Ended(client)),
                it if it.is_call() => self.history.push(Moment::Asked((client, step))),
                _ => {}
            }
        }
        if self.host(server).stopped.is_some() {
            let request = Rc::new(request);
            let message = Message::Request { who, request };
            self.flights.push(Flight {
                to: server,
                message,
            });
            return Ok(());
        }
        let (to, via) = (Caller::Client(who), Via::Client);
        self.input(server, Input::Request { to, via, request }, None, context)
    }

    /// The client does not wait for this try any more.
    pub(super) fn give_up(&mut self, client: u8, step: u8, at: ServerId) {
        let state = &mut self.clients[usize::from(client)];
        let slot = &mut state.slots[usize::from(step)][at.index()];
        if slot.out {
            slot.out = false;
            slot.nth += 1;
            state.unsure |= state.done == step;
        }
    }

    pub(super) fn restart(&mut self, server: ServerId, context: &mut Context) -> Outcome {
        let core = context.cores.start(server);
        self.host_mut(server).core = Some(core);
        self.input(server, Input::Wake, None, context)
    }

    /// SIGKILL: what it sent can still be read, what was sent to it is gone.
    pub(super) fn halt(&mut self, server: ServerId, context: &mut Context) {
        self.fail_relays(server.peer(), context.cores);
        *self.host_mut(server) = Host {
            core: None,
            stopped: None,
            late: Late::No,
        };
        for conn in &mut self.conns {
            if conn.from == server {
                conn.close_by_dialler();
            } else {
                conn.close_by_acceptor();
            }
        }
        for flight in std::mem::take(&mut self.flights) {
            if flight.to == server {
                let bounced = flight.bounce().filter(|flight| flight.to != server);
                self.flights.extend(bounced);
            } else {
                self.flights.push(orphaned(flight));
            }
        }
        for client in 0..u8::try_from(self.clients.len()).expect("few") {
            for step in 0..self.clients[usize::from(client)].slots.len() {
                self.give_up(client, u8::try_from(step).expect("few"), server);
            }
        }
    }

    /// Resets every connection between the servers: what is on the way is lost.
    pub(super) fn reset(&mut self, context: &mut Context) {
        self.budget.resets -= 1;
        self.conns.iter_mut().for_each(Conn::reset);
        let flights = std::mem::take(&mut self.flights).into_iter();
        self.flights = flights.filter_map(Flight::bounce).collect();
        self.fail_relays(A, context.cores);
        self.fail_relays(B, context.cores);
    }

    /// The connection breaks over which `server` relays.
    pub(super) fn fail_relays(&mut self, server: ServerId, cores: &Cores) {
        let Some(core) = self.host(server).core else {
            return;
        };
        let on_the_way = self.flights.iter();
        let answered: Vec<_> = on_the_way
            .filter_map(|flight| match flight.message {
                Message::Relayed { who, .. } if flight.to == server => Some(who),
                Message::Relay {
                    who: Caller::Relay(who),
                    ..
                } if flight.to != server => Some(who),
                _ => None,
            })
            .collect();
        for (_, caller) in cores.look(core).relays.callers() {
            let Caller::Client(who) = *caller else {
                continue;
            };
            if !answered.contains(&who) {
                let message = Message::Relayed { who, result: None };
                self.flights.push(Flight {
                    to: server,
                    message,
                });
            }
        }
    }
}

/// Nobody waits for its answer any more.
fn orphaned(mut flight: Flight) -> Flight {
    match &mut flight.message {
        Message::Relay { who, .. } => *who = Caller::Nobody,
        Message::Probe { awaited, .. } => *awaited = false,
        _ => {}
    }
    flight
}
