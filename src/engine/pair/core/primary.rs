//! A primary: it decides the order of commands, and answers when that is safe.

use std::time::Duration;

use super::passage::Passage;
use super::replication_queue::ReplicationQueue;
use super::waiting::{PendingAnswer, Waiting};
use super::{Effect, Event, FrameNumber, Now, Reply, Settings};
use crate::engine::leader::{Basis, Leader, LeaderEvent, PendingRequest, Plan, Poll, poll_answer};
use crate::engine::pair::protocol::Dropped;
use crate::machine::{Command, Machine};
use crate::service::{Answer, Refusal, Resource};
use crate::types::{OpNumber, UnixTime, View};

/// The state of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary<T> {
    pub(super) view: View,
    pub(super) machine: Machine,
    pub(super) leader: Leader<T>,
    /// What time it is.
    pub(super) clock: UnixTime,
    /// What gets through to the other server.
    pub(super) passage: Passage,
    pub(super) mode: ReplicationMode<T>,
}

/// Whether there is a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplicationMode<T> {
    /// There is none, and none has acknowledged anything after `since`; `sync` is for a server that
    /// is to become it.
    Standalone {
        since: OpNumber,
        sync: Option<ReplicationQueue>,
    },
    /// There is one: every answer waits for it.
    Replicated {
        queue: ReplicationQueue,
        waiting: Waiting<T>,
    },
}

impl<T> Primary<T> {
    /// An alone primary, which counts every record as heard now.
    pub(super) fn standalone(view: View, machine: Machine, settings: &Settings, now: Now) -> Self {
        let leader = Leader::new(&machine, settings.session_time_to_live, now);
        let since = machine.op();
        Self {
            view,
            machine,
            leader,
            clock: UnixTime(0),
            passage: Passage::new(),
            mode: ReplicationMode::Standalone { since, sync: None },
        }
    }

    /// Executes a request, in one step, and answers it or lets the answer wait. `next_frame`:
    /// frames from this number on are sent after the request came.
    pub(super) fn execute(
        &mut self,
        now: Now,
        settings: &Settings,
        next_frame: FrameNumber,
        pending: PendingRequest<T>,
        effects: &mut Vec<Effect<T>>,
    ) {
        if self.backlog_is_full(settings) {
            let (to, result) = (pending.to, Err(Refusal::Overloaded(Resource::Calls)));
            effects.push(Effect::Reply(Reply { to, result }));
            return;
        }
        let basis = Basis {
            now,
            machine: &self.machine,
            view: self.view,
            limits: &settings.limits,
        };
        match self.leader.plan(basis, &pending.request) {
            Plan::Propose(command) => {
                let breaks = LeaderEvent::of_break(&pending.request, &self.machine);
                let result = self.propose(now, command);
                let breaks = breaks.filter(|_| result == Ok(Answer::Call(true)));
                self.note_fullness(settings, None, effects);
                effects.extend(breaks.map(Event::from).map(Effect::Event));
                self.answer(None, pending, result, effects);
                self.answer_notified_polls(effects);
            }
            Plan::Duplicate(answer) => self.answer(None, pending, Ok(answer), effects),
            Plan::Read(result) => {
                if let Err(Refusal::Overloaded(resource)) = result {
                    self.note_fullness(settings, Some(resource), effects);
                }
                self.answer(Some(next_frame), pending, result, effects);
            }
            Plan::Park(request, lease) => {
                let PendingRequest { to, via, .. } = pending;
                let poll = Poll { to, via, request };
                if let Some(before) = self.leader.park(now, poll, lease) {
                    self.answer_poll(Some(next_frame), before, effects);
                }
            }
        }
    }

    /// Answers, or lets the answer wait: for the last op; and, if it was given none, for the frame
    /// that is sent next.
    fn answer(
        &mut self,
        next_frame: Option<FrameNumber>,
        request: PendingRequest<T>,
        result: Result<Answer, Refusal>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let pending = PendingAnswer { request, result };
        let op = self.machine.op();
        match (&mut self.mode, next_frame) {
            (ReplicationMode::Standalone { .. }, _) => {
                effects.push(Effect::Reply(pending.into_reply()));
            }
            (ReplicationMode::Replicated { waiting, .. }, None) => waiting.push_for_op(op, pending),
            (ReplicationMode::Replicated { waiting, .. }, Some(frame)) => {
                waiting.push_for_frame(frame, op, pending);
            }
        }
    }

    fn answer_poll(
        &mut self,
        next_frame: Option<FrameNumber>,
        poll: Poll<T>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let result = poll_answer(&self.machine, self.view, poll.request);
        self.answer(next_frame, poll.into_request(), result, effects);
    }

    /// Answers the polls that the last commands have brought news for.
    fn answer_notified_polls(&mut self, effects: &mut Vec<Effect<T>>) {
        for poll in self.leader.take_notified_polls() {
            self.answer_poll(None, poll, effects);
        }
    }

