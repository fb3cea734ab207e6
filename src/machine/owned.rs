//! One lock that sessions own or wait for: first come first served.
//!
//! A queue entry has a ticket, the op number of the command that asked for it. The queue is ordered
//! by ticket, on every server and after every snapshot transfer. A new request waits behind the
//! waiters, even if it could share the lock with the holders: so no waiter starves.
//!
//! A mode promises how many hold the lock at once. The next waiter is granted the lock as soon as
//! that breaks no promise, neither its own nor a holder's. Several are granted together if all of
//! them fit in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::{LockMode, Revision};
use crate::types::{OpNumber, Seq, SessionId, Token, UnixTime};

/// The op number of the command that asked for a queue entry.
pub(super) type Ticket = OpNumber;

/// A session's request for the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct AcquireRequest {
    pub(super) session: SessionId,
    /// The call that requested it.
    pub(super) seq: Seq,
    pub(super) mode: LockMode,
}

/// A grant of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) token: Token,
    /// The revision at which the lock became contended.
    pub(super) contended: Option<Revision>,
    pub(super) since: UnixTime,
}

impl Grant {
    /// The revision of its last change.
    pub(super) fn changed(self) -> Revision {
        self.contended.unwrap_or(Revision(self.token.0))
    }
}

/// A queue entry: a holder or a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct QueueEntry {
    pub(super) request: AcquireRequest,
    pub(super) grant: Option<Grant>,
}

/// A holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) ticket: Ticket,
    pub(super) request: AcquireRequest,
    pub(super) grant: Grant,
}

impl Holder {
    const fn entry(&self) -> QueueEntry {
        QueueEntry {
            request: self.request,
            grant: Some(self.grant),
        }
    }
}

/// The holders and waiters of one lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    /// It is held as an unowned lock. Sessions wait until it is unlocked.
    pub(super) unowned: bool,
    /// The smallest number that a holder was promised, so that a grant need not search all of them.
    most_holders: u32,
    /// By ticket. There is nearly always one.
    holders: Vec<Holder>,
    queue: BTreeMap<Ticket, AcquireRequest>,
}

impl Default for Owned {
    fn default() -> Self {
        Self {
            unowned: false,
            most_holders: u32::MAX,
            holders: Vec::new(),
            queue: BTreeMap::new(),
        }
    }
}

impl Owned {
    pub(super) fn unowned() -> Self {
        Self {
            unowned: true,
            ..Self::default()
        }
    }

    /// Whether it is unowned and held, without waiters.
    pub(super) fn is_only_unowned(&self) -> bool {
        self.unowned && self.holders.is_empty() && self.queue.is_empty()
    }

    /// Whether a new request would be granted at once.
    pub(super) fn admits(&self, mode: LockMode) -> bool {
        self.queue.is_empty() && self.has_room_for(mode)
    }

    fn has_room_for(&self, mode: LockMode) -> bool {
        let most = self.most_holders.min(mode.most_holders());
        !self.unowned && (self.holders.len() as u64) < u64::from(most)
    }

    pub(super) fn is_owned(&self) -> bool {
        !self.holders.is_empty()
    }

    /// Whether it has no holders and no waiters.
    pub(super) fn is_free(&self) -> bool {
        !self.unowned && self.holders.is_empty() && self.queue.is_empty()
    }

    pub(super) fn entry(&self, ticket: Ticket) -> Option<QueueEntry> {
        if let Ok(at) = self.find(ticket) {
            return self.holders.get(at).map(Holder::entry);
        }
        let request = *self.queue.get(&ticket)?;
        Some(QueueEntry {
            request,
            grant: None,
        })
    }

    /// The position of the holder with this ticket, or where it would be inserted.
    fn find(&self, ticket: Ticket) -> Result<usize, usize> {
        self.holders
            .binary_search_by_key(&ticket, |holder| holder.ticket)
    }

    pub(super) fn holders(&self) -> &[Holder] {
        &self.holders
    }

    pub(super) fn waiters(&self) -> u64 {
        self.queue.len() as u64
    }

    /// All queue entries from the ticket `from` on, by ticket: every waiter came after all holders.
    pub(super) fn entries(&self, from: Ticket) -> impl Iterator<Item = (Ticket, QueueEntry)> {
        let (Ok(first) | Err(first)) = self.find(from);
        let holders = self.holders[first..].iter();
        let holders = holders.map(|holder| (holder.ticket, holder.entry()));
        let queue = self.queue.range(from..);
        holders.chain(queue.map(|(ticket, request)| {
            let request = *request;
            (
                *ticket,
                QueueEntry {
                    request,
                    grant: None,
                },
            )
        }))
    }

    /// Inserts a queue entry. False if its ticket is not new.
    pub(super) fn insert(&mut self, ticket: Ticket, entry: QueueEntry) -> bool {
        let (Err(at), false) = (self.find(ticket), self.queue.contains_key(&ticket)) else {
            return false;
        };
        match entry.grant {
            Some(grant) => {
                if self.holders.is_empty() {
                    self.holders.reserve_exact(1);
                }
                let request = entry.request;
                let holder = Holder {
                    ticket,
                    request,
                    grant,
                };
                self.holders.insert(at, holder);
                self.most_holders = self.most_holders.min(request.mode.most_holders());
            }
            None => drop(self.queue.insert(ticket, entry.request)),
        }
        true
    }

    /// Grants the lock to an entry, or changes its grant. Returns the entry as it was.
    pub(super) fn grant(&mut self, ticket: Ticket, grant: Grant) -> Option<QueueEntry> {
        if let Ok(at) = self.find(ticket) {
            let holder = self.holders.get_mut(at)?;
            let before = holder.entry();
            holder.grant = grant;
            return Some(before);
        }
        let before = self.remove(ticket)?;
        let grant = Some(grant);
        self.insert(ticket, QueueEntry { grant, ..before });
        Some(before)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<QueueEntry> {
        if let Ok(at) = self.find(ticket) {
            let holder = self.holders.remove(at);
            if holder.request.mode.most_holders() == self.most_holders {
                self.most_holders = self.least_promised();
            }
            return Some(holder.entry());
        }
        let request = self.queue.remove(&ticket)?;
        if self.queue.is_empty() {
            // A map keeps its last node allocated.
            self.queue = BTreeMap::new();
        }
        Some(QueueEntry {
            request,
            grant: None,
        })
    }

    /// The first waiter, if it can be granted the lock.
    pub(super) fn next_in_turn(&self) -> Option<Ticket> {
        let (ticket, request) = self.queue.first_key_value()?;
        self.has_room_for(request.mode).then_some(*ticket)
    }

    /// The new `most_holders` after a holder has left. Rarely a long search: most have the same
    /// mode.
    fn least_promised(&self) -> u32 {
        let mut least = u32::MAX;
        for holder in &self.holders {
            least = least.min(holder.request.mode.most_holders());
            if least == self.most_holders {
                break;
            }
        }
        least
    }

    /// The holders that have not been notified yet that others wait.
    pub(super) fn unaware(&self) -> Vec<Ticket> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        // All are notified at once, so those that were not came last.
        let newest_first = self.holders.iter().rev();
        newest_first
            .take_while(|holder| holder.grant.contended.is_none())
            .map(|holder| holder.ticket)
            .collect()
    }
}
