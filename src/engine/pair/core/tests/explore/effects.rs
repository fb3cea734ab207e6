//! Hands something to a server, and carries out what the server wants.

use std::rc::Rc;

use super::acts::Context;
use super::checks::{self, Violation};
use super::clients::{self, slot_of};
use super::cores::{Caller, Deed, Drive, Late, Look as _, Moved, Try};
use super::names::FLOOR;
use super::network::{Conn, Flight, Message, PeerQuestion};
use super::world::World;
use crate::engine::pair::core::{
    Event, FailureCause, FrameNumber, InStream, Input, ProbeResult, StepDownReason,
};
use crate::engine::pair::protocol::Frame;
use crate::service::{Answer, Refusal, Request};
use crate::types::ServerId;

type Outcome = Result<(), Violation>;

/// What a step answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answered {
    Frame { at: usize, number: FrameNumber },
    Who { awaited: bool },
}

impl World {
    pub(super) fn input(
        &mut self,
        server: ServerId,
        input: Input<Caller>,
        pending: Option<Answered>,
        context: &mut Context,
    ) -> Outcome {
        let late = std::mem::replace(&mut self.host_mut(server).late, Late::No);
        self.drive(server, Drive::Input(late, input), pending, context)
    }

    pub(super) fn drive(
        &mut self,
        server: ServerId,
        drive: Drive,
        pending: Option<Answered>,
        context: &mut Context,
    ) -> Outcome {
        let Some(core) = self.host(server).core else {
            return Ok(());
        };
        let starting = context.cores.look(core).is_starting();
        let base = clients::base(if starting { self.epoch } else { 0 });
        let moved = context.cores.drive(core, drive, base);
        self.host_mut(server).core = Some(moved.core);
        self.rename_frames(server, &moved);
        for deed in &moved.deeds {
            self.perform(server, deed, pending, context)?;
        }
        self.rename_links(server, &moved);
        Ok(())
    }

    pub(super) fn rename_frames(&mut self, server: ServerId, moved: &Moved) {
        let unknown = FrameNumber(u64::MAX);
        for conn in &mut self.conns {
            if conn.from == server && conn.back.read {
                let forth = conn.forth.queue.iter_mut().map(|(number, _)| number);
                let back = conn.back.queue.iter_mut().map(|(number, _)| number);
                forth.chain(back).for_each(|number| {
                    *number = moved.names.frame(*number).unwrap_or(unknown);
                });
            }
        }
    }

    pub(super) fn rename_links(&mut self, server: ServerId, moved: &Moved) {
        for stream in self.accepted(server) {
            *stream = moved
                .names
                .in_link(*stream)
                .unwrap_or(InStream(stream.0 + FLOOR.0));
        }
    }

    /// The name of the next connection that `server` accepts.
    pub(super) fn next_link(&mut self, server: ServerId) -> InStream {
        let newest = self.accepted(server).map(|stream| stream.0).max();
        InStream(newest.unwrap_or(0).max(FLOOR.0) + 1)
    }

    pub(super) fn perform(
        &mut self,
        me: ServerId,
        effect: &Deed,
        pending: Option<Answered>,
        context: &mut Context,
    ) -> Outcome {
        let peer = me.peer();
        if matches!(effect, Deed::Reply(_, Ok(_))) {
            checks::answers(self, me, context.cores)?;
        }
        match effect {
            Deed::Reply(Caller::Client(of), result) => self.reply(*of, result.clone(), context)?,
            Deed::Reply(Caller::Relay(who), result) => {
                let (who, result) = (*who, Some(result.clone()));
                self.send(peer, Message::Relayed { who, result });
            }
            Deed::Reply(Caller::Nobody, _) => {}
            Deed::FrameAnswer(answer) => {
                if let Some(Answered::Frame { at, number }) = pending {
                    self.conns[at].back.send((number, *answer));
                }
            }
            Deed::Introduction(introduction) => {
                if let Some(Answered::Who { awaited: true }) = pending {
                    let answered = ProbeResult::Answered(*introduction);
                    self.send(peer, Message::Probed(answered));
                }
            }
            Deed::OpenLink(number, frame) => self.open(me, *number, frame),
            Deed::Send(number, frame) => {
                if let Some(conn) = self.out_link(me) {
                    conn.forth.send((*number, frame.clone()));
                }
            }
            Deed::CloseOutLink => {
                self.out_link(me)
                    .into_iter()
                    .for_each(Conn::close_by_dialler);
            }
            Deed::CloseInLink(stream) => {
                let conns = self.conns.iter_mut();
                let closed = conns.filter(|conn| conn.from == peer && conn.accepted == *stream);
                closed.for_each(Conn::close_by_acceptor);
            }
            Deed::Probe(asks) => self.probe(me, *asks),
            Deed::Fence(view) => {
                self.remember_fence(peer, *view);
                self.send(peer, Message::AnnounceView(*view));
            }
            Deed::Relay(caller, request) => self.relay(me, *caller, request),
            Deed::Event(event) => self.report(me, event, context)?,
        }
        Ok(())
    }

