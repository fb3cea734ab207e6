//! A primary: it decides the order of commands, and answers when that is safe.

use super::heard::Heard;
use super::outbox::Outbox;
use super::waiting::{Pending, Waiting};
use super::{Effect, FrameNumber, Now, Reply, Settings, Via};
use crate::config::MAX_UNACKED_COMMANDS;
use crate::machine::{Command, Machine, Outcome, Recall};
use crate::service::{Answer, Opened, Refusal, Request, Resource, Verb};
use crate::types::{ClientId, OpNumber, RecordNumber, View};

/// The state of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary<T> {
    pub(super) view: View,
    pub(super) machine: Machine,
    pub(super) heard: Heard,
    pub(super) mode: Mode<T>,
}

/// Whether there is a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode<T> {
    /// There is none; `sync` is for a server that is to become it.
    Alone { sync: Option<Outbox> },
    /// There is one: every answer waits for it.
    Paired { outbox: Outbox, waiting: Waiting<T> },
}

/// What becomes of a request, before anything waits.
enum Verdict {
    /// It took the next op number.
    Executed(Result<Answer, Refusal>),
    /// It was executed before.
    Repeated(bool),
    /// It changes nothing.
    Read(Result<Answer, Refusal>),
}

impl<T> Primary<T> {
    /// An alone primary, which counts every record as heard now.
    pub(super) fn alone(view: View, machine: Machine, settings: &Settings, now: Now) -> Self {
        let heard = Heard::new(
            machine.records().map(|(number, _)| number),
            now,
            settings.record_time_to_live,
        );
        Self {
            view,
            machine,
            heard,
            mode: Mode::Alone { sync: None },
        }
    }

    /// Executes a request, in one step, and answers it or lets the answer wait. `next_frame`: frames
    /// from this number on are sent after the request came.
    pub(super) fn execute(
        &mut self,
        now: Now,
        settings: &Settings,
        next_frame: FrameNumber,
        (to, via, request): (T, Via, Request),
        effects: &mut Vec<Effect<T>>,
    ) {
        if self.backlog() >= MAX_UNACKED_COMMANDS {
            let result = Err(Refusal::Overloaded(Resource::Calls));
            effects.push(Effect::Reply(Reply { to, result }));
            return;
        }
        let verdict = self.decide(now, settings, &request);
        let (for_op, result) = match verdict {
            Verdict::Executed(result) => (true, result),
            Verdict::Repeated(answer) => (true, Ok(Answer::Call(answer))),
            Verdict::Read(result) => (false, result),
        };
        let pending = Pending {
            to,
            via,
            request,
            result,
        };
        let op = self.machine.op();
        match &mut self.mode {
            Mode::Alone { .. } => effects.push(Effect::Reply(pending.into_reply())),
            Mode::Paired { waiting, .. } if for_op => waiting.push_for_op(op, pending),
            Mode::Paired { waiting, .. } => waiting.push_for_frame(next_frame, pending),
        }
    }

    /// Drops the records of clients that have gone silent, by commands like any other.
    pub(super) fn expire(&mut self, now: Now, settings: &Settings) -> usize {
        let silent = self.heard.sweep(now, settings.record_time_to_live);
        for record in &silent {
            self.heard.forget(*record);
            if let Some(info) = self.machine.record(*record) {
                self.commit(Command::Expire {
                    record: *record,
                    seen: info.next_seq,
                });
            }
        }
        silent.len()
    }

    /// What there is for the other server, whether it follows already or is being synced.
    pub(super) const fn outbox(&self) -> Option<&Outbox> {
        match &self.mode {
            Mode::Alone { sync } => sync.as_ref(),
            Mode::Paired { outbox, .. } => Some(outbox),
        }
    }

    /// The outbox, with the machine whose commands it carries.
    pub(super) const fn sending(&mut self) -> Option<(&mut Outbox, &Machine)> {
        match &mut self.mode {
            Mode::Alone { sync: None } => None,
            Mode::Alone { sync: Some(outbox) } | Mode::Paired { outbox, .. } => {
                Some((outbox, &self.machine))
            }
        }
    }

