//! What can happen next.

use super::super::{A, B};
use super::clients::{LOCKS, Step, name_of};
use super::cores::{Cores, Late, Look as _};
use super::scope::Scope;
use super::world::World;
use crate::types::{ServerId, Token};

/// What can happen. The numbers are places in the world's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Deliver(usize),
    Forth(usize),
    Back(usize),
    /// The end of a link overtakes what its dead sender had sent.
    LoseForth(usize),
    LoseBack(usize),
    Wake(ServerId),
    Beat(ServerId),
    Quiet(ServerId),
    Timeout(ServerId),
    /// The lease of a client's session ends at a server. The client has nothing more to do.
    Fade(u8, ServerId),
    /// It ends although the client would go on.
    Expire(u8, ServerId),
    /// The time is over for which a server retains a lock.
    RetentionEnds(Token, ServerId),
    /// A poll that waits at a server has waited long enough.
    PollEnds(u8, ServerId),
    Ask(u8, ServerId),
    Restart(ServerId),
    Rouse(ServerId, Late),
    Stop(ServerId),
    Halt(ServerId),
    /// It is asked to end, and begins to hand over.
    End(ServerId),
    /// It has handed over, and ends.
    Exit(ServerId),
    /// Nothing more gets through on a link, whose ends do not notice.
    Stick(usize),
    /// A frame on such a link is not acknowledged for a `peer_timeout`; or several are not, and the
    /// backup is let go.
    Overdue(ServerId),
    Unfed(ServerId),
    Reset,
    Drop(u8, u8, ServerId),
    Copy(u8, u8, ServerId),
    LateFence(usize),
}

impl Action {
    /// Whether it is something that goes wrong, which nobody may wait for.
    pub(super) const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Stop(_)
                | Self::Halt(_)
                | Self::End(_)
                | Self::Stick(_)
                | Self::Reset
                | Self::Drop(..)
                | Self::Copy(..)
                | Self::LateFence(_)
                | Self::Expire(..)
                | Self::LoseForth(_)
                | Self::LoseBack(_)
        )
    }
}

impl World {
    /// Everything that can happen now.
    pub(super) fn actions(&self, scope: &Scope, cores: &Cores) -> Vec<Action> {
        let mut actions = Vec::new();
        self.deliveries(&mut actions);
        let still = actions.is_empty();
        for server in [A, B] {
            self.times(server, still, scope, cores, &mut actions);
            self.sessions(server, cores, &mut actions);
            self.faults(server, scope, cores, &mut actions);
        }
        self.asks(scope, &mut actions);
        if self.budget.resets > 0 && !(self.is_halted(A) && self.is_halted(B)) {
            actions.push(Action::Reset);
        }
        actions
    }

    pub(super) fn deliveries(&self, actions: &mut Vec<Action>) {
        for (at, flight) in self.flights.iter().enumerate() {
            if self.runs(flight.to) {
                actions.push(Action::Deliver(at));
            }
        }
        for (at, conn) in self.conns.iter().enumerate() {
            let (dialler, acceptor) = (conn.from, conn.from.peer());
            if self.runs(acceptor) && conn.forth.is_ready() {
                actions.push(Action::Forth(at));
                if conn.forth.ended && !conn.forth.queue.is_empty() {
                    actions.push(Action::LoseForth(at));
                }
            }
            if self.runs(dialler) && conn.back.is_ready() {
                actions.push(Action::Back(at));
                if conn.back.ended && !conn.back.queue.is_empty() {
                    actions.push(Action::LoseBack(at));
                }
            }
        }
        if self.budget.holes > 0 {
            let open = self.conns.iter().enumerate();
            let open = open.filter(|(_, conn)| {
                conn.forth.read && conn.back.read && !conn.forth.ended && !conn.forth.stuck
            });
            actions.extend(open.map(|(at, _)| Action::Stick(at)));
        }
        if self.budget.fences > 0 {
            let late = self.fences.iter().enumerate();
            let late = late.filter(|(_, (to, _))| self.runs(*to));
            actions.extend(late.map(|(at, _)| Action::LateFence(at)));
        }
    }

    /// `still`: nothing is on the way that could arrive.
    pub(super) fn times(
        &self,
        server: ServerId,
        still: bool,
        scope: &Scope,
        cores: &Cores,
        actions: &mut Vec<Action>,
    ) {
        let host = self.host(server);
        let Some(core) = host.core.filter(|_| host.stopped.is_none()) else {
            return;
        };
        if host.late != Late::No {
            return actions.push(Action::Wake(server));
        }
        let core = cores.look(core);
        let mut links = self.conns.iter();
        let is_stuck = links.any(|conn| conn.from == server && conn.back.read && conn.forth.stuck);
        if is_stuck && core.has_payload_under_way() {
            actions.extend([Action::Overdue(server), Action::Unfed(server)]);
        }
        let peer_is_stopped = self.host(server.peer()).stopped.is_some();
        if (scope.beats || still) && core.has_stream() {
            actions.push(Action::Beat(server));
        }
        if !core.has_stream() || peer_is_stopped || scope.idle_probes || still {
            actions.push(Action::Quiet(server));
        }
        // What is on the way arrives long before a timeout; only silence makes one.
        if peer_is_stopped && !self.hears_something(server) {
            actions.push(Action::Timeout(server));
        }
    }

