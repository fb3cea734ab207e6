//! Commands of the lock machine, and their outcomes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::footprint;
use crate::service::{AcquireOptions, Acquired, CallId, Refusal, Resource, SessionTerms, Verb};
use crate::types::{ClientId, LockName, Retention, Seq, SessionId, Token, UnixTime};

/// A change of a [`Machine`](super::Machine). Commands are replicated in one total order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Opens a session for the calls of `client`.
    OpenSession {
        /// Whose session.
        client: ClientId,
        /// The terms of a session with a lease. The primary decides when the lease is over, and
        /// says so by `Expire`.
        terms: Option<Arc<SessionTerms>>,
    },
    /// Locks or unlocks an unowned lock.
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
    /// Releases what a call acquired, or leaves the queue, or prevents a call yet to come from
    /// both.
    Release {
        /// Which call this is.
        id: CallId,
        /// The call that acquired.
        acquired: Seq,
    },
    /// Takes a lock from the session that holds it by this token.
    Break {
        /// Which call this is.
        id: CallId,
        /// Which lock.
        name: LockName,
        /// The token of the grant.
        token: Token,
    },
    /// Closes a session for its client. The locks that it owns are released.
    CloseSession {
        /// Whose session.
        client: ClientId,
        /// Which session.
        session: SessionId,
    },
    /// Closes a session that has expired. It has no effect if the session has executed a call since
    /// the primary gave it up.
    Expire {
        /// Which session.
        session: SessionId,
        /// The session's [`next_seq`](super::SessionInfo::next_seq) when it was given up.
        seen: Seq,
    },
    /// Sets the time, by the primary's wall clock. Later grants keep it, for people to read. Issued
    /// before a command that may grant a lock, if the time has changed.
    Clock {
        /// The time.
        time: UnixTime,
    },
    /// Retains a lock: it stays held for a time, even if its session releases it or ends.
    Retain {
        /// Which call this is.
        id: CallId,
        /// The call that acquired.
        acquired: Seq,
        /// How long from now on; zero ends an earlier retention.
        retention: Retention,
    },
    /// Sets the rest of a retention. At zero the lock is released, unless its session still holds
    /// it.
    Elapse {
        /// The token of the grant.
        token: Token,
        /// The time that is left.
        left: Retention,
    },
}

impl Command {
    /// An upper estimate of the memory that the command takes while it is queued, in bytes: a queue
    /// may have reserved twice as much as it uses.
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

    /// An upper bound of its size on the wire, in bytes, that is cheap to compute.
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

/// The outcome of a [`Command`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Of `OpenSession`: the session that calls must name.
    Opened(SessionId),
    /// Of `Call`: whether it locked or unlocked. Of `Release`, `Retain` and `Break`: whether the
    /// lock was held.
    Call(bool),
    /// Of `Acquire`.
    Acquired(Acquired),
    /// Of `CloseSession` and `Expire`: whether the session was open. Of `Elapse`: whether the lock
    /// was retained.
    Dropped(bool),
    /// Of `Clock`.
    Noted,
    /// Of a call: it was not executed.
    Refused(CallRefusal),
}

/// Why a call was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum CallRefusal {
    /// The client has no session of that number.
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
    /// The holder has not given up [`MAX_BROKEN`](crate::config::MAX_BROKEN) broken locks yet.
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
