//! The lock table. A lock that is not in it is free: free locks take no memory.

use super::digest::{self, EntryHash, Sum};
use super::footprint;
use super::owned::{AcquireRequest, Grant, Holder, Owned, QueueEntry, Ticket};
use super::shards::{self, Table, Walk};
use crate::service::{LockMode, Revision};
use crate::types::{LockName, Token, UnixTime};
#[cfg(test)]
use crate::types::{Seq, SessionId};

/// The number of shards. A snapshot costs a pointer for each, and a write after it the copy of one.
/// Few in tests, which keep many machines.
const SHARDS: usize = if cfg!(test) { 4 } else { 1024 };

/// A held lock. Nearly all locks are unowned without waiters: a null pointer.
pub(super) type Entry = Option<Box<Owned>>;

/// Whether a lock is unowned and held.
pub(super) fn is_unowned(entry: &Entry) -> bool {
    entry.as_ref().is_none_or(|owned| owned.unowned)
}

/// One lock, as tests see it.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    /// Whether it is unowned and held.
    pub(crate) unowned: bool,
    /// Every queue entry, in order: session, call, and the token of a holder.
    pub(crate) entries: Vec<((SessionId, Seq), Option<Token>)>,
}

/// The held locks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Locks {
    table: Table<LockName, Entry>,
    entries: u64,
    /// The number of waiters.
    waiters: u64,
    /// Their size in memory, by [`footprint`].
    bytes: u64,
    sum: Sum,
}

/// The result of an `unlock`.
pub(super) enum Unlocked {
    /// It was free already.
    WasFree,
    /// It is free now.
    Freed,
    /// It is unlocked, and sessions wait for it: the caller must grant it to them.
    Awaited,
    /// A session owns it. Nothing was changed.
    Owned,
}

impl Default for Locks {
    fn default() -> Self {
        Self {
            table: Table::new(SHARDS),
            entries: 0,
            waiters: 0,
            bytes: 0,
            sum: Sum::default(),
        }
    }
}

impl Locks {
    /// Takes an unowned lock if it is free, and returns whether it was.
    pub(super) fn lock(&mut self, name: &LockName) -> bool {
        let hash = digest::of_lock(name);
        if self.table.get(slot(hash), name).is_some() {
            return false;
        }
        self.table.insert(slot(hash), name.clone(), None);
        self.bytes += footprint::of_lock(name);
        self.sum.add(hash);
        true
    }

    /// Frees the lock if it is unowned and held. The caller must then grant the lock to waiters.
    pub(super) fn unlock(&mut self, name: &LockName) -> Unlocked {
        let hash = digest::of_lock(name);
        match self.table.get(slot(hash), name) {
            None => Unlocked::WasFree,
            Some(Some(owned)) if owned.is_owned() => Unlocked::Owned,
            Some(Some(_)) => {
                self.change(name, |owned| owned.unowned = false);
                self.sum.remove(hash);
                Unlocked::Awaited
            }
            Some(None) => {
                self.table.remove(slot(hash), name);
                self.bytes -= footprint::of_lock(name);
                self.sum.remove(hash);
                Unlocked::Freed
            }
        }
    }

    pub(super) fn is_held(&self, name: &LockName) -> bool {
        self.entry(name).is_some()
    }

    /// Whether a session owns the lock.
    pub(super) fn is_owned(&self, name: &LockName) -> bool {
        self.owned(name).is_some_and(Owned::is_owned)
    }

    /// Whether a new request would be granted at once.
    pub(super) fn admits(&self, name: &LockName, mode: LockMode) -> bool {
        match self.entry(name) {
            None => true,
            Some(None) => false,
            Some(Some(owned)) => owned.admits(mode),
        }
    }

    pub(super) fn entry_at(&self, name: &LockName, ticket: Ticket) -> Option<QueueEntry> {
        self.owned(name)?.entry(ticket)
    }

    /// The holder with this token.
    pub(super) fn holder(&self, name: &LockName, token: Token) -> Option<Holder> {
        let mut holders = self.owned(name)?.holders().iter().copied();
        holders.find(|holder| holder.grant.token == token)
    }

    /// The held locks in a shard.
    pub(super) fn shard(&self, shard: usize) -> Option<impl Iterator<Item = (&LockName, &Entry)>> {
        self.table.shard(shard)
    }

