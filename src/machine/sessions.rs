//! The places that each session has at locks, and what it is to be told of them.
//!
//! All of it follows from the lock table: it is the way back from a session to its locks. A session
//! without places is not in here.

use std::collections::BTreeMap;

use super::owned::{Grant, Ticket};
use super::shards::{Place as At, Table};
use crate::service::Mark;
use crate::types::{LockName, RecordNumber, Seq};

/// As many as records have.
const SHARDS: usize = if cfg!(test) { 4 } else { 1024 };

/// The places of all sessions.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sessions {
    table: Table<RecordNumber, Session>,
}

/// The places of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Session {
    /// By the call that asked.
    places: BTreeMap<Seq, Standing>,
    /// What there is to tell, by when it last changed.
    news: BTreeMap<Mark, Seq>,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) name: LockName,
    pub(super) ticket: Ticket,
    changed: Option<Mark>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            table: Table::new(SHARDS),
        }
    }
}

impl Sessions {
    pub(super) fn insert(
        &mut self,
        session: RecordNumber,
        seq: Seq,
        (name, ticket): (LockName, Ticket),
        grant: Option<Grant>,
    ) {
        let entry = self
            .table
            .get_or_insert_with(at(session), &session, Session::default);
        let standing = Standing {
            name,
            ticket,
            changed: None,
        };
        entry.places.insert(seq, standing);
        if let Some(grant) = grant {
            self.note(session, seq, grant);
        }
    }

    /// The grant of the place is new, or has changed.
    pub(super) fn note(&mut self, session: RecordNumber, seq: Seq, grant: Grant) {
        let Some(entry) = self.table.get_mut(at(session), &session) else {
            return;
        };
        let Some(standing) = entry.places.get_mut(&seq) else {
            return;
        };
        let mark = grant.changed();
        if let Some(before) = standing.changed.replace(mark) {
            entry.news.remove(&before);
        }
        entry.news.insert(mark, seq);
    }

    pub(super) fn find(&self, session: RecordNumber, seq: Seq) -> Option<&Standing> {
        self.table.get(at(session), &session)?.places.get(&seq)
    }

    pub(super) fn remove(&mut self, session: RecordNumber, seq: Seq) -> Option<Standing> {
        self.find(session, seq)?;
        let entry = self.table.get_mut(at(session), &session)?;
        let standing = entry.places.remove(&seq)?;
        if let Some(mark) = standing.changed {
            entry.news.remove(&mark);
        }
        if entry.places.is_empty() {
            self.table.remove(at(session), &session);
        }
        Some(standing)
    }

    /// How many places a session has.
    pub(super) fn places(&self, session: RecordNumber) -> usize {
        let entry = self.table.get(at(session), &session);
        entry.map_or(0, |entry| entry.places.len())
    }

    /// Takes out all places of a session, in the order of their calls.
    pub(super) fn close(&mut self, session: RecordNumber) -> Vec<Standing> {
        let entry = self.table.remove(at(session), &session);
        let places = entry.unwrap_or_default().places;
        places.into_values().collect()
    }

    /// The places of a session, from the call `from` on, in the order of their calls.
    pub(super) fn places_from(
        &self,
        session: RecordNumber,
        from: Seq,
    ) -> impl Iterator<Item = (Seq, &Standing)> {
        let entry = self.table.get(at(session), &session).into_iter();
        let places = entry.flat_map(move |entry| entry.places.range(from..));
        places.map(|(seq, standing)| (*seq, standing))
    }

    /// What has changed since `since`, in order.
    pub(super) fn news(
        &self,
        session: RecordNumber,
        since: Mark,
    ) -> impl Iterator<Item = (Mark, Seq, &Standing)> {
        let entry = self.table.get(at(session), &session).into_iter();
        entry.flat_map(move |entry| {
            let news = entry.news.range(Mark(since.0.saturating_add(1))..);
            news.filter_map(|(mark, seq)| Some((*mark, *seq, entry.places.get(seq)?)))
        })
    }
}

/// Record numbers are op numbers: they spread by themselves.
const fn at(session: RecordNumber) -> At {
    At(session.0)
}