    /// What time does to sessions at a server.
    fn sessions(&self, server: ServerId, cores: &Cores, actions: &mut Vec<Action>) {
        let host = self.host(server);
        let awake = host.stopped.is_none() && host.late == Late::No;
        let Some(core) = host.core.filter(|_| awake).map(|core| cores.look(core)) else {
            return;
        };
        for token in core.retentions() {
            actions.push(Action::RetentionEnds(token, server));
        }
        for (client, state) in (0..).zip(&self.clients) {
            let Some(session_id) = state.record else {
                continue;
            };
            if core.lets_wait(session_id).is_some() {
                actions.push(Action::PollEnds(client, server));
            }
            let has_place = || {
                let locks =
                    (0..LOCKS).map(|lock| core.machine().map(|it| it.queue_of(&name_of(lock))));
                let mut places = locks.flatten().flat_map(|queue| queue.entries);
                places.any(|((session, _), _)| session == session_id)
            };
            if !core.leases(session_id) {
                continue;
            }
            if !state.is_finished() && self.budget.leases > 0 {
                actions.push(Action::Expire(client, server));
            }
            if state.is_finished() && has_place() {
                actions.push(Action::Fade(client, server));
            }
        }
    }

    pub(super) fn hears_something(&self, server: ServerId) -> bool {
        let by_link = self.conns.iter().any(|conn| {
            if conn.from == server {
                conn.back.is_ready()
            } else {
                conn.forth.is_ready()
            }
        });
        by_link || self.flights.iter().any(|flight| flight.to == server)
    }

    pub(super) fn faults(
        &self,
        server: ServerId,
        scope: &Scope,
        cores: &Cores,
        actions: &mut Vec<Action>,
    ) {
        let host = self.host(server);
        let Some(core) = host.core.map(|core| cores.look(core)) else {
            return actions.push(Action::Restart(server));
        };
        if core.is_retired() && host.stopped.is_none() {
            actions.push(Action::Exit(server));
        }
        if let Some(least) = host.stopped {
            let late = [Late::Voids, Late::Doubts, Late::Long].into_iter();
            let late = late.filter(|late| *late >= least);
            actions.extend(late.map(|late| Action::Rouse(server, late)));
        }
        let budget = &self.budget;
        if budget.failures == 0 {
            return;
        }
        if budget.halts > 0 && scope.halting.contains(&server) {
            actions.push(Action::Halt(server));
        }
        if budget.stops > 0 && scope.stopping.contains(&server) && host.stopped.is_none() {
            actions.push(Action::Stop(server));
        }
        if budget.ends > 0 && scope.ending.contains(&server) && host.stopped.is_none() {
            actions.push(Action::End(server));
        }
    }

    pub(super) fn asks(&self, scope: &Scope, actions: &mut Vec<Action>) {
        for (client, state) in (0..).zip(&self.clients) {
            for server in scope.asked.iter().copied() {
                if state.is_finished() || self.is_halted(server) {
                    continue;
                }
                let step = scope.clients[usize::from(client)][usize::from(state.done)];
                if let Step::Break(holder, acquired) = step
                    && self.history.token((holder, acquired)).is_none()
                {
                    continue;
                }
                if !state.slots[usize::from(state.done)][server.index()].out {
                    actions.push(Action::Ask(client, server));
                }
            }
            let steps = u8::try_from(state.slots.len()).expect("few");
            for server in scope.asked.iter().copied() {
                for step in 0..steps {
                    let slot = state.slots[usize::from(step)][server.index()];
                    if self.budget.drops > 0 && slot.out {
                        actions.push(Action::Drop(client, step, server));
                    }
                    if self.budget.copies > 0 && step < state.done && self.runs(server) {
                        actions.push(Action::Copy(client, step, server));
                    }
                }
            }
        }
    }

    /// What `action` is about, for a trace.
    pub(super) fn tell(&self, action: Action) -> String {
        match action {
            Action::Deliver(at) => {
                let flight = &self.flights[at];
                format!("{} reads {:?}", flight.to, flight.message)
            }
            Action::Forth(at) | Action::LoseForth(at) => {
                let conn = &self.conns[at];
                let head = conn.forth.queue.front();
                format!("{action:?}: {} reads {head:?}", conn.from.peer())
            }
            Action::Back(at) | Action::LoseBack(at) => {
                let conn = &self.conns[at];
                let head = conn.back.queue.front();
                format!("{action:?}: {} reads {head:?}", conn.from)
            }
            other => format!("{other:?}"),
        }
    }
}
