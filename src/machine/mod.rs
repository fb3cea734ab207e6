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
mod record;
mod shards;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::service::{CallId, Refusal, Verb};
use crate::types::{ClientId, Digest, LockName, OpNumber, RecordNumber, Seq};
use clients::Clients;
use locks::Locks;

pub use clients::{Recall, RecordInfo};
pub use snapshot::{Chunk, Restore, RestoreError, Snapshot};

/// What changes a [`Machine`]. Replicated, in one total order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Opens a record for the calls of `client`.
    Open {
        /// Whose record.
        client: ClientId,
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
    /// Drops a record, for its client is done.
    Goodbye {
        /// Whose record.
        client: ClientId,
        /// Which record.
        record: RecordNumber,
    },
    /// Drops a record of which nothing was heard. It has no effect when the record has moved on: a call
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
            Self::Call { name, .. } => NUMBERS + name.as_str().len(),
            Self::Open { .. } | Self::Goodbye { .. } | Self::Expire { .. } => NUMBERS,
        }
    }
}

/// What a [`Command`] led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Of `Open`: the number that calls must carry.
    Opened(RecordNumber),
    /// Of `Call`: granted, or released.
    Call(bool),
    /// Of `Goodbye` and `Expire`: whether the record was there to be dropped.
    Dropped(bool),
    /// Of `Call`: it was not executed.
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
}

impl From<CallRefusal> for Refusal {
    fn from(refusal: CallRefusal) -> Self {
        match refusal {
            CallRefusal::UnknownRecord => Self::UnknownRecord,
            CallRefusal::GivenUp => Self::GivenUp,
            CallRefusal::WindowFull => Self::WindowFull,
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
    locks: Locks,
    clients: Clients,
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
            self.locks.sum(),
            self.clients.sum(),
        ])
    }

    /// Executes `command` and gives it the next op number, whatever its outcome.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.op = self.op.next();
        match command {
            Command::Open { client } => {
                let number = RecordNumber(self.op.0);
                self.clients.open(number, *client);
                Outcome::Opened(number)
            }
            Command::Call { id, verb, name } => self.call(id, *verb, name),
            Command::Goodbye { client, record } => {
                Outcome::Dropped(self.clients.close(*record, |info| info.client == *client))
            }
            Command::Expire { record, seen } => {
                Outcome::Dropped(self.clients.close(*record, |info| info.next_seq == *seen))
            }
        }
    }

    fn call(&mut self, id: &CallId, verb: Verb, name: &LockName) -> Outcome {
        match self.clients.recall(id) {
            Recall::Done(outcome) => Outcome::Call(outcome),
            Recall::Refused(refusal) => Outcome::Refused(refusal),
            Recall::Fresh => {
                let outcome = match verb {
                    Verb::Lock => self.locks.lock(name),
                    Verb::Unlock => self.locks.unlock(name),
                };
                self.clients.settle(id, outcome);
                Outcome::Call(outcome)
            }
        }
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
