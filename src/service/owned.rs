//! Owned locks, as they cross the wire.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{
    ClientAddress, ClientId, LockName, Seq, SessionId, SessionName, Token, UnixTime, View,
};

/// How an owned lock is to be acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AcquireOptions {
    /// How many may hold it at once.
    pub mode: LockMode,
    /// Whether to queue while it cannot be granted.
    pub waits: bool,
}

/// How many sessions may hold a lock at once: a promise to each holder, while it is one.
///
/// Requests may differ: the smallest number among the holders and the next waiter applies.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum LockMode {
    /// Nobody else.
    #[default]
    Exclusive,
    /// Any number.
    Shared,
    /// At most this many.
    Permits(NonZeroU32),
}

impl LockMode {
    /// How many may hold the lock at once; `u32::MAX` if any number may.
    #[must_use]
    pub const fn most_holders(self) -> u32 {
        match self {
            Self::Exclusive => 1,
            Self::Shared => u32::MAX,
            Self::Permits(most) => most.get(),
        }
    }
}

/// The answer to `acquire`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Acquired {
    /// The session holds the lock.
    Granted(Token),
    /// The session waits in the queue; [`Notifications`] report the grant.
    Queued,
    /// The lock is held, or others wait for it, and this call does not wait.
    Held,
    /// The call was executed before, and its queue entry has ended since.
    Ended,
}

/// The position of an event in the order of all events of sessions' locks. Tokens are such
/// positions.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

/// An answer, and the view in which the primary gave it.
///
/// There is one history within a view. If the view has changed, the servers may have been
/// partitioned, and the client's earlier answers may not be part of this server's history.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InView<T> {
    /// The primary's view.
    pub view: View,
    /// The answer.
    pub answer: T,
}

/// The answer to `poll`: empty for a poll of another view than the primary's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notifications {
    /// The last revision reported here: where the next poll continues.
    pub through: Revision,
    /// The changes, in order; each names a lock that the session holds now.
    pub changes: Vec<Change>,
    /// The calls whose locks were taken from the session since.
    pub broken: Vec<Seq>,
}

/// The answer to `holdings`: a session's queue entries, by the calls that asked for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holdings {
    /// The revision up to which the holdings are current; a poll from here reports later changes.
    pub through: Revision,
    /// The queue entries of the calls below `next`, in the order of the calls.
    pub holdings: Vec<Holding>,
    /// The call to continue with; none at the end.
    pub next: Option<Seq>,
}

/// The queue entry of a call that acquires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The call.
    pub acquired: Seq,
    /// The state of its entry.
    pub state: HoldingState,
}

/// The state of a queue entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HoldingState {
    /// It waits for the lock.
    Queued,
    /// It holds the lock.
    Held {
        /// The token of the grant.
        token: Token,
        /// Whether somebody else waits for the lock.
        contended: bool,
    },
    /// The lock was broken while the call held it.
    Broken,
}

/// The holders and waiters of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LockInfo {
    /// The name of the lock.
    pub name: LockName,
    /// Whether it is held as an unowned lock, by `lock`.
    pub is_unowned: bool,
    /// The holders, followed by the waiters in the order of the queue; truncated if there are very
    /// many.
    pub entries: Vec<QueueEntryInfo>,
    /// The number of all waiters.
    pub waiters: u64,
}

impl LockInfo {
    /// Whether it is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_unowned || !self.entries.is_empty()
    }

    /// The holders.
    pub fn holders(&self) -> impl Iterator<Item = &QueueEntryInfo> {
        self.entries.iter().filter(|place| place.token.is_some())
    }

    /// The waiters in the order of the queue; truncated if there are very many.
    pub fn queue(&self) -> impl Iterator<Item = &QueueEntryInfo> {
        self.entries.iter().filter(|place| place.token.is_none())
    }
}

/// A holder or waiter of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueEntryInfo {
    /// The client.
    pub client: ClientId,
    /// The client's session.
    pub session: SessionId,
    /// How many may hold the lock at once.
    pub mode: LockMode,
    /// The token of a holder; none for a waiter.
    pub token: Option<Token>,
    /// When the lock was granted, by the wall clock of the primary of that time; none for a waiter.
    pub since: Option<UnixTime>,
    /// The name that the client gave to its session.
    pub name: Option<SessionName>,
    /// The address from which the client opened the session, as its server saw it.
    pub address: Option<ClientAddress>,
    /// The open sessions that this one runs inside, the nearest first: they do not end before it.
    pub inside: Vec<SessionId>,
    /// How much longer the lock is retained, even if the session ends; none if it is not.
    pub retained_for: Option<Duration>,
    /// Whether the session has released the lock, which is still retained.
    pub is_left: bool,
}

impl QueueEntryInfo {
    /// An upper bound of its size on the wire, in bytes.
    #[cfg(feature = "server")]
    pub(crate) fn max_encoded_bytes(&self) -> usize {
        const FIXED: usize = 84;
        const NUMBER: usize = 10;
        let name = self.name.as_ref().map_or(0, |name| name.as_str().len());
        let address = self.address.as_ref();
        let address = address.map_or(0, |address| address.as_str().len());
        FIXED + name + address + NUMBER * self.inside.len()
    }

    /// Whether its session runs inside `other`, at any depth.
    #[must_use]
    pub fn is_inside(&self, other: SessionId) -> bool {
        self.inside.contains(&other)
    }
}

/// Where a listing continues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The shard of the table.
    pub shard: u32,
    /// The last name listed in that shard.
    pub after: Option<LockName>,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Page {
    /// Some locks, with their first queue entries.
    pub locks: Vec<LockInfo>,
    /// Where the listing continues; none at its end.
    pub next: Option<Cursor>,
}

/// The current state of a lock that the session acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The call that acquired it.
    pub acquired: Seq,
    /// The token of the grant.
    pub token: Token,
    /// Whether somebody else waits for it.
    pub contended: bool,
}
