//! One lock that sessions own or wait for: first come first served.
//!
//! A place keeps the number of the command that asked for it, its ticket, so the queue is in the
//! order of tickets, on every server and after every copy. Whoever comes waits behind those who
//! wait, also when it could hold the lock together with its holders: so nobody starves.
//!
//! A mode promises how many hold the lock at once. Whoever is next gets in as soon as that breaks
//! no promise: neither its own nor one to a holder. Several are granted together if all of them fit
//! in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::{LockMode, Revision};
use crate::types::{OpNumber, Seq, SessionId, Token, UnixTime};

/// The op number of the command that asked for a place.
pub(super) type Ticket = OpNumber;

/// What a session asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct AcquireRequest {
    pub(super) session: SessionId,
    /// The call that asked.
    pub(super) seq: Seq,
    pub(super) mode: LockMode,
}

/// A claim that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) token: Token,
    /// When somebody came to wait for the lock.
    pub(super) contended: Option<Revision>,
    pub(super) since: UnixTime,
}

impl Grant {
    /// When its session last had reason to be told of it.
    pub(super) fn changed(self) -> Revision {
        self.contended.unwrap_or(Revision(self.token.0))
    }
}

/// A place at a lock: at its head, or in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct QueueEntry {
    pub(super) request: AcquireRequest,
    pub(super) grant: Option<Grant>,
}

/// A place at the head of a lock.
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

/// Who has the lock, and who waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    /// Held without an owner, until it is unlocked. Those who wait do so behind that.
    pub(super) unowned: bool,
    /// The least that any holder was promised, so that nobody has to look at all of them to get in.
    most_holders: u32,
    /// In the order of their tickets. Nearly always there is one.
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

    /// Held without an owner, and nobody waits.
    pub(super) fn is_only_unowned(&self) -> bool {
        self.unowned && self.holders.is_empty() && self.queue.is_empty()
    }

    /// Whether somebody who comes now gets the lock at once.
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

    /// Nobody has it, and nobody wants it.
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

    /// Where the holder with this ticket is, or would be.
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

    /// All places from the ticket `from` on, in their order: whoever waits came after all holders.
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

    /// Puts in a place with a ticket that is new. False if it is not.
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

    /// Grants a place, or changes its grant. Gives the place as it was.
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
            // A map keeps its last node.
            self.queue = BTreeMap::new();
        }
        Some(QueueEntry {
            request,
            grant: None,
        })
    }

    /// The place at the head of the queue, if its turn has come.
    pub(super) fn next_in_turn(&self) -> Option<Ticket> {
        let (ticket, request) = self.queue.first_key_value()?;
        self.has_room_for(request.mode).then_some(*ticket)
    }

    /// What `most_holders` is to be now that one has gone. Seldom a long search: most have the same
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

    /// The holders that have not been told yet that somebody waits.
    pub(super) fn unaware(&self) -> Vec<Ticket> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        // All are told at once, so those that are not came last.
        let newest_first = self.holders.iter().rev();
        newest_first
            .take_while(|holder| holder.grant.contended.is_none())
            .map(|holder| holder.ticket)
            .collect()
    }
}
