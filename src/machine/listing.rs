//! What there is to be seen of locks: one of them, or all, page by page.
//!
//! The table has no order that a listing could follow, and sorting all of it would hold everybody up. So a
//! listing goes through the shards, a few at a time, and in each by name.

use super::Machine;
use super::locks::{Entry, is_ownerless};
use super::owned::Owned;
use crate::config::{MAX_PAGE_BYTES, MAX_PLACES_LISTED, MAX_PLACES_SHOWN, SHARDS_LISTED};
use crate::service::{Cursor, LockInfo, Page, PlaceInfo};
use crate::types::{LockName, OpNumber};

/// What a place takes on the wire, at the most.
const PLACE_BYTES: usize = 56;

impl Machine {
    /// Who holds the lock `name`, and who waits for it.
    #[must_use]
    pub fn show(&self, name: &LockName) -> LockInfo {
        self.info(name, self.locks.entry(name), MAX_PLACES_SHOWN)
    }

    /// The held locks whose names begin with `prefix`: those in a few shards, from `from` on.
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
                let bytes = name.as_str().len() + PLACE_BYTES * (1 + info.places.len());
                let Some(rest) = room.checked_sub(bytes) else {
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

    /// What is left of the shard at `from`, by name; none if there is no such shard.
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
        let places = owned
            .into_iter()
            .flat_map(|owned| owned.places(OpNumber(0)));
        let places = places.take(most).filter_map(|(_, place)| {
            let session = place.claim.session;
            Some(PlaceInfo {
                client: self.record(session)?.client,
                session,
                mode: place.claim.mode,
                token: place.grant.map(|grant| grant.token),
                since: place.grant.map(|grant| grant.since),
            })
        });
        LockInfo {
            name: name.clone(),
            is_ownerless: entry.is_some_and(is_ownerless),
            places: places.collect(),
            waiters: owned.map_or(0, Owned::waiters),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::service::Mode;
    use crate::types::{ClientId, RecordNumber, Token, UnixTime};

    #[test]
    fn a_lock_and_its_places_take_no_more_on_the_wire_than_is_reckoned_for_them() {
        let place = PlaceInfo {
            client: ClientId::from_u128(u128::MAX),
            session: RecordNumber(u64::MAX),
            mode: Mode::Permits(NonZeroU32::MAX),
            token: Some(Token(u64::MAX)),
            since: Some(UnixTime(u64::MAX)),
        };
        let bytes = postcard::to_stdvec(&place).expect("it encodes").len();
        assert!(bytes <= PLACE_BYTES, "{bytes} > {PLACE_BYTES}");
        let lock = LockInfo {
            name: LockName::new("q".repeat(LockName::MAX_BYTES)).expect("the longest name"),
            is_ownerless: true,
            places: vec![place; MAX_PLACES_LISTED],
            waiters: u64::MAX,
        };
        let bytes = postcard::to_stdvec(&lock).expect("it encodes").len();
        let reckoned = LockName::MAX_BYTES + PLACE_BYTES * (1 + MAX_PLACES_LISTED);
        assert!(bytes <= reckoned, "{bytes} > {reckoned}");
    }
}
