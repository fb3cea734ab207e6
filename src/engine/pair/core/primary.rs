//! A primary: it decides the order of commands, and answers when that is safe.

use std::time::Duration;

use super::fullness::{Fullness, lacking_for_lock};
use super::last_seen::LastSeen;
use super::leases::Leases;
use super::passage::Passage;
use super::polls::{Poll, PollRequest, Polls};
use super::replication_queue::ReplicationQueue;
use super::retentions::Retentions;
use super::sessions::broken;
use super::waiting::{PendingAnswer, PendingRequest, Waiting};
use super::{Effect, Event, FrameNumber, Now, Reply, Settings};
use crate::engine::pair::protocol::Dropped;
use crate::machine::{Command, DuplicateLookup, Machine, Outcome, footprint};
use crate::service::{Answer, CallId, Refusal, Request, Resource, Verb};
use crate::types::{ClientId, Lease, OpNumber, SessionId, UnixTime, View};

/// The state of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary<T> {
    pub(super) view: View,
    pub(super) machine: Machine,
    pub(super) last_seen: LastSeen,
    pub(super) leases: Leases,
    pub(super) retentions: Retentions,
    pub(super) polls: Polls<T>,
    /// Sessions that there is news for since the last answer.
    pub(super) notified: Vec<SessionId>,
    /// What time it is.
    pub(super) clock: UnixTime,
    /// What was said last of how full it is.
    fullness: Fullness,
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

/// What becomes of a request, before anything waits.
pub(super) enum Plan {
    /// It took the next op number.
    Executed(Result<Answer, Refusal>),
    /// It changes nothing.
    Read(Result<Answer, Refusal>),
    /// It waits for news, for a part of the lease.
    Waits(PollRequest, Lease),
}

