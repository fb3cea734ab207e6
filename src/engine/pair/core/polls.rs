//! Polls of sessions that there is no news for: they wait for it, for a quarter of the lease at the
//! most.
//!
//! One of each session waits. So thousands of sessions that wait for thousands of locks cost a poll
//! each, and none of the calls in flight.

use std::collections::BTreeMap;

use super::due::Due;
#[cfg(test)]
use super::tests::Names;
use super::waiting::Asked;
use super::{Now, Via};
use crate::config::RENEWALS_IN_LEASE;
use crate::service::{Mark, Request};
use crate::types::{ClientId, Lease, RecordNumber, View};

/// What a poll asks: what is new in a session since a mark, by the history of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) client: ClientId,
    pub(super) record: RecordNumber,
    pub(super) since: Mark,
    pub(super) view: View,
}

/// A poll that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Poll<T> {
    pub(super) to: T,
    pub(super) via: Via,
    pub(super) question: Question,
}

/// The polls that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Polls<T> {
    waiting: BTreeMap<RecordNumber, (Now, Poll<T>)>,
    due: Due,
}

impl<T> Poll<T> {
    /// As it was asked.
    pub(super) fn into_asked(self) -> Asked<T> {
        let Question {
            client,
            record,
            since,
            view,
        } = self.question;
        let request = Request::Poll {
            client,
            record,
            since,
            view,
        };
        Asked {
            to: self.to,
            via: self.via,
            request,
        }
    }
}

impl<T> Polls<T> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            due: Due::new(),
        }
    }

    /// Lets a poll wait. Gives the one back that its session let wait before.
    pub(super) fn insert(&mut self, poll: Poll<T>, lease: Lease, now: Now) -> Option<Poll<T>> {
        let record = poll.question.record;
        let before = self.take(record);
        let due = now.after(lease.duration() / RENEWALS_IN_LEASE);
        self.waiting.insert(record, (due, poll));
        self.due.insert(due, record);
        before
    }

    pub(super) fn take(&mut self, record: RecordNumber) -> Option<Poll<T>> {
        let (due, poll) = self.waiting.remove(&record)?;
        self.due.remove(due, record);
        Some(poll)
    }

    /// When one of them has waited long enough.
    pub(super) fn next_due(&self) -> Option<Now> {
        self.due.next()
    }

    /// Takes out one that has waited long enough.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<Poll<T>> {
        let record = self.due.pop(now)?;
        self.waiting.remove(&record).map(|(_, poll)| poll)
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = Poll<T>> {
        self.waiting.into_values().map(|(_, poll)| poll)
    }

    /// The mark from which the waiting poll of a session asks.
    #[cfg(test)]
    pub(super) fn waits_from(&self, record: RecordNumber) -> Option<Mark> {
        let (_, poll) = self.waiting.get(&record)?;
        Some(poll.question.since)
    }

    /// Lets the poll of a session have waited long enough at `now`.
    #[cfg(test)]
    pub(super) fn let_end(&mut self, record: RecordNumber, now: Now) {
        if let Some((due, _)) = self.waiting.get_mut(&record) {
            self.due.remove(*due, record);
            *due = now;
            self.due.insert(now, record);
        }
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, longest: std::time::Duration, names: &mut impl Names) {
        self.due.clear();
        for (record, (due, _)) in &mut self.waiting {
            names.due(due, longest);
            self.due.insert(*due, *record);
        }
    }
}
