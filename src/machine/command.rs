//! What the lock machine is told, and what comes of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::footprint;
use crate::service::{AcquireOptions, Acquired, CallId, Refusal, Resource, SessionTerms, Verb};
use crate::types::{ClientId, LockName, Retention, Seq, SessionId, Token, UnixTime};

/// What changes a [`Machine`](super::Machine). Replicated, in one total order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Opens a record for the calls of `client`.
    OpenSession {
        /// Whose record.
        client: ClientId,
        /// What a session is opened with. Whether its lease is over is for the primary to say, by
        /// `Expire`.
        terms: Option<Arc<SessionTerms>>,
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
        options: AcquireOptions,
    },
    /// Gives back what a session acquired, leaves the queue, or prevents both.
    Release {
        /// Which call this is.
        id: CallId,
        /// The call that acquired.
        acquired: Seq,
    },
    /// Takes a lock from whoever holds it by this token.
    Break {
        /// Which call this is.
        id: CallId,
        /// Which lock.
        name: LockName,
        /// The token of the grant.
        token: Token,
    },
    /// Drops a record, for its client is done. What a session owns is released.
    CloseSession {
        /// Whose record.
        client: ClientId,
        /// Which record.
        session: SessionId,
    },
    /// Drops a record of which nothing was heard, likewise. It has no effect when the record has
    /// moved on: a call may have come in before this command got its place in the order.
    Expire {
        /// Which record.
        session: SessionId,
        /// The record's [`next_seq`](super::SessionInfo::next_seq) when it was given up.
        seen: Seq,
    },
    /// Says what time it is, by the primary's wall clock: grants from here on keep it, for people
    /// to read. Given before a command that may grant something, when the time has changed.
    Clock {
        /// The time.
        time: UnixTime,
    },
    /// Lets what a session holds stay held for a time, also when the session lets go of it or ends.
    Retain {
        /// Which call this is.
        id: CallId,
        /// The call that acquired.
        acquired: Seq,
        /// How long from now on; no time at all ends an earlier retention.
        retention: Retention,
    },
    /// Says how much is left of a retention. When nothing is, the lock is released, unless its
    /// session still holds it.
    Elapse {
        /// The token of the grant.
        token: Token,
        /// What is left.
        left: Retention,
    },
}

impl Command {
    /// How much memory the command takes while it is queued, in bytes, by a safe estimate: a queue
    /// may have as much room again as it uses.
    pub(crate) fn queued_bytes(&self) -> u64 {
        const ENTRY: u64 = 2 * size_of::<Command>() as u64;
        match self {
            Self::Call { name, .. } | Self::Acquire { name, .. } | Self::Break { name, .. } => {
                ENTRY + footprint::of_name(name)
            }
            Self::OpenSession { terms: session, .. } => {
                let text = session.as_ref().map_or(0, |session| session.text_bytes());
                ENTRY + text as u64 * 2
            }
            Self::Retain { .. }
            | Self::Elapse { .. }
            | Self::Release { .. }
            | Self::CloseSession { .. }
            | Self::Expire { .. }
            | Self::Clock { .. } => ENTRY,
        }
    }

    /// More than the command takes on the wire, in bytes, at little cost.
    #[must_use]
    pub(crate) fn max_encoded_bytes(&self) -> usize {
        const NUMBERS: usize = 80;
        match self {
            Self::Call { name, .. } | Self::Acquire { name, .. } | Self::Break { name, .. } => {
                NUMBERS + name.as_str().len()
            }
            Self::OpenSession { terms: session, .. } => {
                NUMBERS + session.as_ref().map_or(0, |session| session.text_bytes())
            }
            Self::Release { .. }
            | Self::Retain { .. }
            | Self::CloseSession { .. }
            | Self::Expire { .. }
            | Self::Elapse { .. }
            | Self::Clock { .. } => NUMBERS,
        }
    }
}

/// What a [`Command`] led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Of `OpenSession`: the number that calls must carry.
    Opened(SessionId),
    /// Of `Call`: whether it locked or unlocked. Of `Release`, `Retain` and `Break`: whether the
    /// lock was held.
    Call(bool),
    /// Of `Acquire`.
    Acquired(Acquired),
    /// Of `CloseSession` and `Expire`: whether the record was there to be dropped. Of `Elapse`:
    /// whether the lock was retained.
    Dropped(bool),
    /// Of `Clock`.
    Noted,
    /// Of a call: it was not executed.
    Refused(CallRefusal),
}

/// Why a call was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum CallRefusal {
    /// The client has no record of that number.
    #[error("the client's session is not known")]
    UnknownSession,
    /// The call is below `first_incomplete`, so its outcome has been forgotten.
    #[error("the call was given up by its client")]
    GivenUp,
    /// The call is [`CALL_WINDOW`](crate::config::CALL_WINDOW) or more above `first_incomplete`.
    #[error("too many calls of one client are unanswered")]
    WindowFull,
    /// The lock is owned by a session, and cannot be unlocked.
    #[error("the lock is owned by a session")]
    Owned,
    /// The session has no lease, and cannot own locks.
    #[error("the session has no lease")]
    NoLease,
    /// The holder has not been told yet of [`MAX_BROKEN`](crate::config::MAX_BROKEN) others.
    #[error("too many locks of one session are broken")]
    TooManyBroken,
}

impl From<CallRefusal> for Refusal {
    fn from(refusal: CallRefusal) -> Self {
        match refusal {
            CallRefusal::UnknownSession => Self::UnknownSession,
            CallRefusal::GivenUp => Self::GivenUp,
            CallRefusal::WindowFull => Self::WindowFull,
            CallRefusal::Owned => Self::Owned,
            CallRefusal::NoLease => Self::NoLease,
            CallRefusal::TooManyBroken => Self::Overloaded(Resource::Broken),
        }
    }
}
