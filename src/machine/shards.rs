//! A hash map in shards that copies share until one of them writes.
//!
//! A server that is synced gets a consistent copy of the machine while clients go on. So a clone of
//! a [`Table`] clones pointers only, and a later write copies the one shard that it hits, once.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// The unused capacity that a shard may keep; more is freed.
const SMALL: usize = 8;

type Shard<K, V> = IndexMap<K, V, RandomState>;

/// Where an entry lives: a well spread number that follows from its key alone, so that the order of
/// a copy does not depend on a seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(pub(super) u64);

/// A hash map in a fixed number of copy-on-write shards.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Table<K: Hash + Eq, V> {
    shards: Box<[Arc<Shard<K, V>>]>,
    len: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Table<K, V> {
    /// Creates an empty table. All its shards are the same one until they are written to.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: vec![Arc::default(); shards].into_boxed_slice(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn get(&self, entry: Slot, key: &K) -> Option<&V> {
        self.shards[self.index(entry)].get(key)
    }

    /// Copies the shard if it is shared, even if the key is missing: use [`get`](Self::get) first
    /// where that is likely.
    pub(super) fn get_mut(&mut self, entry: Slot, key: &K) -> Option<&mut V> {
        self.shard_mut(entry).get_mut(key)
    }

    /// Inserts an entry. Its key must be new.
    pub(super) fn insert(&mut self, entry: Slot, key: K, value: V) {
        let shard = self.shard_mut(entry);
        make_room(shard);
        let previous = shard.insert(key, value);
        debug_assert!(previous.is_none(), "the key must be new");
        self.len += 1;
    }

    /// Returns the value of an entry, which is inserted if it is missing.
    pub(super) fn get_or_insert_with(
        &mut self,
        queue_entry: Slot,
        key: &K,
        value: impl FnOnce() -> V,
    ) -> &mut V {
        let at = self.index(queue_entry);
        let shard = Arc::make_mut(&mut self.shards[at]);
        let entry = shard.get_index_of(key).unwrap_or_else(|| {
            make_room(shard);
            self.len += 1;
            shard.insert_full(key.clone(), value()).0
        });
        &mut shard[entry]
    }

    /// Removes an entry. Copies no shared shard if the entry is missing.
    pub(super) fn remove(&mut self, entry: Slot, key: &K) -> Option<V> {
        self.get(entry, key)?;
        let shard = self.shard_mut(entry);
        let value = shard.swap_remove(key)?;
        give_room_back(shard);
        self.len -= 1;
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// The entries of a shard; none beyond the last.
    pub(super) fn shard(&self, shard: usize) -> Option<impl Iterator<Item = (&K, &V)>> {
        self.shards.get(shard).map(|shard| shard.iter())
    }

    fn index(&self, entry: Slot) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "less than the number of shards"
        )]
        let index = (entry.0 % self.shards.len() as u64) as usize;
        index
    }

    fn shard_mut(&mut self, entry: Slot) -> &mut Shard<K, V> {
        let index = self.index(entry);
        Arc::make_mut(&mut self.shards[index])
    }
}

/// Grows a full shard by a quarter: doubling, as collections do, would leave a third of the memory
/// of a large table unused.
fn make_room<K: Hash + Eq, V>(shard: &mut Shard<K, V>) {
    if shard.len() == shard.capacity() {
        shard.reserve_exact((shard.len() / 4).max(SMALL / 2));
    }
}

/// Shrinks a shard that has become much too large, but not so far that the next insertion grows it.
fn give_room_back<K: Hash + Eq, V>(shard: &mut Shard<K, V>) {
    if shard.capacity() > SMALL && shard.len() < shard.capacity() / 4 {
        shard.shrink_to(shard.len() * 2);
    }
}

/// Walks over the entries of a frozen table, and drops every shard that it has passed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Walk<K: Hash + Eq, V> {
    /// The shards that are not passed yet, without the empty ones.
    shards: VecDeque<Arc<Shard<K, V>>>,
    /// The position of the next entry in the first of them.
    entry: usize,
}

impl<K: Hash + Eq, V> Walk<K, V> {
    pub(super) fn new(table: &Table<K, V>) -> Self {
        let shards = table.shards.iter().filter(|shard| !shard.is_empty());
        Self {
            shards: shards.cloned().collect(),
            entry: 0,
        }
    }

    /// The next entry; none at the end.
    pub(super) fn peek(&self) -> Option<(&K, &V)> {
        self.shards.front()?.get_index(self.entry)
    }

    /// Skips the next entry.
    pub(super) fn advance(&mut self) {
        self.entry += 1;
        if self.peek().is_none() {
            self.shards.pop_front();
            self.entry = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: usize = 4;

    fn filled(len: u64) -> Table<u64, u64> {
        let mut table = Table::new(SHARDS);
        for key in 0..len {
            table.insert(Slot(key), key, key);
        }
        table
    }

    fn room(table: &Table<u64, u64>) -> usize {
        table.shards.iter().map(|shard| shard.capacity()).sum()
    }

    fn shared(one: &Table<u64, u64>, other: &Table<u64, u64>) -> usize {
        std::iter::zip(&one.shards, &other.shards)
            .filter(|(one, other)| Arc::ptr_eq(one, other))
            .count()
    }

    #[test]
    fn a_write_copies_the_shard_that_it_hits_and_no_other() {
        let original = filled(100);
        let mut copy = original.clone();
        copy.remove(Slot(5), &5);
        assert_eq!(shared(&original, &copy), SHARDS - 1);
        copy.insert(Slot(101), 101, 101);
        assert_eq!(shared(&original, &copy), SHARDS - 1);
        *copy.get_mut(Slot(6), &6).expect("it is there") = 0;
        assert_eq!(shared(&original, &copy), SHARDS - 2);
        assert!(original == filled(100));
    }

    #[test]
    fn removing_what_is_not_there_copies_nothing() {
        let original = filled(100);
        let mut copy = original.clone();
        assert_eq!(copy.remove(Slot(777), &777), None);
        assert_eq!(shared(&original, &copy), SHARDS);
    }

    #[test]
    fn the_shards_of_a_new_table_are_one() {
        let table = Table::<u64, u64>::new(SHARDS);
        assert!(
            table
                .shards
                .iter()
                .all(|shard| Arc::ptr_eq(shard, &table.shards[0]))
        );
        assert_eq!(room(&table), 0);
    }

    #[test]
    fn a_table_that_was_emptied_keeps_next_to_no_room() {
        let mut table = filled(100_000);
        assert!(room(&table) < 100_000 * 5 / 4 + SHARDS * SMALL);
        for key in 0..100_000 {
            assert_eq!(table.remove(Slot(key), &key), Some(key));
        }
        assert_eq!(table.len(), 0);
        assert!(room(&table) <= SHARDS * 2 * SMALL, "{}", room(&table));
    }

    #[test]
    fn a_walk_passes_every_entry_and_lets_go_of_the_shards_behind_it() {
        let mut table = filled(100);
        let mut walk = Walk::new(&table);
        let held = |table: &Table<u64, u64>| {
            table
                .shards
                .iter()
                .filter(|shard| Arc::strong_count(shard) > 1)
                .count()
        };
        let mut passed = Vec::new();
        while let Some((key, _)) = walk.peek() {
            passed.push(*key);
            assert_eq!(held(&table), SHARDS - (passed.len() - 1) / (100 / SHARDS));
            walk.advance();
        }
        assert_eq!(held(&table), 0);
        passed.sort_unstable();
        assert_eq!(passed, (0..100).collect::<Vec<_>>());
        table.remove(Slot(0), &0);
    }
}
