//! What is said of owned locks.

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
    /// Whether to queue for it while it is not to be had.
    pub waits: bool,
}

/// How many may hold a lock at once: a promise to each of its holders, for as long as it is one.
///
/// So requests that do not agree are safe: what counts is the least of what its holders, and
/// whoever is next, were promised.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum LockMode {
    /// Nobody else.
    #[default]
    Exclusive,
    /// Any number.
    Shared,
    /// So many at the most.
    Permits(NonZeroU32),
}

impl LockMode {
    /// How many may hold the lock at once; for any number, more than there can be.
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
    /// It has its place in the queue; [`Notifications`] tells of the grant.
    Queued,
    /// The lock is held, or others wait for it, and this call does not wait.
    Held,
    /// The call was carried out before, and what came of it has ended since.
    Ended,
}

/// Numbers what happens to sessions' locks, in the order in which it happens; tokens are such
/// numbers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

/// An answer, and the view in which the primary gave it.
///
/// Within one view there is one history. Where the view is another one than before, the two servers
/// may have been cut off from each other, and this one may know of a history that the client's
/// earlier answers are not part of.
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
    /// The last mark that is told of: what to ask from next.
    pub through: Revision,
    /// What has changed, in order; each names a lock that the session holds at this time.
    pub changes: Vec<Change>,
    /// The calls whose locks were taken from the session since.
    pub broken: Vec<Seq>,
}

/// The answer to `holdings`: what the servers have of a session, by the calls that acquire.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holdings {
    /// What changes later is told by a poll that asks for what is new since then.
    pub through: Revision,
    /// What the calls up to `next` have, in the order of their numbers.
    pub holdings: Vec<Holding>,
    /// The call to go on from; none at the end.
    pub next: Option<Seq>,
}

/// What a call that acquires has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// The call.
    pub acquired: Seq,
    /// What it has.
    pub state: HoldingState,
}

/// What a call that acquires has.
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
    /// It held the lock until that was broken.
    Broken,
}

/// Who holds a lock, and who waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LockInfo {
    /// Which lock.
    pub name: LockName,
    /// It is held by `lock`, and so belongs to nobody.
    pub is_unowned: bool,
    /// Those who hold it, and then those who wait, in the order in which they will get it: not all,
    /// if they are very many.
    pub entries: Vec<QueueEntryInfo>,
    /// How many wait.
    pub waiters: u64,
}

impl LockInfo {
    /// Whether it is held at all.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_unowned || !self.entries.is_empty()
    }

    /// Those who hold it.
    pub fn holders(&self) -> impl Iterator<Item = &QueueEntryInfo> {
        self.entries.iter().filter(|place| place.token.is_some())
    }

    /// Those who wait for it, in the order in which they will get it: not all, if they are very
    /// many.
    pub fn queue(&self) -> impl Iterator<Item = &QueueEntryInfo> {
        self.entries.iter().filter(|place| place.token.is_none())
    }
}

/// Who holds a lock or waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueueEntryInfo {
    /// Whose place it is.
    pub client: ClientId,
    /// In which of its sessions.
    pub session: SessionId,
    /// How many may hold the lock at once.
    pub mode: LockMode,
    /// The token of a holder; none of one who waits.
    pub token: Option<Token>,
    /// When it got the lock, by the wall clock of the server that was primary then; none for one
    /// who waits.
    pub since: Option<UnixTime>,
    /// What the client calls its session.
    pub name: Option<SessionName>,
    /// Where the client connected from when it opened the session, as its server saw it.
    pub address: Option<ClientAddress>,
    /// The sessions that this one runs inside and that are open, the nearest first: they do not end
    /// before it does.
    pub inside: Vec<SessionId>,
    /// How much longer the lock stays held whatever becomes of the session, if that is so.
    pub retained_for: Option<Duration>,
    /// Whether the session has let go of the lock: it is held for as long as it is retained.
    pub is_left: bool,
}

impl QueueEntryInfo {
    /// At most how many bytes it takes on the wire.
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

/// Where a listing goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The part of the table.
    pub shard: u32,
    /// The name in it that was listed last.
    pub after: Option<LockName>,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Page {
    /// Some locks, with the first of their places.
    pub locks: Vec<LockInfo>,
    /// Where the listing goes on; none at its end.
    pub next: Option<Cursor>,
}

/// How a lock that the session acquired now stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The call that acquired it.
    pub acquired: Seq,
    /// The token of the grant.
    pub token: Token,
    /// Whether somebody else waits for it.
    pub contended: bool,
}
