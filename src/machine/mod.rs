//! The lock machine: commands in, outcomes out. Pure and deterministic.
//!
//! Two machines that start equal and are given the same commands in the same order give the same
//! outcomes and stay equal, on every server, at every speed. So nothing in here knows a clock, a socket,
//! a task or a random number. (The tables hash with a seed of their own, against clients that choose
//! colliding names; no order, outcome or digest depends on it.)
//!
//! **Exactly once**, as in RIFL (Lee et al. 2015): the outcome of a call is stored in the same step as
//! its effect, in the record that the client opened, and travels with every [`Snapshot`]. A repeated
//! call is answered from there and changes nothing. See [`CallId`] for what a client sends along.
//!
//! **Bounded memory**: a free lock leaves nothing; a record holds at the most
//! [`CALL_WINDOW`](crate::config::CALL_WINDOW) outcomes.

mod clients;
mod digest;
mod locks;
mod outcomes;
mod owned;
mod record;
mod sessions;
mod shards;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::service::{Acquired, CallId, Change, How, Mark, News, Refusal, Verb};
use crate::types::{ClientId, Digest, Lease, LockName, OpNumber, RecordNumber, Seq};
use clients::Clients;
use locks::{Locks, Unlocked};
use owned::{Claim, Grant, Place};
use sessions::{Sessions, Standing};

pub use clients::{Recall, RecordInfo};
pub use snapshot::{Chunk, Restore, RestoreError, Snapshot};

/// What changes a [`Machine`]. Replicated, in one total order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Opens a record for the calls of `client`.
    Open {
        /// Whose record.
        client: ClientId,
        /// The lease of a session. Whether it is over is for the primary to say, by `Expire`.
        lease: Option<Lease>,
    },
    /// Locks or unlocks.
    Call {
        /// Which call this is.
        id: CallId,
        /// What to do.
        verb: Verb,
        /// To which lock.
        name: LockName,
    },
    /// Acquires a lock for a session, or queues for it.
    Acquire {
        /// Which call this is.
        id: CallId,
        /// Which lock.
        name: LockName,
        /// In which mode, and whether to wait.
        how: How,
    },
    /// Gives back what a session acquired, leaves the queue, or prevents both.
    Release {
        /// Which call this is.
        id: CallId,
        /// The call that acquired.
        acquired: Seq,
    },
    /// Drops a record, for its client is done. What a session owns is released.
    Goodbye {
        /// Whose record.
        client: ClientId,
        /// Which record.
        record: RecordNumber,
    },
    /// Drops a record of which nothing was heard, likewise. It has no effect when the record has moved on: a call
    /// may have come in before this command got its place in the order.
    Expire {
        /// Which record.
        record: RecordNumber,
        /// The record's [`next_seq`](RecordInfo::next_seq) when it was given up.
        seen: Seq,
    },
}

impl Command {
    /// More than the command takes on the wire, in bytes, at little cost.
    #[must_use]
    pub(crate) fn max_encoded_bytes(&self) -> usize {
        const NUMBERS: usize = 80;
        match self {
            Self::Call { name, .. } | Self::Acquire { name, .. } => NUMBERS + name.as_str().len(),
            Self::Open { .. }
            | Self::Release { .. }
            | Self::Goodbye { .. }
            | Self::Expire { .. } => NUMBERS,
        }
    }
}

/// What a [`Command`] led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Of `Open`: the number that calls must carry.
    Opened(RecordNumber),
    /// Of `Call`, granted or released, and of `Release`.
    Call(bool),
    /// Of `Acquire`.
    Acquired(Acquired),
    /// Of `Goodbye` and `Expire`: whether the record was there to be dropped.
    Dropped(bool),
    /// Of a call: it was not executed.
    Refused(CallRefusal),
}

/// Why a call was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum CallRefusal {
    /// The client has no record of that number.
    #[error("the client's record is not known")]
    UnknownRecord,
    /// The call is below `done_below`, so its outcome has been forgotten.
    #[error("the call was given up by its client")]
    GivenUp,
    /// The call is [`CALL_WINDOW`](crate::config::CALL_WINDOW) or more above `done_below`.
    #[error("too many calls of one client are unanswered")]
    WindowFull,
    /// The lock is owned by a session, and cannot be unlocked.
    #[error("the lock is owned by a session")]
    Owned,
    /// The record has no lease, and cannot own locks.
    #[error("the record has no lease")]
    NoLease,
}

impl From<CallRefusal> for Refusal {
    fn from(refusal: CallRefusal) -> Self {
        match refusal {
            CallRefusal::UnknownRecord => Self::UnknownRecord,
            CallRefusal::GivenUp => Self::GivenUp,
            CallRefusal::WindowFull => Self::WindowFull,
            CallRefusal::Owned => Self::Owned,
            CallRefusal::NoLease => Self::NoLease,
        }
    }
}

