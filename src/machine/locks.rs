//! The lock table. A lock that is not in it is free: free locks take no memory.

use super::digest::{self, EntryHash, Sum};
use super::shards::{Place, Table, Walk};
use crate::types::LockName;

/// How many shards the table has. A snapshot costs a pointer for each; a write after it, the copy of one.
/// Few in tests, which keep many machines.
const SHARDS: usize = if cfg!(test) { 4 } else { 1024 };

/// The names of the held locks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Locks {
    table: Table<LockName, ()>,
    sum: Sum,
}

impl Default for Locks {
    fn default() -> Self {
        Self {
            table: Table::new(SHARDS),
            sum: Sum::default(),
        }
    }
}

impl Locks {
    /// Takes the lock if it is free, and returns whether it was.
    pub(super) fn lock(&mut self, name: &LockName) -> bool {
        let hash = digest::of_lock(name);
        if self.table.get(place(hash), name).is_some() {
            return false;
        }
        self.table.insert(place(hash), name.clone(), ());
        self.sum.add(hash);
        true
    }

    /// Frees the lock if it is held, and returns whether it was.
    pub(super) fn unlock(&mut self, name: &LockName) -> bool {
        let hash = digest::of_lock(name);
        let was_held = self.table.remove(place(hash), name).is_some();
        if was_held {
            self.sum.remove(hash);
        }
        was_held
    }

    pub(super) fn is_held(&self, name: &LockName) -> bool {
        self.table.get(place(digest::of_lock(name)), name).is_some()
    }

    pub(super) const fn held(&self) -> u64 {
        self.table.len()
    }

    pub(super) const fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn walk(&self) -> Walk<LockName, ()> {
        Walk::new(&self.table)
    }
}

const fn place(hash: EntryHash) -> Place {
    Place(hash.bits())
}