    /// Inserts a queue entry. False if its ticket is not new.
    pub(super) fn insert(&mut self, name: &LockName, ticket: Ticket, entry: QueueEntry) -> bool {
        let new = self.change(name, |owned| owned.insert(ticket, entry));
        if new {
            self.sum.add(digest::of_queue_entry(name, ticket, &entry));
            self.entries += 1;
            self.bytes += footprint::of_queue_entry(name);
            self.waiters += u64::from(entry.grant.is_none());
        }
        new
    }

    /// Removes a queue entry. The caller must then grant the lock to waiters.
    pub(super) fn remove(&mut self, name: &LockName, ticket: Ticket) -> Option<QueueEntry> {
        self.owned(name)?;
        let entry = self.change(name, |owned| owned.remove(ticket))?;
        self.sum
            .remove(digest::of_queue_entry(name, ticket, &entry));
        self.entries -= 1;
        self.bytes -= footprint::of_queue_entry(name);
        self.waiters -= u64::from(entry.grant.is_none());
        Some(entry)
    }

    /// Grants the lock to the waiters that fit in, and marks it contended for its holders if others
    /// wait; each with the next revision. Returns the changed entries, whose sessions are to be
    /// notified.
    pub(super) fn grant_waiters(
        &mut self,
        name: &LockName,
        since: UnixTime,
        mut next_mark: impl FnMut() -> Revision,
        mut notified: impl FnMut(AcquireRequest, Grant),
    ) {
        while let Some(ticket) = self.owned(name).and_then(Owned::next_in_turn) {
            let grant = Grant {
                token: Token(next_mark().0),
                contended: None,
                since,
            };
            self.update(name, ticket, grant, &mut notified);
        }
        let unaware = self.owned(name).map(Owned::unaware);
        for ticket in unaware.into_iter().flatten() {
            let entry = self.entry_at(name, ticket);
            let Some(grant) = entry.and_then(|entry| entry.grant) else {
                continue;
            };
            let contended = Some(next_mark());
            self.update(name, ticket, Grant { contended, ..grant }, &mut notified);
        }
    }

    fn update(
        &mut self,
        name: &LockName,
        ticket: Ticket,
        grant: Grant,
        notified: &mut impl FnMut(AcquireRequest, Grant),
    ) {
        let Some(before) = self.change(name, |owned| owned.grant(ticket, grant)) else {
            return;
        };
        let request = before.request;
        let after = QueueEntry {
            request,
            grant: Some(grant),
        };
        self.sum
            .remove(digest::of_queue_entry(name, ticket, &before));
        self.sum.add(digest::of_queue_entry(name, ticket, &after));
        self.waiters -= u64::from(before.grant.is_none());
        notified(request, grant);
    }

    /// Changes the entries of a lock; removes it if it is free, and shrinks it if it is unowned.
    fn change<R>(&mut self, name: &LockName, change: impl FnOnce(&mut Owned) -> R) -> R {
        let at = slot(digest::of_lock(name));
        let entry = self.table.get_or_insert_with(at, name, || {
            self.bytes += footprint::of_lock(name);
            Some(Box::default())
        });
        let owned = entry.get_or_insert_with(|| Box::new(Owned::unowned()));
        let result = change(owned);
        if owned.is_free() {
            self.table.remove(at, name);
            self.bytes -= footprint::of_lock(name);
        } else if owned.is_only_unowned() {
            *entry = None;
        }
        result
    }

    #[cfg(test)]
    pub(super) fn queue_of(&self, name: &LockName) -> Queue {
        let entry = self.entry(name);
        let owned = self.owned(name).into_iter();
        let entries = owned.flat_map(|owned| owned.entries(Ticket::default()));
        Queue {
            unowned: entry.is_some_and(is_unowned),
            entries: entries
                .map(|(_, QueueEntry { request, grant })| {
                    (
                        (request.session, request.seq),
                        grant.map(|grant| grant.token),
                    )
                })
                .collect(),
        }
    }

    /// All that is stored of a held lock.
    pub(super) fn entry(&self, name: &LockName) -> Option<&Entry> {
        self.table.get(slot(digest::of_lock(name)), name)
    }

    fn owned(&self, name: &LockName) -> Option<&Owned> {
        self.entry(name)?.as_deref()
    }

    pub(super) const fn held(&self) -> u64 {
        self.table.len()
    }

    /// The number of holders and waiters.
    pub(super) const fn entries(&self) -> u64 {
        self.entries
    }

    /// The number of waiters.
    pub(super) const fn waiters(&self) -> u64 {
        self.waiters
    }

    /// Their size in memory, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn walk(&self) -> Walk<LockName, Entry> {
        Walk::new(&self.table)
    }
}

const fn slot(hash: EntryHash) -> shards::Slot {
    shards::Slot(hash.bits())
}