    /// Drops the records of clients that have gone silent, by commands like any other, and reports
    /// it; ends what is not retained any more; answers the polls that have waited long enough.
    pub(super) fn wake(&mut self, now: Now, next_frame: FrameNumber, effects: &mut Vec<Effect<T>>) {
        let expired = self.leader.expired(now, &self.machine);
        for command in expired.commands {
            // Nobody asked for it.
            let _ = self.propose(now, command);
        }
        self.answer_notified_polls(effects);
        while let Some(poll) = self.leader.pop_due_poll(now) {
            self.answer_poll(Some(next_frame), poll, effects);
        }
        effects.extend(expired.event.map(Event::from).map(Effect::Event));
    }

    /// What is lost if this server gives its state up now, if it has no backup.
    pub(super) fn unshared(&self) -> Option<Dropped> {
        let ReplicationMode::Standalone { since, .. } = self.mode else {
            return None;
        };
        Some(Dropped {
            view: self.view,
            operations: self.machine.op().0 - since.0,
            locks: self.machine.locks(),
            clients: self.machine.clients(),
        })
    }

    /// What there is for the other server, whether it follows already or is being synced.
    pub(super) const fn queue(&self) -> Option<&ReplicationQueue> {
        match &self.mode {
            ReplicationMode::Standalone { sync, .. } => sync.as_ref(),
            ReplicationMode::Replicated { queue, .. } => Some(queue),
        }
    }

    /// The outbox, with the machine whose commands it carries.
    pub(super) const fn sending(&mut self) -> Option<(&mut ReplicationQueue, &Machine)> {
        match &mut self.mode {
            ReplicationMode::Standalone { sync: None, .. } => None,
            ReplicationMode::Standalone {
                sync: Some(queue), ..
            }
            | ReplicationMode::Replicated { queue, .. } => Some((queue, &self.machine)),
        }
    }

    /// Whether the peer answers while the payload under way is overdue: it must have got lost.
    pub(super) fn lose_payload(&mut self, now: Now, peer_timeout: Duration) -> Option<Event> {
        let (sent, bytes) = self.queue()?.overdue(now, peer_timeout)?;
        let is_new = self.passage.lose(bytes, sent, now, peer_timeout);
        is_new.then_some(Event::FrameLost { bytes })
    }

    /// Whether an answer waits for a frame that may be empty.
    pub(super) fn waits_for_frame(&self) -> bool {
        matches!(&self.mode, ReplicationMode::Replicated { waiting, .. } if waiting.wants_frame())
    }

    fn backlog_is_full(&self, settings: &Settings) -> bool {
        matches!(&self.mode, ReplicationMode::Replicated { queue, .. } if queue.is_full(&settings.limits))
    }

    fn note_fullness(
        &mut self,
        settings: &Settings,
        refused: Option<Resource>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let limits = &settings.limits;
        let event = self.leader.note_fullness(&self.machine, limits, refused);
        effects.extend(event.map(Event::from).map(Effect::Event));
    }

    /// Carries out a command. One that may grant a lock is told the time before, unless that is
    /// known.
    fn propose(&mut self, now: Now, command: Command) -> Result<Answer, Refusal> {
        if self.clock != self.machine.clock() && self.machine.may_grant(&command) {
            let _ = self.append(now, Command::Clock { time: self.clock });
        }
        self.append(now, command)
    }

    /// Applies a command, numbers it and queues it for the other server: the one place where the
    /// order of commands is decided.
    fn append(&mut self, now: Now, command: Command) -> Result<Answer, Refusal> {
        let notify = |session| self.leader.notify(session);
        let outcome = self
            .machine
            .apply_and_notify(&command, self.view.primary, notify);
        let answer = self
            .leader
            .applied(now, &self.machine, self.view, &command, outcome);
        match &mut self.mode {
            ReplicationMode::Standalone { sync: None, .. } => {}
            ReplicationMode::Standalone {
                sync: Some(queue), ..
            }
            | ReplicationMode::Replicated { queue, .. } => {
                queue.push(command);
            }
        }
        answer
    }

    /// Answers what is safe now that the backup has acknowledged `frame`, and everything up to
    /// `op`.
    pub(super) fn advance_commit(
        &mut self,
        op: OpNumber,
        frame: Option<FrameNumber>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let ReplicationMode::Replicated { waiting, .. } = &mut self.mode else {
            return;
        };
        while let Some(pending) = waiting.pop_for_op(op) {
            effects.push(Effect::Reply(pending.into_reply()));
        }
        let Some(frame) = frame else { return };
        while let Some(pending) = waiting.pop_for_frame(frame, op) {
            effects.push(Effect::Reply(pending.into_reply()));
        }
    }
}