    pub(super) fn probe(&mut self, me: ServerId, asks: PeerQuestion) {
        self.void_probe(me);
        if self.is_halted(me.peer()) {
            let message = Message::Probed(ProbeResult::Refused);
            return self.flights.push(Flight { to: me, message });
        }
        let stream = self.next_link(me.peer());
        let awaited = true;
        self.send(
            me.peer(),
            Message::Probe {
                asks,
                link: stream,
                awaited,
            },
        );
    }

    pub(super) fn relay(&mut self, me: ServerId, caller: Caller, request: &Rc<Request>) {
        let who = match caller {
            Caller::Client(who) => who,
            // Nobody notices when a copy that nobody waits for gets lost.
            Caller::Relay(_) | Caller::Nobody => return,
        };
        if self.is_halted(me.peer()) {
            let message = Message::Relayed { who, result: None };
            return self.flights.push(Flight { to: me, message });
        }
        let (who, request) = (Caller::Relay(who), request.clone());
        self.send(me.peer(), Message::Relay { who, request });
    }

    pub(super) fn send(&mut self, to: ServerId, message: Message) {
        let flight = Flight { to, message };
        if !self.is_halted(to) && !self.flights.contains(&flight) {
            self.flights.push(flight);
        }
    }

    pub(super) fn out_link(&mut self, me: ServerId) -> Option<&mut Conn> {
        let mut conns = self.conns.iter_mut();
        conns.find(|conn| conn.from == me && conn.back.read)
    }

    pub(super) fn open(&mut self, me: ServerId, number: FrameNumber, frame: &Rc<Frame>) {
        self.out_link(me)
            .into_iter()
            .for_each(Conn::close_by_dialler);
        let accepted = self.next_link(me.peer());
        let mut conn = Conn::new(me, accepted);
        if self.is_halted(me.peer()) {
            conn.close_by_acceptor();
        } else {
            conn.forth.send((number, frame.clone()));
        }
        self.conns.push(conn);
    }

    /// The probe of `me`, if there is one, is not waited for any more. The question may still be
    /// read; one such question stays on the way at the most, the newest.
    pub(super) fn void_probe(&mut self, me: ServerId) {
        let is_question = |flight: &Flight, wanted: bool| {
            let who =
                matches!(&flight.message, Message::Probe { awaited, .. } if *awaited == wanted);
            who && flight.to != me
        };
        if self.flights.iter().any(|flight| is_question(flight, true)) {
            self.flights.retain(|flight| !is_question(flight, false));
        }
        self.flights
            .retain(|flight| flight.to != me || !matches!(flight.message, Message::Probed(_)));
        for flight in &mut self.flights {
            if flight.to != me
                && let Message::Probe { awaited, .. } = &mut flight.message
            {
                *awaited = false;
            }
        }
    }

    pub(super) fn reply(
        &mut self,
        of: Try,
        result: Result<Answer, Refusal>,
        context: &mut Context,
    ) -> Outcome {
        let slot = slot_of(&mut self.clients, of);
        if !slot.out || slot.nth != of.nth {
            return Ok(());
        }
        slot.out = false;
        checks::told(self, of, result, context.scope)
    }

    pub(super) fn report(&mut self, me: ServerId, event: &Event, context: &mut Context) -> Outcome {
        context.events.push((me, event.clone()));
        match event {
            Event::Formed { .. } | Event::FormedStandalone { .. } => self.form(),
            Event::SteppedDown {
                reason: StepDownReason::Diverged { .. },
                ..
            }
            | Event::WentStandalone {
                cause: FailureCause::Diverged,
                ..
            } => Err(Violation(format!("{me} found a divergence: {event}"))),
            Event::WentStandalone { view, .. }
            | Event::TookOver { view, .. }
            | Event::BackupJoining { view } => {
                let most = context.scope.views;
                if view.number > most {
                    return Err(Violation(format!(
                        "{me} makes view {view}, which no failure explains"
                    )));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A new pair begins, with nothing in it.
    pub(super) fn form(&mut self) -> Outcome {
        let loses = self.history.answered().next().is_some()
            || self.clients.iter().any(|client| client.record.is_some());
        if loses && self.failures < 2 {
            return Err(Violation("an empty pair after one failure".into()));
        }
        self.epoch += 1;
        self.history.clear();
        for client in &mut self.clients {
            client.lost |= client.record.is_some() && !client.is_finished();
        }
        Ok(())
    }
}