/// The lock table and the clients' call records, at one point in the order of commands.
///
/// Cloning costs a few thousand pointers, however many locks are held: the copies share what neither of
/// them has changed since.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Machine {
    op: OpNumber,
    /// The highest mark that was given: to a grant, or to the news that a lock is contended.
    mark: Mark,
    locks: Locks,
    clients: Clients,
    sessions: Sessions,
}

impl Machine {
    /// Makes a machine without locks and records, whose last command was `base`.
    #[must_use]
    pub fn new(base: OpNumber) -> Self {
        Self {
            op: base,
            ..Self::default()
        }
    }

    /// The number of the last command that was applied.
    #[must_use]
    pub const fn op(&self) -> OpNumber {
        self.op
    }

    /// The fingerprint of the whole state: op number, locks, records and outcomes. Costs nothing, for it
    /// is kept up to date.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest::combine(&[
            digest::of_op(self.op).into(),
            digest::of_mark(self.mark).into(),
            self.locks.sum(),
            self.clients.sum(),
        ])
    }

    /// Executes `command` and gives it the next op number, whatever its outcome.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.apply_and_tell(command, |_| {})
    }

    /// Like [`apply`](Self::apply); names the sessions that there is [`news`](Self::news) for.
    pub fn apply_and_tell(
        &mut self,
        command: &Command,
        mut told: impl FnMut(RecordNumber),
    ) -> Outcome {
        self.op = self.op.next();
        match command {
            Command::Open { client, lease } => {
                let number = RecordNumber(self.op.0);
                self.clients.open(number, *client, *lease);
                Outcome::Opened(number)
            }
            Command::Call { id, verb, name } => self.call(id, *verb, name, &mut told),
            Command::Acquire { id, name, how } => self.acquire(id, name, *how, &mut told),
            Command::Release { id, acquired } => self.release(id, *acquired, &mut told),
            Command::Goodbye { client, record } => {
                self.close(*record, |info| info.client == *client, &mut told)
            }
            Command::Expire { record, seen } => {
                self.close(*record, |info| info.next_seq == *seen, &mut told)
            }
        }
    }

    fn call(
        &mut self,
        id: &CallId,
        verb: Verb,
        name: &LockName,
        told: &mut impl FnMut(RecordNumber),
    ) -> Outcome {
        match self.clients.recall(id) {
            Recall::Done(outcome) => return Outcome::Call(outcome),
            Recall::Refused(refusal) => return Outcome::Refused(refusal),
            Recall::Fresh => {}
        }
        let outcome = match verb {
            Verb::Lock => self.locks.lock(name),
            Verb::Unlock => match self.locks.unlock(name) {
                Unlocked::Owned => return Outcome::Refused(CallRefusal::Owned),
                Unlocked::Was(held) => {
                    self.pass_on(name, told);
                    held
                }
            },
        };
        self.clients.settle(id, outcome);
        Outcome::Call(outcome)
    }

    fn acquire(
        &mut self,
        id: &CallId,
        name: &LockName,
        how: How,
        told: &mut impl FnMut(RecordNumber),
    ) -> Outcome {
        match self.clients.recall(id) {
            Recall::Done(_) => return Outcome::Acquired(self.acquired(id)),
            Recall::Refused(refusal) => return Outcome::Refused(refusal),
            Recall::Fresh => {}
        }
        if !self.is_session(id.record) {
            return Outcome::Refused(CallRefusal::NoLease);
        }
        let comes_in = how.waits || self.locks.admits(name, how.mode);
        self.clients.settle(id, comes_in);
        if !comes_in {
            return Outcome::Acquired(Acquired::Held);
        }
        let claim = Claim {
            session: id.record,
            seq: id.seq,
            mode: how.mode,
        };
        let ticket = self.op;
        self.locks
            .insert(name, ticket, Place { claim, grant: None });
        let place = (name.clone(), ticket);
        self.sessions.insert(id.record, id.seq, place, None);
        self.pass_on(name, told);
        Outcome::Acquired(self.acquired(id))
    }

    fn release(
        &mut self,
        id: &CallId,
        acquired: Seq,
        told: &mut impl FnMut(RecordNumber),
    ) -> Outcome {
        match self.clients.recall(id) {
            Recall::Done(outcome) => return Outcome::Call(outcome),
            Recall::Refused(refusal) => return Outcome::Refused(refusal),
            Recall::Fresh => {}
        }
        let mut was_held = false;
        if let Some(place) = self.sessions.remove(id.record, acquired) {
            let removed = self.locks.remove(&place.name, place.ticket);
            was_held = removed.is_some_and(|place| place.grant.is_some());
            self.pass_on(&place.name, told);
        } else {
            // The call that acquires may still be on its way. It has been given up.
            let first = CallId {
                seq: acquired,
                ..*id
            };
            if acquired < id.seq && self.clients.recall(&first) == Recall::Fresh {
                self.clients.settle(&first, false);
            }
        }
        self.clients.settle(id, was_held);
        Outcome::Call(was_held)
    }

    /// Drops a record if `condition` holds, and releases what it owns. All of its places go first: none of
    /// them may be granted while the others go.
    fn close(
        &mut self,
        record: RecordNumber,
        condition: impl FnOnce(RecordInfo) -> bool,
        told: &mut impl FnMut(RecordNumber),
    ) -> Outcome {
        let closed = self.clients.close(record, condition);
        if closed {
            let places = self.sessions.close(record);
            for Standing { name, ticket, .. } in &places {
                self.locks.remove(name, *ticket);
            }
            for Standing { name, .. } in &places {
                self.pass_on(name, told);
            }
        }
        Outcome::Dropped(closed)
    }

    /// Grants the lock to those whose turn has come.
    fn pass_on(&mut self, name: &LockName, told: &mut impl FnMut(RecordNumber)) {
        let (op, mark, sessions) = (self.op, &mut self.mark, &mut self.sessions);
        let next_mark = || {
            // Ops run ahead of marks: every grant is of a place that a command asked for.
            *mark = Mark(op.0.max(mark.0 + 1));
            *mark
        };
        self.locks
            .settle(name, next_mark, |_, claim, grant: Grant| {
                sessions.note(claim.session, claim.seq, grant);
                told(claim.session);
            });
    }

    /// What has become of the call `id`, which was carried out and was to acquire.
    #[must_use]
    pub fn acquired(&self, id: &CallId) -> Acquired {
        if self.recall(id) == Recall::Done(false) {
            return Acquired::Held;
        }
        let standing = self.sessions.find(id.record, id.seq);
        let place = standing.and_then(|it| self.locks.place(&it.name, it.ticket));
        match place {
            None => Acquired::Ended,
            Some(Place { grant: None, .. }) => Acquired::Queued,
            Some(Place {
                grant: Some(grant), ..
            }) => Acquired::Granted(grant.token),
        }
    }

    /// What has changed for a session since `since`: at the most `most` of it.
    #[must_use]
    pub fn news(&self, session: RecordNumber, since: Mark, most: usize) -> News {
        let mut news = News {
            through: since,
            changes: Vec::new(),
        };
        for (mark, acquired, standing) in self.sessions.news(session, since).take(most) {
            let place = self.locks.place(&standing.name, standing.ticket);
            if let Some(grant) = place.and_then(|place| place.grant) {
                news.changes.push(Change {
                    acquired,
                    token: grant.token,
                    contended: grant.contended.is_some(),
                });
            }
            news.through = mark;
        }
        news
    }

    fn is_session(&self, record: RecordNumber) -> bool {
        self.record(record).is_some_and(|info| info.lease.is_some())
    }

    /// What [`apply`](Self::apply) would make of the call, without executing it.
    #[must_use]
    pub fn recall(&self, id: &CallId) -> Recall {
        self.clients.recall(id)
    }

    /// Whether the lock `name` is held.
    #[must_use]
    pub fn is_held(&self, name: &LockName) -> bool {
        self.locks.is_held(name)
    }

    /// How many locks are held.
    #[must_use]
    pub fn locks(&self) -> u64 {
        self.locks.held()
    }

    /// Whether a session owns the lock `name`.
    #[must_use]
    pub fn is_owned(&self, name: &LockName) -> bool {
        self.locks.is_owned(name)
    }

    /// How many places sessions have at locks: those that they hold, and those that they wait for.
    #[must_use]
    pub fn places(&self) -> u64 {
        self.locks.places()
    }

    /// How many places in the queues of locks there are.
    #[must_use]
    pub fn waiters(&self) -> u64 {
        self.locks.waiters()
    }

    /// How many records are open.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients.open_records()
    }

    /// What is known of the record `number`; none when it is not open.
    #[must_use]
    pub fn record(&self, number: RecordNumber) -> Option<RecordInfo> {
        self.clients.record(number)
    }

    /// All open records, in no particular order. Costs a step for each.
    pub fn records(&self) -> impl Iterator<Item = (RecordNumber, RecordInfo)> + '_ {
        self.clients.records()
    }

    /// Freezes the state as it is now, to be sent to another server chunk by chunk.
    ///
    /// Costs as little as a clone. Afterwards, the first change to each part of the tables copies that
    /// part, as long as the snapshot still holds it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("op", &self.op)
            .field("locks", &self.locks())
            .field("clients", &self.clients())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}