impl<T> Primary<T> {
    /// An alone primary, which counts every record as heard now.
    pub(super) fn standalone(view: View, machine: Machine, settings: &Settings, now: Now) -> Self {
        let mut leases = Leases::default();
        let mut others = Vec::new();
        for (number, info) in machine.sessions() {
            match info.lease {
                Some(lease) => leases.begin(number, lease, now),
                None => others.push(number),
            }
        }
        let mut retentions = Retentions::default();
        for (token, left) in machine.retentions() {
            retentions.begin(token, left, now);
        }
        let heard = LastSeen::new(others.into_iter(), now, settings.session_time_to_live);
        let since = machine.op();
        Self {
            view,
            machine,
            last_seen: heard,
            leases,
            retentions,
            polls: Polls::new(),
            notified: Vec::new(),
            clock: UnixTime(0),
            fullness: Fullness::default(),
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
        let loser = self.loses(&pending.request);
        let plan = self.plan(now, settings, &pending.request);
        effects.extend(self.note_fullness(settings, &plan).map(Effect::Event));
        match plan {
            Plan::Executed(result) => {
                let event = broken(&pending.request, &result, loser);
                effects.extend(event.map(Effect::Event));
                self.answer(None, pending, result, effects);
                self.answer_notified_polls(effects);
            }
            Plan::Read(result) => {
                self.answer(Some(next_frame), pending, result, effects);
            }
            Plan::Waits(request, lease) => {
                let PendingRequest { to, via, .. } = pending;
                let poll = Poll { to, via, request };
                if let Some(before) = self.polls.insert(poll, lease, now) {
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
        let result = match self.machine.session(poll.request.session) {
            Some(_) => Ok(Answer::Notifications(
                self.notifications(poll.request).into(),
            )),
            None => Err(Refusal::UnknownSession),
        };
        self.answer(next_frame, poll.into_request(), result, effects);
    }

    /// Answers the polls that the last commands have brought news for.
    fn answer_notified_polls(&mut self, effects: &mut Vec<Effect<T>>) {
        for session in std::mem::take(&mut self.notified) {
            if let Some(poll) = self.polls.take(session) {
                self.answer_poll(None, poll, effects);
            }
        }
    }

    /// Drops the records of clients that have gone silent, by commands like any other, and reports
    /// it; ends what is not retained any more; answers the polls that have waited long enough.
    pub(super) fn wake(
        &mut self,
        now: Now,
        settings: &Settings,
        next_frame: FrameNumber,
        effects: &mut Vec<Effect<T>>,
    ) {
        self.elapse(now);
        let mut silent = self.last_seen.sweep(now, settings.session_time_to_live);
        silent.extend(std::iter::from_fn(|| self.leases.pop_over(now)));
        let owner = silent.iter().find_map(|session| self.owner_of(*session));
        for session in &silent {
            self.forget(*session);
            if let Some(info) = self.machine.session(*session) {
                self.propose(Command::Expire {
                    session: *session,
                    seen: info.next_seq,
                });
            }
        }
        self.answer_notified_polls(effects);
        while let Some(poll) = self.polls.pop_due(now) {
            self.answer_poll(Some(next_frame), poll, effects);
        }
        if !silent.is_empty() {
            let count = silent.len();
            let event = Event::SessionsExpired { count, owner };
            effects.push(Effect::Event(event));
        }
    }

    /// When [`Self::wake`] may find that a client has gone silent, or that something is not
    /// retained any more.
    pub(super) fn next_silence(&self) -> Now {
        let sweep = self.last_seen.next_sweep();
        let due = [self.leases.next_due(), self.retentions.next_due()];
        due.into_iter().flatten().fold(sweep, Now::min)
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

    fn note_fullness(&mut self, settings: &Settings, plan: &Plan) -> Option<Event> {
        let refused = match plan {
            Plan::Read(Err(Refusal::Overloaded(resource))) => Some(*resource),
            Plan::Executed(_) => None,
            Plan::Read(_) | Plan::Waits(..) => return None,
        };
        self.fullness.note(&self.machine, &settings.limits, refused)
    }

    fn plan(&mut self, now: Now, settings: &Settings, request: &Request) -> Plan {
        match request {
            Request::OpenSession { client, terms } => {
                self.open(now, settings, *client, terms.clone())
            }
            Request::Call { id, verb, name } => {
                let growth = |machine: &Machine| match verb {
                    Verb::Lock if !machine.is_held(name) => footprint::of_lock(name),
                    Verb::Lock | Verb::Unlock => 0,
                };
                self.call(now, settings, id, growth, || Command::Call {
                    id: *id,
                    verb: *verb,
                    name: name.clone(),
                })
            }
            Request::Acquire { id, name, options } => {
                if matches!(self.machine.find_duplicate(id), DuplicateLookup::Done(_)) {
                    self.note_seen(id.session, now);
                    return Plan::Executed(Ok(Answer::Acquired(self.machine.acquired(id))));
                }
                self.call(
                    now,
                    settings,
                    id,
                    |_| footprint::of_lock(name) + footprint::of_queue_entry(name),
                    || Command::Acquire {
                        id: *id,
                        name: name.clone(),
                        options: *options,
                    },
                )
            }
            Request::Release { id, acquired } => self.call(
                now,
                settings,
                id,
                |_| 0,
                || Command::Release {
                    id: *id,
                    acquired: *acquired,
                },
            ),
            Request::Retain {
                id,
                acquired,
                retention,
            } => self.retain(now, settings, id, (*acquired, *retention)),
            Request::Break {
                id, name, token, ..
            } => {
                let plan = self.call(
                    now,
                    settings,
                    id,
                    |_| 0,
                    || Command::Break {
                        id: *id,
                        name: name.clone(),
                        token: *token,
                    },
                );
                self.forget_retention(*token);
                plan
            }
            Request::Show { name } => Plan::Read(Ok(Answer::Lock(self.show(now, name).into()))),
            Request::List { prefix, from } => {
                Plan::Read(Ok(Answer::Page(self.list(now, prefix, from).into())))
            }
            Request::Poll {
                client,
                session,
                since,
                view,
            } => {
                let asked = PollRequest {
                    client: *client,
                    session: *session,
                    since: *since,
                    view: *view,
                };
                self.poll(now, asked)
            }
            Request::Holdings {
                client,
                session,
                from,
            } => self.holdings(now, *client, *session, *from),
            Request::KeepAlive { client, session } => self.keep_alive(now, *client, *session),
            Request::CloseSession { client, session } => self.close_session(*client, *session),
        }
    }

    fn keep_alive(&mut self, now: Now, client: ClientId, session: SessionId) -> Plan {
        if !self.owns(client, session) {
            return Plan::Read(Err(Refusal::UnknownSession));
        }
        self.note_seen(session, now);
        Plan::Read(Ok(Answer::Done))
    }

    fn close_session(&mut self, client: ClientId, session: SessionId) -> Plan {
        if !self.owns(client, session) {
            return Plan::Read(Ok(Answer::Done));
        }
        self.forget(session);
        self.propose(Command::CloseSession { client, session });
        Plan::Executed(Ok(Answer::Done))
    }

    /// A call that the records make run once. `growth`: how much memory it may take, in bytes.
    pub(super) fn call(
        &mut self,
        now: Now,
        settings: &Settings,
        id: &CallId,
        growth: impl FnOnce(&Machine) -> u64,
        command: impl FnOnce() -> Command,
    ) -> Plan {
        self.note_seen(id.session, now);
        match self.machine.find_duplicate(id) {
            // It waits like one that is executed now: it may have been a moment ago.
            DuplicateLookup::Done(done) => Plan::Executed(Ok(Answer::Call(done))),
            DuplicateLookup::Refused(refusal) => Plan::Read(Err(refusal.into())),
            DuplicateLookup::Fresh => {
                let growth = growth(&self.machine);
                match lacking_for_lock(&self.machine, &settings.limits, growth) {
                    Some(resource) => Plan::Read(Err(Refusal::Overloaded(resource))),
                    None => Plan::Executed(answer(self.propose(command()))),
                }
            }
        }
    }

    fn owns(&self, client: ClientId, session: SessionId) -> bool {
        self.machine
            .session(session)
            .is_some_and(|info| info.client == client)
    }

    /// Carries out a command. One that may grant a lock is told the time before, unless that is
    /// known.
    pub(super) fn propose(&mut self, command: Command) -> Outcome {
        if self.clock != self.machine.clock() && self.machine.may_grant(&command) {
            self.append(Command::Clock { time: self.clock });
        }
        self.append(command)
    }

    /// Applies a command, numbers it and queues it for the other server: the one place where the
    /// order of commands is decided.
    fn append(&mut self, command: Command) -> Outcome {
        let notified = &mut self.notified;
        let outcome = self
            .machine
            .apply_and_notify(&command, self.view.primary, |session| {
                notified.push(session);
            });
        match &mut self.mode {
            ReplicationMode::Standalone { sync: None, .. } => {}
            ReplicationMode::Standalone {
                sync: Some(queue), ..
            }
            | ReplicationMode::Replicated { queue, .. } => {
                queue.push(command);
            }
        }
        outcome
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

/// What a call's outcome is to its caller.
pub(super) fn answer(outcome: Outcome) -> Result<Answer, Refusal> {
    match outcome {
        Outcome::Call(answer) => Ok(Answer::Call(answer)),
        Outcome::Acquired(acquired) => Ok(Answer::Acquired(acquired)),
        Outcome::Refused(refusal) => Err(refusal.into()),
        Outcome::Opened(_) | Outcome::Dropped(_) | Outcome::Noted => Ok(Answer::Done),
    }
}