    /// Whether an answer waits for a frame that may be empty.
    pub(super) fn waits_for_frame(&self) -> bool {
        matches!(&self.mode, Mode::Paired { waiting, .. } if waiting.wants_frame())
    }

    fn backlog(&self) -> usize {
        match &self.mode {
            Mode::Alone { .. } => 0,
            Mode::Paired { outbox, .. } => outbox.len(),
        }
    }

    fn decide(&mut self, now: Now, settings: &Settings, request: &Request) -> Verdict {
        match request {
            Request::Acquire { .. } | Request::Release { .. } | Request::Poll { .. } => {
                Verdict::Read(Err(Refusal::NotReady))
            }
            Request::Open { client, .. } => self.open(now, settings, *client),
            Request::Call { id, verb, name } => {
                self.heard.note_known(id.record, now);
                match self.machine.recall(id) {
                    Recall::Done(answer) => Verdict::Repeated(answer),
                    Recall::Refused(refusal) => Verdict::Read(Err(refusal.into())),
                    Recall::Fresh
                        if *verb == Verb::Lock
                            && self.machine.locks() >= settings.limits.locks
                            && !self.machine.is_held(name) =>
                    {
                        Verdict::Read(Err(Refusal::Overloaded(Resource::Locks)))
                    }
                    Recall::Fresh => {
                        let outcome = self.commit(Command::Call {
                            id: *id,
                            verb: *verb,
                            name: name.clone(),
                        });
                        Verdict::Executed(answer(outcome))
                    }
                }
            }
            Request::KeepAlive { client, record } => {
                if !self.owns(*client, *record) {
                    return Verdict::Read(Err(Refusal::UnknownRecord));
                }
                self.heard.note_known(*record, now);
                Verdict::Read(Ok(Answer::Done))
            }
            Request::Goodbye { client, record } => {
                if !self.owns(*client, *record) {
                    return Verdict::Read(Ok(Answer::Done));
                }
                self.heard.forget(*record);
                self.commit(Command::Goodbye {
                    client: *client,
                    record: *record,
                });
                Verdict::Executed(Ok(Answer::Done))
            }
        }
    }

    fn open(&mut self, now: Now, settings: &Settings, client: ClientId) -> Verdict {
        if self.machine.clients() >= settings.limits.clients {
            return Verdict::Read(Err(Refusal::Overloaded(Resource::Clients)));
        }
        let outcome = self.commit(Command::Open { client });
        let Outcome::Opened(record) = outcome else {
            return Verdict::Executed(answer(outcome));
        };
        self.heard.note(record, now);
        Verdict::Executed(Ok(Answer::Opened(Opened {
            record,
            time_to_live: settings.record_time_to_live,
        })))
    }

    fn owns(&self, client: ClientId, record: RecordNumber) -> bool {
        self.machine
            .record(record)
            .is_some_and(|info| info.client == client)
    }

    /// Applies a command, numbers it and queues it for the other server: the one place where the order
    /// of commands is decided.
    fn commit(&mut self, command: Command) -> Outcome {
        let outcome = self.machine.apply(&command);
        match &mut self.mode {
            Mode::Alone { sync: None } => {}
            Mode::Alone { sync: Some(outbox) } | Mode::Paired { outbox, .. } => {
                outbox.push(command);
            }
        }
        outcome
    }

    /// Answers what is safe now that the backup has acknowledged `frame`, and everything up to `op`.
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
        while let Some(pending) = waiting.pop_for_frame(frame) {
            effects.push(Effect::Reply(pending.into_reply()));
        }
    }
}

/// What a call's outcome is to its caller.
fn answer(outcome: Outcome) -> Result<Answer, Refusal> {
    match outcome {
        Outcome::Call(answer) => Ok(Answer::Call(answer)),
        Outcome::Refused(refusal) => Err(refusal.into()),
        Outcome::Opened(_) | Outcome::Dropped(_) => Ok(Answer::Done),
    }
}
