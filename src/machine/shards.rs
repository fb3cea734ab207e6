//! A hash map in shards that copies share until one of them writes.
//!
//! A server that is synced gets a consistent copy of the machine while clients go on. So a clone of a
//! [`Table`] clones pointers only, and a later write copies the one shard that it hits, once.

use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// A shard may keep this much room for nothing; more is given back.
const SMALL: usize = 8;

type Shard<K, V> = IndexMap<K, V, RandomState>;

/// Where an entry lives: any well spread number that follows from its key alone, lest the order of a
/// copy depend on a seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(pub(super) u64);

/// A hash map in a fixed number of copy-on-write shards.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Table<K: Hash + Eq, V> {
    shards: Box<[Arc<Shard<K, V>>]>,
    len: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Table<K, V> {
    /// Makes an empty table. Its shards are one and the same until they are written to.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: vec![Arc::default(); shards].into_boxed_slice(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn get(&self, place: Place, key: &K) -> Option<&V> {
        self.shards[self.index(place)].get(key)
    }

    /// Copies the shard if it is shared, whether or not the key is there: look with [`get`](Self::get)
    /// first where that is likely to be for nothing.
    pub(super) fn get_mut(&mut self, place: Place, key: &K) -> Option<&mut V> {
        self.shard_mut(place).get_mut(key)
    }

    /// Puts an entry in. Its key must not be there yet.
    pub(super) fn insert(&mut self, place: Place, key: K, value: V) {
        let shard = self.shard_mut(place);
        make_room(shard);
        let previous = shard.insert(key, value);
        debug_assert!(previous.is_none(), "the key must be new");
        self.len += 1;
    }

    /// Takes an entry out. Copies no shared shard when there is nothing to take.
    pub(super) fn remove(&mut self, place: Place, key: &K) -> Option<V> {
        self.get(place, key)?;
        let shard = self.shard_mut(place);
        let value = shard.swap_remove(key)?;
        give_room_back(shard);
        self.len -= 1;
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    fn index(&self, place: Place) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "less than the number of shards"
        )]
        let index = (place.0 % self.shards.len() as u64) as usize;
        index
    }

    fn shard_mut(&mut self, place: Place) -> &mut Shard<K, V> {
        let index = self.index(place);
        Arc::make_mut(&mut self.shards[index])
    }
}

/// Grows a full shard by a quarter: doubling, as collections do, would leave a third of the memory of a
/// large table unused.
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

/// Walks over the entries of a frozen table, and lets go of every shard that it has passed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Walk<K: Hash + Eq, V> {
    table: Table<K, V>,
    shard: usize,
    entry: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Walk<K, V> {
    pub(super) const fn new(table: Table<K, V>) -> Self {
        Self {
            table,
            shard: 0,
            entry: 0,
        }
    }

    /// The entry to come; none at the end.
    pub(super) fn peek(&mut self) -> Option<(&K, &V)> {
        while self.entry >= self.table.shards.get(self.shard)?.len() {
            self.table.shards[self.shard] = Arc::default();
            self.shard += 1;
            self.entry = 0;
        }
        self.table.shards[self.shard].get_index(self.entry)
    }

    /// Goes past the entry to come.
    pub(super) const fn advance(&mut self) {
        self.entry += 1;
    }
}
