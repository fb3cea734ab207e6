//! What crosses the wire between clients and servers: a tarpc service, and the data it carries.
//!
//! [`LockService`] is plain tarpc with postcard as the codec. What servers ask of each other is in
//! their engine. The preface of a connection says which of the two it carries (see
//! [`net::preface`](crate::rpc::preface)).

mod obstacle;
mod owned;
mod session;
mod status;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::{
    ClientAddress, ClientId, LockName, NameError, Retention, Seq, SessionId, Token, View,
};

pub use self::obstacle::Obstacle;
pub use self::owned::{
    AcquireOptions, Acquired, Change, Cursor, Holding, HoldingState, Holdings, InView, LockInfo,
    LockMode, Notifications, Page, QueueEntryInfo, Revision,
};
pub use self::session::{Opened, SessionTerms};
pub use self::status::ServerStatus;

/// The version of everything that is said after the preface. Both ends of a connection must have
/// the same.
pub const PROTOCOL_VERSION: u16 = 6;

/// What clients ask of a server. Any server of the pair answers: a backup relays to its primary.
///
/// Every answer but that of `status` is given only when the other server has what led to it, or
/// when there is no other server.
///
/// Answers that may be large are in a box: every request and every connection has room for an
/// answer of any kind.
#[tarpc::service]
pub trait LockService {
    /// Opens a record for the calls of `client`: that of a session, which can own locks, or none.
    async fn open_session(
        client: ClientId,
        session: Option<Arc<SessionTerms>>,
    ) -> Result<Opened, Refusal>;
    /// Locks `name`: true when it was free and is now held, false when it was held.
    async fn lock(id: CallId, name: String) -> Result<bool, Refusal>;
    /// Unlocks `name`: true when it was held and is now free, false when it was free.
    async fn unlock(id: CallId, name: String) -> Result<bool, Refusal>;
    /// Acquires `name` for the session, or queues for it.
    async fn acquire(
        id: CallId,
        name: String,
        options: AcquireOptions,
    ) -> Result<Acquired, Refusal>;
    /// Gives back what the session acquired by the call `acquired`, or leaves the queue: true when
    /// the lock was held. Of a call that has not arrived yet it is seen to that it never acquires
    /// anything.
    async fn release(id: CallId, acquired: Seq) -> Result<bool, Refusal>;
    /// Takes the lock `name` from whoever holds it by `token`, and tells them: true when it was
    /// held so. The server logs `reason`.
    async fn break_lock(
        id: CallId,
        name: String,
        token: Token,
        reason: String,
    ) -> Result<bool, Refusal>;
    /// Who holds the lock `name`, and who waits for it.
    async fn show(name: String) -> Result<Box<LockInfo>, Refusal>;
    /// A page of the locks that are held and whose names begin with `prefix`, in no useful order.
    /// What is held all the while is on one of the pages; what comes and goes meanwhile may be.
    async fn list(prefix: String, from: Cursor) -> Result<Box<Page>, Refusal>;
    /// Renews the lease of a session. Answered when anything has changed for the session since
    /// `since`, or after a quarter of its lease; at once and without news when the primary's view
    /// is not `view`.
    async fn poll(
        client: ClientId,
        session: SessionId,
        since: Revision,
        view: View,
    ) -> Result<Box<InView<Notifications>>, Refusal>;
    /// Keeps the record from expiring.
    async fn keep_alive(client: ClientId, session: SessionId) -> Result<(), Refusal>;
    /// Closes the record.
    async fn close_session(client: ClientId, session: SessionId) -> Result<(), Refusal>;
    /// How this server sees itself and its peer.
    async fn status() -> Box<ServerStatus>;
    /// Keeps what the session acquired by the call `acquired` held for at least so long from now
    /// on, also when it is released or the session ends: true when the lock is held.
    async fn retain(id: CallId, acquired: Seq, retention: Retention) -> Result<bool, Refusal>;
    /// Renews the lease of a session, and returns a page of what it holds and waits for, from the
    /// call `from` on.
    async fn holdings(
        client: ClientId,
        session: SessionId,
        from: Seq,
    ) -> Result<Box<InView<Holdings>>, Refusal>;
}

/// A question or an answer of which it can be told to which method it belongs.
pub trait Kind {
    /// The method.
    fn kind(&self) -> &'static str;
}

/// Says so of the questions and answers of a service.
macro_rules! kinds {
    ($request:ident, $response:ident: $($method:ident),*) => {
        impl $crate::service::Kind for $request {
            fn kind(&self) -> &'static str {
                match self {
                    $(Self::$method { .. } => stringify!($method),)*
                }
            }
        }

        impl $crate::service::Kind for $response {
            fn kind(&self) -> &'static str {
                match self {
                    $(Self::$method(_) => stringify!($method),)*
                }
            }
        }
    };
}

#[cfg(feature = "server")]
pub(crate) use kinds;

kinds!(
    LockServiceRequest, LockServiceResponse:
    OpenSession, Lock, Unlock, Acquire, Release, Retain, BreakLock, Show, List, Poll, Holdings, KeepAlive,
    CloseSession, Status
);

/// Identifies a call, so that a repeated one is recognised (RIFL, Lee et al. 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallId {
    /// Who calls.
    pub client: ClientId,
    /// The record that the client opened.
    pub session: SessionId,
    /// The number of the call in that record.
    pub seq: Seq,
    /// Every call below this one has been answered, or given up.
    pub first_incomplete: Seq,
}

/// What a call does to its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// Take it if it is free.
    Lock,
    /// Free it if it is held.
    Unlock,
}

