//! A primary: it decides the order of commands, and answers when that is safe.

use std::time::Duration;

use super::fullness::{Fullness, lacking_for_lock};
use super::heard::Heard;
use super::leases::Leases;
use super::outbox::Outbox;
use super::passage::Passage;
use super::polls::{Poll, Polls, Question};
use super::retentions::Retentions;
use super::sessions::broken;
use super::waiting::{Asked, Pending, Waiting};
use super::{Effect, Event, FrameNumber, Now, Reply, Settings};
use crate::engine::pair::protocol::Dropped;
use crate::machine::{Command, Machine, Outcome, Recall, footprint};
use crate::service::{Answer, CallId, Refusal, Request, Resource, Verb};
use crate::types::{ClientId, Lease, OpNumber, RecordNumber, UnixTime, View};

/// The state of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary<T> {
    pub(super) view: View,
    pub(super) machine: Machine,
    pub(super) heard: Heard,
    pub(super) leases: Leases,
    pub(super) retentions: Retentions,
    pub(super) polls: Polls<T>,
    /// Sessions that there is news for since the last answer.
    pub(super) told: Vec<RecordNumber>,
    /// What time it is.
    pub(super) clock: UnixTime,
    /// What was said last of how full it is.
    fullness: Fullness,
    /// What gets through to the other server.
    pub(super) passage: Passage,
    pub(super) mode: Mode<T>,
}

/// Whether there is a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode<T> {
    /// There is none, and none has acknowledged anything after `since`; `sync` is for a server that
    /// is to become it.
    Alone {
        since: OpNumber,
        sync: Option<Outbox>,
    },
    /// There is one: every answer waits for it.
    Paired { outbox: Outbox, waiting: Waiting<T> },
}

/// What becomes of a request, before anything waits.
pub(super) enum Verdict {
    /// It took the next op number.
    Executed(Result<Answer, Refusal>),
    /// It changes nothing.
    Read(Result<Answer, Refusal>),
    /// It waits for news, for a part of the lease.
    Waits(Question, Lease),
}

impl<T> Primary<T> {
    /// An alone primary, which counts every record as heard now.
    pub(super) fn alone(view: View, machine: Machine, settings: &Settings, now: Now) -> Self {
        let mut leases = Leases::default();
        let mut others = Vec::new();
        for (number, info) in machine.records() {
            match info.lease {
                Some(lease) => leases.begin(number, lease, now),
                None => others.push(number),
            }
        }
        let mut retentions = Retentions::default();
        for (token, left) in machine.retentions() {
            retentions.begin(token, left, now);
        }
        let heard = Heard::new(others.into_iter(), now, settings.record_time_to_live);
        let since = machine.op();
        Self {
            view,
            machine,
            heard,
            leases,
            retentions,
            polls: Polls::new(),
            told: Vec::new(),
            clock: UnixTime(0),
            fullness: Fullness::default(),
            passage: Passage::new(),
            mode: Mode::Alone { since, sync: None },
        }
    }

