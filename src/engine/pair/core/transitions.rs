//! Every change of role or view. Each makes a new view, or gives the old one up, in one step.

use super::outbox::Outbox;
use super::polls::Polls;
use super::primary::{Mode, Primary};
use super::receiver::{Backup, Starting};
use super::waiting::{Pending, Waiting};
use super::{Core, Death, Descent, Effect, Event, Now, Role};
use crate::engine::pair::protocol::LinkPurpose;
use crate::machine::Machine;
use crate::types::{ClusterId, OpNumber, View};

impl<T> Core<T> {
    pub(super) fn peer_is_dead(&mut self, now: Now, death: Death, effects: &mut Vec<Effect<T>>) {
        // [M8] Whoever is in doubt may hold an old state, and must not go on with it.
        if self.watch.is_in_doubt() {
            return self.step_down(now, Descent::Doubt(death), effects);
        }
        match &self.role {
            Role::Starting(_) | Role::Retired(_) => {}
            Role::Primary(_) => self.go_alone(now, death, effects),
            Role::Backup(_) => self.take_over(now, death, effects),
        }
    }

    /// Forms a pair with a peer whose numbers are at most `theirs`.
    pub(super) fn form(&mut self, now: Now, theirs: OpNumber, effects: &mut Vec<Effect<T>>) {
        let view = View::first(self.settings.me);
        let base = self.base(now).max(theirs.next());
        let machine = self.empty_machine(base);
        let cluster = machine.cluster();
        let mut primary = Primary::alone(view, machine, &self.settings, now);
        primary.mode = Mode::Paired {
            outbox: Outbox::new(base),
            waiting: Waiting::new(),
        };
        self.enter(
            now,
            Role::Primary(Box::new(primary)),
            Event::Formed { view },
            effects,
        );
        self.open_link(now, LinkPurpose::Form { base, cluster }, effects);
        self.execute_relays(now, effects);
    }

    pub(super) fn form_alone(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let view = View::first(self.settings.me);
        let machine = self.empty_machine(self.base(now));
        let primary = Primary::alone(view, machine, &self.settings, now);
        self.enter(
            now,
            Role::Primary(Box::new(primary)),
            Event::FormedAlone { view },
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

    fn go_alone(&mut self, now: Now, death: Death, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let since = match &primary.mode {
            Mode::Alone { .. } => return,
            Mode::Paired { outbox, .. } => outbox.acked(),
        };
        let alone = Mode::Alone { since, sync: None };
        let Mode::Paired {
            mut outbox,
            waiting,
        } = std::mem::replace(&mut primary.mode, alone)
        else {
            return;
        };
        primary.view = primary.view.next(self.settings.me);
        let view = primary.view;
        effects.extend(outbox.close().map(Effect::CloseOutLink));
        effects.push(Effect::Event(Event::WentAlone { view, death }));
        let replies = waiting.into_all().map(Pending::into_reply);
        effects.extend(replies.map(Effect::Reply));
        self.watch.restart(now);
        self.watch.back_off(now);
    }

    fn take_over(&mut self, now: Now, death: Death, effects: &mut Vec<Effect<T>>) {
        let Some(Backup {
            view,
            machine,
            link,
        }) = self.leave_backup()
        else {
            return;
        };
        effects.extend(link.map(Effect::CloseInLink));
        let view = view.next(self.settings.me);
        let op = machine.op();
        let primary = Primary::alone(view, machine, &self.settings, now);
        let event = Event::TookOver { view, op, death };
        self.enter(now, Role::Primary(Box::new(primary)), event, effects);
        self.watch.back_off(now);
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

    pub(super) fn step_down(&mut self, now: Now, descent: Descent, effects: &mut Vec<Effect<T>>) {
        if matches!(self.role, Role::Starting(_) | Role::Retired(_)) {
            return;
        }
        let role = std::mem::replace(&mut self.role, Role::Starting(Starting::new()));
        let (view, highest, waiting, polls) = match role {
            Role::Starting(_) | Role::Retired(_) => return,
            Role::Primary(primary) => {
                self.dropped = primary.unshared();
                let (outbox, waiting) = match primary.mode {
                    Mode::Alone { sync, .. } => (sync, None),
                    Mode::Paired { outbox, waiting } => (Some(outbox), Some(waiting)),
                };
                let link = outbox.and_then(|mut outbox| outbox.close());
                effects.extend(link.map(Effect::CloseOutLink));
                let polls = Some(primary.polls);
                (primary.view, primary.machine.highest(), waiting, polls)
            }
            Role::Backup(backup) => {
                effects.extend(backup.link.map(Effect::CloseInLink));
                (backup.view, backup.machine.highest(), None, None)
            }
        };
        self.highest = self.highest.max(highest);
        self.watch.restart(now);
        effects.push(Effect::Event(Event::SteppedDown {
            view,
            descent,
            dropped: self.dropped,
        }));
        for pending in waiting.into_iter().flat_map(Waiting::into_all) {
            self.pass_on(pending.asked, effects);
        }
        for poll in polls.into_iter().flat_map(Polls::into_all) {
            self.pass_on(poll.into_asked(), effects);
        }
        self.probe_if_due(now, effects);
    }

    pub(super) fn fenced(&mut self, now: Now, view: View, effects: &mut Vec<Effect<T>>) {
        // [M7] A late copy of an old fence must change nothing.
        if self.standing().view().is_some_and(|own| view > own) {
            self.step_down(now, Descent::HigherView(view), effects);
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
        self.watch.restart(now);
        effects.push(Effect::Event(event));
    }
}
