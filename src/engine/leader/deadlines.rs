//! Records, and other things, in the order of the moment when each is to be looked at.

use std::collections::BTreeSet;

use super::Now;
use crate::types::SessionId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deadlines<K = SessionId>(BTreeSet<(Now, K)>);

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Deadlines<K> {
    pub(super) const fn new() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Copy + Ord> Deadlines<K> {
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