    /// Executes a request, in one step, and answers it or lets the answer wait. `next_frame`:
    /// frames from this number on are sent after the request came.
    pub(super) fn execute(
        &mut self,
        now: Now,
        settings: &Settings,
        next_frame: FrameNumber,
        asked: Asked<T>,
        effects: &mut Vec<Effect<T>>,
    ) {
        if self.backlog_is_full(settings) {
            let (to, result) = (asked.to, Err(Refusal::Overloaded(Resource::Calls)));
            effects.push(Effect::Reply(Reply { to, result }));
            return;
        }
        let loser = self.loses(&asked.request);
        let verdict = self.decide(now, settings, &asked.request);
        effects.extend(self.note_fullness(settings, &verdict).map(Effect::Event));
        match verdict {
            Verdict::Executed(result) => {
                let event = broken(&asked.request, &result, loser);
                effects.extend(event.map(Effect::Event));
                self.answer(None, asked, result, effects);
                self.tell(effects);
            }
            Verdict::Read(result) => {
                self.answer(Some(next_frame), asked, result, effects);
            }
            Verdict::Waits(question, lease) => {
                let Asked { to, via, .. } = asked;
                let poll = Poll { to, via, question };
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
        asked: Asked<T>,
        result: Result<Answer, Refusal>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let pending = Pending { asked, result };
        let op = self.machine.op();
        match (&mut self.mode, next_frame) {
            (Mode::Alone { .. }, _) => effects.push(Effect::Reply(pending.into_reply())),
            (Mode::Paired { waiting, .. }, None) => waiting.push_for_op(op, pending),
            (Mode::Paired { waiting, .. }, Some(frame)) => {
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
        let result = match self.machine.record(poll.question.record) {
            Some(_) => Ok(Answer::News(self.news(poll.question).into())),
            None => Err(Refusal::UnknownRecord),
        };
        self.answer(next_frame, poll.into_asked(), result, effects);
    }

    /// Answers the polls that the last commands have brought news for.
    fn tell(&mut self, effects: &mut Vec<Effect<T>>) {
        for record in std::mem::take(&mut self.told) {
            if let Some(poll) = self.polls.take(record) {
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
        let mut silent = self.heard.sweep(now, settings.record_time_to_live);
        silent.extend(std::iter::from_fn(|| self.leases.pop_over(now)));
        let owner = silent.iter().find_map(|record| self.who_owns(*record));
        for record in &silent {
            self.forget(*record);
            if let Some(info) = self.machine.record(*record) {
                self.commit(Command::Expire {
                    record: *record,
                    seen: info.next_seq,
                });
            }
        }
        self.tell(effects);
        while let Some(poll) = self.polls.pop_due(now) {
            self.answer_poll(Some(next_frame), poll, effects);
        }
        if !silent.is_empty() {
            let count = silent.len();
            let event = Event::RecordsExpired { count, owner };
            effects.push(Effect::Event(event));
        }
    }

    /// When [`Self::wake`] may find that a client has gone silent, or that something is not
    /// retained any more.
    pub(super) fn next_silence(&self) -> Now {
        let sweep = self.heard.next_sweep();
        let due = [self.leases.next_due(), self.retentions.next_due()];
        due.into_iter().flatten().fold(sweep, Now::min)
    }

    /// What is lost if this server gives its state up now, if it has no backup.
    pub(super) fn unshared(&self) -> Option<Dropped> {
        let Mode::Alone { since, .. } = self.mode else {
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
    pub(super) const fn outbox(&self) -> Option<&Outbox> {
        match &self.mode {
            Mode::Alone { sync, .. } => sync.as_ref(),
            Mode::Paired { outbox, .. } => Some(outbox),
        }
    }

    /// The outbox, with the machine whose commands it carries.
    pub(super) const fn sending(&mut self) -> Option<(&mut Outbox, &Machine)> {
        match &mut self.mode {
            Mode::Alone { sync: None, .. } => None,
            Mode::Alone {
                sync: Some(outbox), ..
            }
            | Mode::Paired { outbox, .. } => Some((outbox, &self.machine)),
        }
    }

    /// Whether the peer answers while the payload under way is overdue: it must have got lost.
    pub(super) fn lose_payload(&mut self, now: Now, peer_timeout: Duration) -> Option<Event> {
        let (sent, bytes) = self.outbox()?.overdue(now, peer_timeout)?;
        let is_new = self.passage.lose(bytes, sent, now, peer_timeout);
        is_new.then_some(Event::FrameLost { bytes })
    }

    /// Whether an answer waits for a frame that may be empty.
    pub(super) fn waits_for_frame(&self) -> bool {
        matches!(&self.mode, Mode::Paired { waiting, .. } if waiting.wants_frame())
    }

    fn backlog_is_full(&self, settings: &Settings) -> bool {
        matches!(&self.mode, Mode::Paired { outbox, .. } if outbox.is_full(&settings.limits))
    }

    fn note_fullness(&mut self, settings: &Settings, verdict: &Verdict) -> Option<Event> {
        let refused = match verdict {
            Verdict::Read(Err(Refusal::Overloaded(resource))) => Some(*resource),
            Verdict::Executed(_) => None,
            Verdict::Read(_) | Verdict::Waits(..) => return None,
        };
        self.fullness.note(&self.machine, &settings.limits, refused)
    }

    fn decide(&mut self, now: Now, settings: &Settings, request: &Request) -> Verdict {
        match request {
            Request::Open { client, session } => self.open(now, settings, *client, session.clone()),
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
            Request::Acquire { id, name, how } => {
                if matches!(self.machine.recall(id), Recall::Done(_)) {
                    self.hear(id.record, now);
                    return Verdict::Executed(Ok(Answer::Acquired(self.machine.acquired(id))));
                }
                self.call(
                    now,
                    settings,
                    id,
                    |_| footprint::of_lock(name) + footprint::of_place(name),
                    || Command::Acquire {
                        id: *id,
                        name: name.clone(),
                        how: *how,
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
                let verdict = self.call(
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
                verdict
            }
            Request::Show { name } => Verdict::Read(Ok(Answer::Lock(self.show(now, name).into()))),
            Request::List { prefix, from } => {
                Verdict::Read(Ok(Answer::Page(self.list(now, prefix, from).into())))
            }
            Request::Poll {
                client,
                record,
                since,
                view,
            } => {
                let question = Question {
                    client: *client,
                    record: *record,
                    since: *since,
                    view: *view,
                };
                self.poll(now, question)
            }
            Request::Holdings {
                client,
                record,
                from,
            } => self.holdings(now, *client, *record, *from),
            Request::KeepAlive { client, record } => {
                if !self.owns(*client, *record) {
                    return Verdict::Read(Err(Refusal::UnknownRecord));
                }
                self.hear(*record, now);
                Verdict::Read(Ok(Answer::Done))
            }
            Request::Goodbye { client, record } => self.goodbye(*client, *record),
        }
    }

    fn goodbye(&mut self, client: ClientId, record: RecordNumber) -> Verdict {
        if !self.owns(client, record) {
            return Verdict::Read(Ok(Answer::Done));
        }
        self.forget(record);
        self.commit(Command::Goodbye { client, record });
        Verdict::Executed(Ok(Answer::Done))
    }

    /// A call that the records make run once. `growth`: how much memory it may take, in bytes.
    pub(super) fn call(
        &mut self,
        now: Now,
        settings: &Settings,
        id: &CallId,
        growth: impl FnOnce(&Machine) -> u64,
        command: impl FnOnce() -> Command,
    ) -> Verdict {
        self.hear(id.record, now);
        match self.machine.recall(id) {
            // It waits like one that is executed now: it may have been a moment ago.
            Recall::Done(done) => Verdict::Executed(Ok(Answer::Call(done))),
            Recall::Refused(refusal) => Verdict::Read(Err(refusal.into())),
            Recall::Fresh => {
                let growth = growth(&self.machine);
                match lacking_for_lock(&self.machine, &settings.limits, growth) {
                    Some(resource) => Verdict::Read(Err(Refusal::Overloaded(resource))),
                    None => Verdict::Executed(answer(self.commit(command()))),
                }
            }
        }
    }

    fn owns(&self, client: ClientId, record: RecordNumber) -> bool {
        self.machine
            .record(record)
            .is_some_and(|info| info.client == client)
    }

    /// Carries out a command. One that may grant a lock is told the time before, unless that is
    /// known.
    pub(super) fn commit(&mut self, command: Command) -> Outcome {
        if self.clock != self.machine.clock() && self.machine.may_grant(&command) {
            self.order(Command::Clock { time: self.clock });
        }
        self.order(command)
    }

    /// Applies a command, numbers it and queues it for the other server: the one place where the
    /// order of commands is decided.
    fn order(&mut self, command: Command) -> Outcome {
        let told = &mut self.told;
        let outcome = self
            .machine
            .apply_and_tell(&command, self.view.primary, |session| told.push(session));
        match &mut self.mode {
            Mode::Alone { sync: None, .. } => {}
            Mode::Alone {
                sync: Some(outbox), ..
            }
            | Mode::Paired { outbox, .. } => {
                outbox.push(command);
            }
        }
        outcome
    }

    /// Answers what is safe now that the backup has acknowledged `frame`, and everything up to
    /// `op`.
    pub(super) fn release(
        &mut self,
        op: OpNumber,
        frame: Option<FrameNumber>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Mode::Paired { waiting, .. } = &mut self.mode else {
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
