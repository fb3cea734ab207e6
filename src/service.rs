//! What crosses the wire between clients and servers: a tarpc service, and the data it carries.
//!
//! [`LockService`] is plain tarpc with postcard as the codec. The service between servers belongs
//! to their engine. The preface of a connection names the service that it carries (see
//! [`rpc::preface`](crate::rpc::preface)).

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

/// The version of everything that follows the preface. Both ends of a connection must have the
/// same.
pub const PROTOCOL_VERSION: u16 = 6;

/// The service for clients. Any server answers: a backup relays to its primary.
///
/// Every answer except that of `status` is sent only once the backup has everything that led to it,
/// or if there is no backup.
///
/// Large answers are boxed, because every request and every connection reserves room for an answer
/// of any kind.
#[tarpc::service]
pub trait LockService {
    /// Opens a session for the calls of `client`: with terms it has a lease and can own locks.
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
    /// Releases the lock that the session acquired by the call `acquired`, or leaves its queue:
    /// true if the lock was held. If that call has not arrived yet, it will never acquire.
    async fn release(id: CallId, acquired: Seq) -> Result<bool, Refusal>;
    /// Takes the lock `name` from the session that holds it by `token`, and notifies that session:
    /// true if it was held by that token. The server logs `reason`.
    async fn break_lock(
        id: CallId,
        name: String,
        token: Token,
        reason: String,
    ) -> Result<bool, Refusal>;
    /// Returns the holders of the lock `name`, and its waiters.
    async fn show(name: String) -> Result<Box<LockInfo>, Refusal>;
    /// Returns a page of the held locks whose names begin with `prefix`, in no useful order. A lock
    /// that is held throughout the listing is on one of its pages; one that is taken or released
    /// meanwhile may be missing.
    async fn list(prefix: String, from: Cursor) -> Result<Box<Page>, Refusal>;
    /// Renews the lease of a session. Returns when there are notifications for the session later
    /// than `since`, or after a quarter of its lease; at once, and without notifications, if the
    /// primary's view is not `view`.
    async fn poll(
        client: ClientId,
        session: SessionId,
        since: Revision,
        view: View,
    ) -> Result<Box<InView<Notifications>>, Refusal>;
    /// Keeps a session without a lease from expiring.
    async fn keep_alive(client: ClientId, session: SessionId) -> Result<(), Refusal>;
    /// Closes a session.
    async fn close_session(client: ClientId, session: SessionId) -> Result<(), Refusal>;
    /// Returns how this server sees itself and its peer.
    async fn status() -> Box<ServerStatus>;
    /// Keeps the lock that the session acquired by the call `acquired` held for at least
    /// `retention` from now on, even if it is released or the session ends: true if it is held.
    async fn retain(id: CallId, acquired: Seq, retention: Retention) -> Result<bool, Refusal>;
    /// Renews the lease of a session, and returns a page of its queue entries, beginning with that
    /// of the call `from`.
    async fn holdings(
        client: ClientId,
        session: SessionId,
        from: Seq,
    ) -> Result<Box<InView<Holdings>>, Refusal>;
}

/// A request or a response that names its method.
pub trait Kind {
    /// The name of the method.
    fn kind(&self) -> &'static str;
}

/// Implements [`Kind`] for the requests and responses of a service.
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
    /// The session that the client opened.
    pub session: SessionId,
    /// The number of the call in that session.
    pub seq: Seq,
    /// The first call that has neither been answered nor given up.
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
        /// The terms of a session with a lease; none for one without.
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
        /// The last revision that the client knows.
        since: Revision,
        /// The view that the client's knowledge agrees with.
        view: View,
    },
    /// See [`LockService::keep_alive`].
    KeepAlive {
        /// Whose session.
        client: ClientId,
        /// Which session.
        session: SessionId,
    },
    /// See [`LockService::close_session`].
    CloseSession {
        /// Whose session.
        client: ClientId,
        /// Which session.
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
        /// The first call to report.
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

/// Why a server refused a request.
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
    /// The client has no session of that number: it expired, was closed, or belonged to a pair that
    /// is gone. This try was not executed.
    #[error("the client's session is not known")]
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
    /// The session has no lease, and so cannot own locks. Nothing was changed.
    #[error("the session has no lease")]
    NoLease,
    /// The server failed while it handled the call, which may have been executed.
    #[error("the server failed internally")]
    Internal,
}

impl Refusal {
    /// Whether this attempt may have been executed in spite of the refusal.
    #[must_use]
    pub const fn may_have_executed(self) -> bool {
        matches!(self, Self::Interrupted | Self::Internal)
    }
}

/// A resource that a server limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Resource {
    /// Calls that wait for their answer.
    Calls,
    /// Sessions.
    Clients,
    /// Held locks.
    Locks,
    /// Broken locks that a session has not given up yet.
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
#[non_exhaustive]
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
