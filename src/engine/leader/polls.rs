//! Polls of sessions that there is no news for: they wait for it, for a quarter of the lease at the
//! most.
//!
//! One of each session waits. So thousands of sessions that wait for thousands of locks cost a poll
//! each, and none of the calls in flight.

use std::collections::BTreeMap;

#[cfg(test)]
use super::Moments;
use super::deadlines::Deadlines;
use super::{Now, PendingRequest};
use crate::config::RENEWALS_IN_LEASE;
use crate::engine::Via;
use crate::service::{Request, Revision};
use crate::types::{ClientId, Lease, SessionId, View};

/// What a poll asks: what is new in a session since a mark, by the history of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PollRequest {
    pub(crate) client: ClientId,
    pub(crate) session: SessionId,
    pub(crate) since: Revision,
    pub(crate) view: View,
}

/// A poll that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poll<T> {
    pub(crate) to: T,
    pub(crate) via: Via,
    pub(crate) request: PollRequest,
}

/// The polls that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Polls<T> {
    waiting: BTreeMap<SessionId, (Now, Poll<T>)>,
    deadlines: Deadlines,
}

impl<T> Poll<T> {
    /// As it was asked.
    pub(crate) fn into_request(self) -> PendingRequest<T> {
        let PollRequest {
            client,
            session,
            since,
            view,
        } = self.request;
        let request = Request::Poll {
            client,
            session,
            since,
            view,
        };
        PendingRequest {
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
            deadlines: Deadlines::new(),
        }
    }

    /// Lets a poll wait. Gives the one back that its session let wait before.
    pub(super) fn insert(&mut self, poll: Poll<T>, lease: Lease, now: Now) -> Option<Poll<T>> {
        let session = poll.request.session;
        let before = self.take(session);
        let due = now.after(lease.duration() / RENEWALS_IN_LEASE);
        self.waiting.insert(session, (due, poll));
        self.deadlines.insert(due, session);
        before
    }

    pub(super) fn take(&mut self, session: SessionId) -> Option<Poll<T>> {
        let (due, poll) = self.waiting.remove(&session)?;
        self.deadlines.remove(due, session);
        Some(poll)
    }

    /// When one of them has waited long enough.
    pub(super) fn next_due(&self) -> Option<Now> {
        self.deadlines.next()
    }

    /// Takes out one that has waited long enough.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<Poll<T>> {
        let session = self.deadlines.pop(now)?;
        self.waiting.remove(&session).map(|(_, poll)| poll)
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = Poll<T>> {
        self.waiting.into_values().map(|(_, poll)| poll)
    }

    /// The mark from which the waiting poll of a session asks.
    #[cfg(test)]
    pub(super) fn waits_from(&self, session: SessionId) -> Option<Revision> {
        let (_, poll) = self.waiting.get(&session)?;
        Some(poll.request.since)
    }

    /// Lets the poll of a session have waited long enough at `now`.
    #[cfg(test)]
    pub(super) fn let_end(&mut self, session: SessionId, now: Now) {
        if let Some((due, _)) = self.waiting.get_mut(&session) {
            self.deadlines.remove(*due, session);
            *due = now;
            self.deadlines.insert(now, session);
        }
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, longest: std::time::Duration, names: &mut impl Moments) {
        self.deadlines.clear();
        for (session, (due, _)) in &mut self.waiting {
            names.due(due, longest);
            self.deadlines.insert(*due, *session);
        }
    }
}