/// A client's request, as a backup relays it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// See [`LockService::open_session`].
    OpenSession {
        /// Who will call.
        client: ClientId,
        /// What a session is opened with; none for a record that owns nothing.
        terms: Option<Arc<SessionTerms>>,
    },
    /// See [`LockService::lock`] and [`LockService::unlock`].
    Call {
        /// Which call this is.
        id: CallId,
        /// What to do.
        verb: Verb,
        /// To which lock.
        name: LockName,
    },
    /// See [`LockService::acquire`].
    Acquire {
        /// Which call this is.
        id: CallId,
        /// Which lock.
        name: LockName,
        /// In which mode, and whether to wait.
        options: AcquireOptions,
    },
    /// See [`LockService::release`].
    Release {
        /// Which call this is.
        id: CallId,
        /// The call that acquired.
        acquired: Seq,
    },
    /// See [`LockService::break_lock`].
    Break {
        /// Which call this is.
        id: CallId,
        /// Which lock.
        name: LockName,
        /// By which token it is held.
        token: Token,
        /// Why, for the log.
        reason: String,
        /// Where the client connected from, for the log.
        address: Option<ClientAddress>,
    },
    /// See [`LockService::show`].
    Show {
        /// Which lock.
        name: LockName,
    },
    /// See [`LockService::list`].
    List {
        /// What the names begin with.
        prefix: String,
        /// Where to go on.
        from: Cursor,
    },
    /// See [`LockService::poll`].
    Poll {
        /// Whose session.
        client: ClientId,
        /// Which session.
        session: SessionId,
        /// What the client knows of.
        since: Revision,
        /// The view that the client's knowledge agrees with.
        view: View,
    },
    /// See [`LockService::keep_alive`].
    KeepAlive {
        /// Whose record.
        client: ClientId,
        /// Which record.
        session: SessionId,
    },
    /// See [`LockService::close_session`].
    CloseSession {
        /// Whose record.
        client: ClientId,
        /// Which record.
        session: SessionId,
    },
    /// See [`LockService::retain`].
    Retain {
        /// Which call this is.
        id: CallId,
        /// The call that acquired.
        acquired: Seq,
        /// How long the lock stays held at least.
        retention: Retention,
    },
    /// See [`LockService::holdings`].
    Holdings {
        /// Whose session.
        client: ClientId,
        /// Which session.
        session: SessionId,
        /// The first call to tell of.
        from: Seq,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// To `OpenSession`.
    Opened(Opened),
    /// To `Call`: whether it locked or unlocked. To `Release`, `Retain` and `Break`: whether the
    /// lock was held.
    Call(bool),
    /// To `Acquire`.
    Acquired(Acquired),
    /// To `Poll`.
    Notifications(Box<InView<Notifications>>),
    /// To `Show`.
    Lock(Box<LockInfo>),
    /// To `List`.
    Page(Box<Page>),
    /// To `KeepAlive` and `CloseSession`.
    Done,
    /// To `Holdings`.
    Holdings(Box<InView<Holdings>>),
}

/// Why a server did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The server has not met its peer yet, or is not in a position to answer. This try was not
    /// executed; an earlier one may have been.
    #[error("the server is not ready")]
    NotReady,
    /// The server had taken the call and lost its role before it could answer. The call may have
    /// been executed.
    #[error("the server lost its role before it could answer")]
    Interrupted,
    /// A limit of the server is reached. This try was not executed.
    #[error("the server is overloaded: too many {0}")]
    Overloaded(Resource),
    /// There is no record of that number for that client: it expired, was closed, or belonged to a
    /// pair that is gone. This try was not executed.
    #[error("the client's record is not known")]
    UnknownSession,
    /// The call is below `first_incomplete`, so its outcome has been forgotten. This try was not
    /// executed.
    #[error("the call was given up by its client")]
    GivenUp,
    /// The call is too far ahead of `first_incomplete`. This try was not executed.
    #[error("too many calls of one client are unanswered")]
    WindowFull,
    /// The name is no lock name. Nothing was changed.
    #[error(transparent)]
    InvalidName(#[from] NameError),
    /// The lock is owned by a session, and only its owner releases it. Nothing was changed.
    #[error("the lock is owned: only its owner can release it")]
    Owned,
    /// The record has no lease, and so cannot own locks. Nothing was changed.
    #[error("the record has no lease")]
    NoLease,
    /// The server failed while it handled the call, which may have been executed.
    #[error("the server failed internally")]
    Internal,
}

impl Refusal {
    /// Whether this very try can have been executed in spite of the refusal.
    #[must_use]
    pub const fn may_have_executed(self) -> bool {
        matches!(self, Self::Interrupted | Self::Internal)
    }
}

/// What a server has a limit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Resource {
    /// Calls that wait for their answer.
    Calls,
    /// Client records.
    Clients,
    /// Held locks.
    Locks,
    /// Broken locks of a session that has not been told of them.
    Broken,
    /// Locks and clients, for the memory that the server may use.
    Memory,
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Calls => "calls in flight",
            Self::Clients => "clients",
            Self::Locks => "held locks",
            Self::Broken => "broken locks of one session",
            Self::Memory => "locks and clients for their memory",
        })
    }
}

/// A server's role in the pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// It has not met its peer, or is being synced: it answers no client.
    #[default]
    Starting,
    /// It is a primary without a backup.
    #[serde(rename = "alone")]
    Standalone,
    /// It is a primary with a backup.
    Primary,
    /// It is a backup.
    Backup,
}

impl std::fmt::Display for RoleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Standalone => "primary (alone)",
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}
