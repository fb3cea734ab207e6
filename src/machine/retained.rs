//! Retained locks: they stay held for a time, even if their session releases them or ends.
//!
//! A lock is retained by its token. When its session releases it, or ends, the queue entry stays,
//! and this table keeps whose it was. The primary sets the time that is left, by
//! [`Command::Elapse`].
//!
//! [`Command::Elapse`]: super::Command::Elapse

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::{self, EntryHash, Sum};
use super::owned::Ticket;
use super::shards::{Slot as At, Table, Walk};
use crate::service::SessionTerms;
use crate::types::{ClientId, LockName, Retention, Token};

/// As many as the lock table has.
const SHARDS: usize = if cfg!(test) { 4 } else { 1024 };

/// The session that held a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) client: ClientId,
    pub(super) terms: Option<Arc<SessionTerms>>,
}

/// A lock that is retained.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct RetainedLock {
    pub(super) name: LockName,
    pub(super) ticket: Ticket,
    pub(super) left: Retention,
    /// Its holder, once the session has released it.
    pub(super) left_by: Option<Owner>,
}

impl RetainedLock {
    /// An upper bound of its size on the wire, in bytes.
    pub(super) fn encoded_bytes(&self) -> usize {
        const NUMBERS: usize = 80;
        let terms = self.left_by.as_ref().and_then(|it| it.terms.as_ref());
        let text = terms.map_or(0, |terms| terms.text_bytes());
        NUMBERS + self.name.as_str().len() + text
    }
}

/// All retained locks, by token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Retained {
    table: Table<Token, RetainedLock>,
    sum: Sum,
}

impl Default for Retained {
    fn default() -> Self {
        Self {
            table: Table::new(SHARDS),
            sum: Sum::default(),
        }
    }
}

impl Retained {
    pub(super) fn get(&self, token: Token) -> Option<&RetainedLock> {
        self.table.get(at(token), &token)
    }

    /// Inserts a retained lock. False if its token is not new.
    pub(super) fn insert(&mut self, token: Token, lock: RetainedLock) -> bool {
        let is_new = self.get(token).is_none();
        if is_new {
            self.sum.add(hash(token, &lock));
            self.table.insert(at(token), token, lock);
        }
        is_new
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<RetainedLock> {
        let lock = self.table.remove(at(token), &token)?;
        self.sum.remove(hash(token, &lock));
        Some(lock)
    }

    /// Sets the time that is left.
    pub(super) fn count_down(&mut self, token: Token, left: Retention) {
        self.change(token, |lock| lock.left = left);
    }

    /// The session of a lock releases it. Returns whether the lock is retained.
    pub(super) fn leave(&mut self, token: Token, owner: Owner) -> bool {
        self.change(token, |lock| lock.left_by = Some(owner))
    }

    fn change(&mut self, token: Token, change: impl FnOnce(&mut RetainedLock)) -> bool {
        let Some(mut lock) = self.remove(token) else {
            return false;
        };
        change(&mut lock);
        self.insert(token, lock)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &RetainedLock)> {
        self.table.iter().map(|(token, lock)| (*token, lock))
    }

    pub(super) const fn len(&self) -> u64 {
        self.table.len()
    }

    pub(super) const fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn walk(&self) -> Walk<Token, RetainedLock> {
        Walk::new(&self.table)
    }
}

/// Tokens rise, so they are spread evenly.
const fn at(token: Token) -> At {
    At(token.0)
}

fn hash(token: Token, lock: &RetainedLock) -> EntryHash {
    digest::of_retained(token, lock)
}
