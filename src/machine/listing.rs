//! Shows one lock, or lists all of them page by page.
//!
//! The table has no order that a listing could follow, and sorting all of it would delay all calls.
//! So a listing goes through the shards, a few at a time, and in each by name.

use std::iter::successors;

use super::Machine;
use super::locks::{Entry, is_unowned};
use super::owned::{Holder, Owned, QueueEntry};
use super::retained::Owner;
use crate::config::{
    MAX_NESTING, MAX_PAGE_BYTES, MAX_PLACES_LISTED, MAX_PLACES_SHOWN, MAX_SHOWN_BYTES,
    SHARDS_LISTED,
};
use crate::service::{Cursor, LockInfo, Page, QueueEntryInfo, SessionTerms};
use crate::types::{LockName, OpNumber, Retention, SessionId, Token};

/// An upper bound of a lock's size on the wire without its name and queue entries, in bytes.
const LOCK_BYTES: usize = 16;

impl Machine {
    /// Returns the holders of the lock `name`, and its waiters.
    #[must_use]
    pub fn show(&self, name: &LockName) -> LockInfo {
        let mut lock = self.info(name, self.locks.entry(name), MAX_PLACES_SHOWN);
        let mut room = MAX_SHOWN_BYTES;
        let fitting = lock.entries.iter().take_while(|entry| {
            let rest = room.checked_sub(entry.max_encoded_bytes());
            room = rest.unwrap_or(0);
            rest.is_some()
        });
        let fitting = fitting.count();
        lock.entries.truncate(fitting);
        lock
    }

    /// Returns the held locks whose names begin with `prefix`, in the next few shards from `from`.
    #[must_use]
    pub fn list(&self, prefix: &str, from: &Cursor) -> Page {
        let mut room = MAX_PAGE_BYTES;
        let (mut locks, mut next) = (Vec::new(), from.clone());
        for _ in 0..SHARDS_LISTED {
            let Some(entries) = self.entries(prefix, &next) else {
                return Page { locks, next: None };
            };
            for (name, entry) in entries {
                let info = self.info(name, Some(entry), MAX_PLACES_LISTED);
                let Some(rest) = room.checked_sub(max_encoded_bytes(&info)) else {
                    let next = Some(next);
                    return Page { locks, next };
                };
                room = rest;
                locks.push(info);
                next.after = Some(name.clone());
            }
            next = Cursor {
                shard: next.shard + 1,
                after: None,
            };
        }
        let next = Some(next);
        Page { locks, next }
    }

    /// The rest of the shard at `from`, by name; none if there is no such shard.
    fn entries(&self, prefix: &str, from: &Cursor) -> Option<Vec<(&LockName, &Entry)>> {
        let shard = self.locks.shard(usize::try_from(from.shard).ok()?)?;
        let mut entries: Vec<_> = shard
            .filter(|(name, _)| name.as_str().starts_with(prefix))
            .filter(|(name, _)| from.after.as_ref().is_none_or(|after| *name > after))
            .collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        Some(entries)
    }

    fn info(&self, name: &LockName, entry: Option<&Entry>, most: usize) -> LockInfo {
        let owned = entry.and_then(Option::as_deref);
        let entries = owned
            .into_iter()
            .flat_map(|owned| owned.entries(OpNumber(0)));
        let entries = entries.take(most);
        let entries = entries.filter_map(|(_, queue_entry)| self.entry_info(&queue_entry));
        LockInfo {
            name: name.clone(),
            is_unowned: entry.is_some_and(is_unowned),
            entries: entries.collect(),
            waiters: owned.map_or(0, Owned::waiters),
        }
    }

    /// The holder of the lock `name` by `token`.
    #[must_use]
    pub fn holder(&self, name: &LockName, token: Token) -> Option<QueueEntryInfo> {
        let Holder { ticket, .. } = self.locks.holder(name, token)?;
        self.entry_info(&self.locks.entry_at(name, ticket)?)
    }

    fn entry_info(&self, entry: &QueueEntry) -> Option<QueueEntryInfo> {
        let session = entry.request.session;
        let retained = entry.grant.and_then(|grant| self.retained.get(grant.token));
        let left_by = retained.and_then(|lock| lock.left_by.as_ref());
        let (client, terms) = match left_by {
            Some(Owner { client, terms }) => (*client, terms.as_deref()),
            None => (self.session(session)?.client, self.terms(session)),
        };
        Some(QueueEntryInfo {
            client,
            session,
            mode: entry.request.mode,
            token: entry.grant.map(|grant| grant.token),
            since: entry.grant.map(|grant| grant.since),
            name: terms.and_then(|terms| terms.name.clone()),
            address: terms.and_then(|terms| terms.address.clone()),
            inside: terms.map_or_else(Vec::new, |terms| self.around(session, terms)),
            retained_for: retained.map(|lock| Retention::duration(lock.left)),
            is_left: left_by.is_some(),
        })
    }

    /// The open sessions that `terms` runs inside, the nearest first.
    #[must_use]
    pub fn ancestors(&self, session: SessionId) -> Vec<SessionId> {
        let terms = self.terms(session);
        terms.map_or_else(Vec::new, |terms| self.around(session, terms))
    }

    fn around(&self, session: SessionId, terms: &SessionTerms) -> Vec<SessionId> {
        let outer = |session: SessionId, terms: &SessionTerms| {
            // An inner session was opened after its outer one, so there is no cycle.
            let outer = terms.inside.filter(|outer| *outer < session)?;
            self.terms(outer).map(|terms| (outer, terms))
        };
        let all = successors(outer(session, terms), |(session, terms)| {
            outer(*session, terms)
        });
        all.map(|(session, _)| session).take(MAX_NESTING).collect()
    }
}

fn max_encoded_bytes(lock: &LockInfo) -> usize {
    let entries = lock.entries.iter().map(QueueEntryInfo::max_encoded_bytes);
    LOCK_BYTES + lock.name.as_str().len() + entries.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::service::LockMode;
    use crate::types::{ClientAddress, ClientId, SessionId, SessionName, Token, UnixTime};

    #[test]
    fn a_lock_and_its_places_take_no_more_on_the_wire_than_is_reckoned_for_them() {
        let text = |bytes: usize| "x".repeat(bytes);
        let entry = QueueEntryInfo {
            client: ClientId::from_u128(u128::MAX),
            session: SessionId(u64::MAX),
            mode: LockMode::Permits(NonZeroU32::MAX),
            token: Some(Token(u64::MAX)),
            since: Some(UnixTime(u64::MAX)),
            name: SessionName::new(text(SessionName::MAX_BYTES)).ok(),
            address: Some(ClientAddress::new(&text(ClientAddress::MAX_BYTES))),
            inside: vec![SessionId(u64::MAX); MAX_NESTING],
            retained_for: Some(Duration::MAX),
            is_left: true,
        };
        let bytes = postcard::to_stdvec(&entry).expect("it encodes").len();
        let reckoned = entry.max_encoded_bytes();
        assert!(bytes <= reckoned, "{bytes} > {reckoned}");
        let lock = LockInfo {
            name: LockName::new("q".repeat(LockName::MAX_BYTES)).expect("the longest name"),
            is_unowned: true,
            entries: vec![entry; MAX_PLACES_LISTED],
            waiters: u64::MAX,
        };
        let bytes = postcard::to_stdvec(&lock).expect("it encodes").len();
        let reckoned = max_encoded_bytes(&lock);
        assert!(bytes <= reckoned, "{bytes} > {reckoned}");
    }
}
