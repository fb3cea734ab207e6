//! Records, and other things, in the order of the moment when each is to be looked at.

use std::collections::BTreeSet;

use super::Now;
use crate::types::RecordNumber;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due<K = RecordNumber>(BTreeSet<(Now, K)>);

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Due<K> {
    pub(super) const fn new() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Copy + Ord> Due<K> {
    pub(super) fn insert(&mut self, due: Now, key: K) {
        self.0.insert((due, key));
    }

    pub(super) fn remove(&mut self, due: Now, key: K) {
        self.0.remove(&(due, key));
    }

    /// The next moment.
    pub(super) fn next(&self) -> Option<Now> {
        self.0.first().map(|(due, _)| *due)
    }

    /// Takes out one whose moment has come.
    pub(super) fn pop(&mut self, now: Now) -> Option<K> {
        self.next().filter(|due| *due <= now)?;
        self.0.pop_first().map(|(_, key)| key)
    }

    #[cfg(test)]
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
