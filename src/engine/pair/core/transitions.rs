//! Every change of role or view. Each makes a new view, or gives the old one up, in one step.

use super::primary::{Primary, ReplicationMode};
use super::receiver::{Backup, Starting};
use super::replication_queue::ReplicationQueue;
use super::waiting::{PendingAnswer, Waiting};
use super::{Core, Effect, Event, FailureCause, Now, Role, StepDownReason};
use crate::engine::leader::Leader;
use crate::engine::pair::protocol::StreamPurpose;
use crate::machine::Machine;
use crate::types::{ClusterId, OpNumber, View};

impl<T> Core<T> {
    pub(super) fn peer_is_dead(
        &mut self,
        now: Now,
        cause: FailureCause,
        effects: &mut Vec<Effect<T>>,
    ) {
        // [M8] An unconfirmed server may have an old state, and must not go on with it.
        if self.detector.is_unconfirmed() {
            return self.step_down(now, StepDownReason::Unconfirmed(cause), effects);
        }
        match &self.role {
            Role::Starting(_) | Role::Retired(_) => {}
            Role::Primary(_) => self.go_standalone(now, cause, effects),
            Role::Backup(_) => self.take_over(now, cause, effects),
        }
    }

    /// Forms a pair with a peer whose numbers are at most `theirs`.
    pub(super) fn form(&mut self, now: Now, theirs: OpNumber, effects: &mut Vec<Effect<T>>) {
        let view = View::first(self.settings.me);
        let base = self.base(now).max(theirs.next());
        let machine = self.empty_machine(base);
        let cluster = machine.cluster();
        let mut primary = Primary::standalone(view, machine, &self.settings, now);
        primary.mode = ReplicationMode::Replicated {
            queue: ReplicationQueue::new(base),
            waiting: Waiting::new(),
        };
        self.enter(
            now,
            Role::Primary(Box::new(primary)),
            Event::Formed { view },
            effects,
        );
        self.open_stream(now, StreamPurpose::Form { base, cluster }, effects);
        self.execute_relays(now, effects);
    }

    pub(super) fn form_standalone(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let view = View::first(self.settings.me);
        let machine = self.empty_machine(self.base(now));
        let primary = Primary::standalone(view, machine, &self.settings, now);
        self.enter(
            now,
            Role::Primary(Box::new(primary)),
            Event::FormedStandalone { view },
            effects,
        );
        self.execute_relays(now, effects);
    }

    /// The state of a cluster that begins.
    fn empty_machine(&self, base: OpNumber) -> Machine {
        let cluster = ClusterId::formed_at(base, self.settings.cluster_seed);
        Machine::new(base).of_cluster(cluster)
    }

    /// Where the op numbers of a new pair begin: at the wall clock, above all that this server has
    /// given.
    pub(super) fn base(&self, now: Now) -> OpNumber {
        self.settings.wall_clock(now).max(self.highest.next())
    }

    fn go_standalone(&mut self, now: Now, cause: FailureCause, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let since = match &primary.mode {
            ReplicationMode::Standalone { .. } => return,
            ReplicationMode::Replicated { queue, .. } => queue.acked(),
        };
        let alone = ReplicationMode::Standalone { since, sync: None };
        let ReplicationMode::Replicated { mut queue, waiting } =
            std::mem::replace(&mut primary.mode, alone)
        else {
            return;
        };
        primary.view = primary.view.next(self.settings.me);
        let view = primary.view;
        effects.extend(queue.close().map(Effect::CloseOutStream));
        effects.push(Effect::Event(Event::WentStandalone { view, cause }));
        let replies = waiting.into_all().map(PendingAnswer::into_reply);
        effects.extend(replies.map(Effect::Reply));
        self.detector.restart(now);
        self.detector.back_off(now);
    }

    fn take_over(&mut self, now: Now, cause: FailureCause, effects: &mut Vec<Effect<T>>) {
        let Some(Backup {
            view,
            machine,
            stream,
        }) = self.leave_backup()
        else {
            return;
        };
        effects.extend(stream.map(Effect::CloseInStream));
        let view = view.next(self.settings.me);
        let op = machine.op();
        let primary = Primary::standalone(view, machine, &self.settings, now);
        let event = Event::TookOver { view, op, cause };
        self.enter(now, Role::Primary(Box::new(primary)), event, effects);
        self.detector.back_off(now);
        self.execute_relays(now, effects);
    }

    fn leave_backup(&mut self) -> Option<Backup> {
        match std::mem::replace(&mut self.role, Role::Starting(Starting::new())) {
            Role::Backup(backup) => Some(backup),
            other => {
                self.role = other;
                None
            }
        }
    }

    pub(super) fn step_down(
        &mut self,
        now: Now,
        reason: StepDownReason,
        effects: &mut Vec<Effect<T>>,
    ) {
        if matches!(self.role, Role::Starting(_) | Role::Retired(_)) {
            return;
        }
        let role = std::mem::replace(&mut self.role, Role::Starting(Starting::new()));
        let (view, highest, waiting, leader) = match role {
            Role::Starting(_) | Role::Retired(_) => return,
            Role::Primary(primary) => {
                self.dropped = primary.unshared();
                let (queue, waiting) = match primary.mode {
                    ReplicationMode::Standalone { sync, .. } => (sync, None),
                    ReplicationMode::Replicated { queue, waiting } => (Some(queue), Some(waiting)),
                };
                let stream = queue.and_then(|mut queue| queue.close());
                effects.extend(stream.map(Effect::CloseOutStream));
                let leader = Some(primary.leader);
                (primary.view, primary.machine.highest(), waiting, leader)
            }
            Role::Backup(backup) => {
                effects.extend(backup.stream.map(Effect::CloseInStream));
                (backup.view, backup.machine.highest(), None, None)
            }
        };
        self.highest = self.highest.max(highest);
        self.detector.restart(now);
        effects.push(Effect::Event(Event::SteppedDown {
            view,
            reason,
            dropped: self.dropped,
        }));
        for pending in waiting.into_iter().flat_map(Waiting::into_all) {
            self.reroute(pending.request, effects);
        }
        for poll in leader.into_iter().flat_map(Leader::into_polls) {
            self.reroute(poll.into_request(), effects);
        }
        self.probe_if_due(now, effects);
    }

    pub(super) fn view_announced(&mut self, now: Now, view: View, effects: &mut Vec<Effect<T>>) {
        // [M7] A late copy of an old fence must change nothing.
        if self.peer_state().view().is_some_and(|own| view > own) {
            self.step_down(now, StepDownReason::HigherView(view), effects);
        }
    }

    /// Takes a role. A change of role or view voids a probe.
    pub(super) fn enter(
        &mut self,
        now: Now,
        role: Role<T>,
        event: Event,
        effects: &mut Vec<Effect<T>>,
    ) {
        self.role = role;
        self.dropped = None;
        self.detector.restart(now);
        effects.push(Effect::Event(event));
    }
}
