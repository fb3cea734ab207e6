//! Records in the order of the moment when each is to be looked at.

use std::collections::BTreeSet;

use super::Now;
use crate::types::RecordNumber;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Due(BTreeSet<(Now, RecordNumber)>);

impl Due {
    pub(super) const fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub(super) fn insert(&mut self, due: Now, record: RecordNumber) {
        self.0.insert((due, record));
    }

    pub(super) fn remove(&mut self, due: Now, record: RecordNumber) {
        self.0.remove(&(due, record));
    }

    /// The next moment.
    pub(super) fn next(&self) -> Option<Now> {
        self.0.first().map(|(due, _)| *due)
    }

    /// Takes out a record whose moment has come.
    pub(super) fn pop(&mut self, now: Now) -> Option<RecordNumber> {
        self.next().filter(|due| *due <= now)?;
        self.0.pop_first().map(|(_, record)| record)
    }

    #[cfg(test)]
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
