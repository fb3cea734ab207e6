//! The index from sessions to their queue entries, and to the notifications about them.
//!
//! It can be rebuilt from the lock table. A session without queue entries is not in it.

use std::collections::BTreeMap;

use super::owned::{Grant, Ticket};
use super::shards::{Slot as At, Table};
use crate::service::Revision;
use crate::types::{LockName, Seq, SessionId};

/// As many as the client table has.
const SHARDS: usize = if cfg!(test) { 4 } else { 1024 };

/// The queue entries of all sessions.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SessionIndex {
    table: Table<SessionId, SessionEntries>,
}

/// The queue entries of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SessionEntries {
    /// By the call that asked.
    entries: BTreeMap<Seq, EntryRef>,
    /// The notifications, by the revision of the last change.
    notifications: BTreeMap<Revision, Seq>,
}

/// One queue entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryRef {
    pub(super) name: LockName,
    pub(super) ticket: Ticket,
    changed: Option<Revision>,
}

impl Default for SessionIndex {
    fn default() -> Self {
        Self {
            table: Table::new(SHARDS),
        }
    }
}

impl SessionIndex {
    pub(super) fn insert(
        &mut self,
        session: SessionId,
        seq: Seq,
        (name, ticket): (LockName, Ticket),
        grant: Option<Grant>,
    ) {
        let entry = self
            .table
            .get_or_insert_with(at(session), &session, SessionEntries::default);
        let entry_ref = EntryRef {
            name,
            ticket,
            changed: None,
        };
        entry.entries.insert(seq, entry_ref);
        if let Some(grant) = grant {
            self.note(session, seq, grant);
        }
    }

    /// The entry's grant is new, or has changed.
    pub(super) fn note(&mut self, session: SessionId, seq: Seq, grant: Grant) {
        let Some(entry) = self.table.get_mut(at(session), &session) else {
            return;
        };
        let Some(entry_ref) = entry.entries.get_mut(&seq) else {
            return;
        };
        let revision = grant.changed();
        if let Some(before) = entry_ref.changed.replace(revision) {
            entry.notifications.remove(&before);
        }
        entry.notifications.insert(revision, seq);
    }

    pub(super) fn find(&self, session: SessionId, seq: Seq) -> Option<&EntryRef> {
        self.table.get(at(session), &session)?.entries.get(&seq)
    }

    pub(super) fn remove(&mut self, session: SessionId, seq: Seq) -> Option<EntryRef> {
        self.find(session, seq)?;
        let entry = self.table.get_mut(at(session), &session)?;
        let entry_ref = entry.entries.remove(&seq)?;
        if let Some(revision) = entry_ref.changed {
            entry.notifications.remove(&revision);
        }
        if entry.entries.is_empty() {
            self.table.remove(at(session), &session);
        }
        Some(entry_ref)
    }

    /// The number of a session's queue entries.
    pub(super) fn entries_of(&self, session: SessionId) -> usize {
        let entry = self.table.get(at(session), &session);
        entry.map_or(0, |entry| entry.entries.len())
    }

    /// Removes all queue entries of a session, in the order of their calls.
    pub(super) fn close(&mut self, session: SessionId) -> Vec<EntryRef> {
        let entry = self.table.remove(at(session), &session);
        let entries = entry.unwrap_or_default().entries;
        entries.into_values().collect()
    }

    /// The queue entries of a session from the call `from` on, in the order of their calls.
    pub(super) fn places_from(
        &self,
        session: SessionId,
        from: Seq,
    ) -> impl Iterator<Item = (Seq, &EntryRef)> {
        let entry = self.table.get(at(session), &session).into_iter();
        let entries = entry.flat_map(move |entry| entry.entries.range(from..));
        entries.map(|(seq, entry_ref)| (*seq, entry_ref))
    }

    /// The changes after `since`, in order.
    pub(super) fn notifications(
        &self,
        session: SessionId,
        since: Revision,
    ) -> impl Iterator<Item = (Revision, Seq, &EntryRef)> {
        let entry = self.table.get(at(session), &session).into_iter();
        entry.flat_map(move |entry| {
            let notifications = entry
                .notifications
                .range(Revision(since.0.saturating_add(1))..);
            notifications
                .filter_map(|(revision, seq)| Some((*revision, *seq, entry.entries.get(seq)?)))
        })
    }
}

/// Session numbers are op numbers, which are spread evenly.
const fn at(session: SessionId) -> At {
    At(session.0)
}
