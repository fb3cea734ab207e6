//! How sessions acquire and release locks, and their notifications.
//!
//! A queue entry belongs to a call. A release names the call that acquired, so it cannot release
//! what another call has acquired since, and a repeated call finds its entry. Every command that
//! may free a lock ends by granting it to the next waiters.

use super::client_table::SessionInfo;
use super::command::{CallRefusal, Command, Outcome};
use super::owned::{AcquireRequest, Grant, Holder, QueueEntry};
use super::retained::{Owner, RetainedLock};
use super::session_index::EntryRef;
use super::{DuplicateLookup, Machine, Step};
use crate::service::{
    AcquireOptions, Acquired, CallId, Change, Holding, HoldingState, Holdings, Notifications,
    Revision, Verb,
};
use crate::types::{ClientId, LockName, OpNumber, Retention, Seq, ServerId, SessionId, Token};

impl Machine {
    pub(super) fn acquire(
        &mut self,
        id: &CallId,
        name: &LockName,
        options: AcquireOptions,
        step: &mut Step<'_>,
    ) -> Outcome {
        match self.clients.find_duplicate(id) {
            DuplicateLookup::Done(_) => return Outcome::Acquired(self.acquired(id)),
            DuplicateLookup::Refused(refusal) => return Outcome::Refused(refusal),
            DuplicateLookup::Fresh => {}
        }
        if !self.is_session(id.session) {
            return Outcome::Refused(CallRefusal::NoLease);
        }
        let is_admitted = self.locks.admits(name, options.mode);
        let comes_in = is_admitted || options.waits;
        self.clients.store_outcome(id, comes_in);
        if !comes_in {
            return Outcome::Acquired(Acquired::Held);
        }
        let request = AcquireRequest {
            session: id.session,
            seq: id.seq,
            mode: options.mode,
        };
        let grant = is_admitted.then(|| self.new_grant(step.issuer));
        let ticket = self.op;
        self.locks
            .insert(name, ticket, QueueEntry { request, grant });
        let entry = (name.clone(), ticket);
        self.sessions.insert(id.session, id.seq, entry, grant);
        let Some(Grant { token, .. }) = grant else {
            // This grants nothing, but the holders must learn that others wait.
            self.grant_and_notify(name, step);
            return Outcome::Acquired(Acquired::Queued);
        };
        Outcome::Acquired(Acquired::Granted(token))
    }

    /// Makes a grant of the lock.
    fn new_grant(&mut self, issuer: ServerId) -> Grant {
        Grant {
            token: Token(revision_after(&mut self.revision, self.op, issuer).0),
            contended: None,
            since: self.clock,
        }
    }

    pub(super) fn release(&mut self, id: &CallId, acquired: Seq, step: &mut Step<'_>) -> Outcome {
        if let Some(known) = self.known(id) {
            return known;
        }
        let mut was_held = false;
        self.clients.forget_broken(id.session, acquired);
        if let Some(entry) = self.sessions.remove(id.session, acquired) {
            was_held = self.leave(&entry, self.owner(id.client, id.session));
            self.grant_and_notify(&entry.name, step);
        } else {
            // The call that acquires may still arrive. It has been given up.
            let first = CallId {
                seq: acquired,
                ..*id
            };
            if acquired < id.seq && self.clients.find_duplicate(&first) == DuplicateLookup::Fresh {
                self.clients.store_outcome(&first, false);
            }
        }
        self.clients.store_outcome(id, was_held);
        Outcome::Call(was_held)
    }

    /// Retains the lock that the call `acquired` holds, even if its session releases it or ends.
    pub(super) fn retain(&mut self, id: &CallId, acquired: Seq, retention: Retention) -> Outcome {
        if let Some(known) = self.known(id) {
            return known;
        }
        let entry = self.sessions.find(id.session, acquired).cloned();
        let queue_entry = entry.as_ref();
        let queue_entry = queue_entry.and_then(|it| self.locks.entry_at(&it.name, it.ticket));
        let token = queue_entry
            .and_then(|queue_entry| queue_entry.grant)
            .map(|grant| grant.token);
        if let (Some(EntryRef { name, ticket, .. }), Some(token)) = (entry, token) {
            self.retained.remove(token);
            if !retention.is_zero() {
                let lock = RetainedLock {
                    name,
                    ticket,
                    left: retention,
                    left_by: None,
                };
                self.retained.insert(token, lock);
            }
        }
        self.clients.store_outcome(id, token.is_some());
        Outcome::Call(token.is_some())
    }

    /// Sets the rest of a retention.
    pub(super) fn elapse(&mut self, token: Token, left: Retention, step: &mut Step<'_>) -> Outcome {
        let is_retained = self.retained.get(token).is_some();
        if !left.is_zero() {
            self.retained.count_down(token, left);
        } else if let Some(lock) = self.retained.remove(token)
            && lock.left_by.is_some()
        {
            self.locks.remove(&lock.name, lock.ticket);
            self.grant_and_notify(&lock.name, step);
        }
        Outcome::Dropped(is_retained)
    }

    pub(super) fn break_lock(
        &mut self,
        id: &CallId,
        name: &LockName,
        token: Token,
        step: &mut Step<'_>,
    ) -> Outcome {
        if let Some(known) = self.known(id) {
            return known;
        }
        let holder = self.locks.holder(name, token);
        if let Some(Holder {
            ticket, request, ..
        }) = holder
        {
            let AcquireRequest { session, seq, .. } = request;
            let is_left = self.sessions.find(session, seq).is_none();
            if !is_left {
                let revision = revision_after(&mut self.revision, self.op, step.issuer);
                if !self.clients.note_broken(session, revision, seq) {
                    return Outcome::Refused(CallRefusal::TooManyBroken);
                }
                self.sessions.remove(session, seq);
                (step.told)(session);
            }
            self.retained.remove(token);
            self.locks.remove(name, ticket);
            self.grant_and_notify(name, step);
        }
        let was_held = holder.is_some();
        self.clients.store_outcome(id, was_held);
        Outcome::Call(was_held)
    }

    /// Removes a session's queue entry, unless it is retained. Returns whether the lock was held.
    fn leave(&mut self, entry: &EntryRef, owner: Owner) -> bool {
        let EntryRef { name, ticket, .. } = entry;
        let queue_entry = self.locks.entry_at(name, *ticket);
        let token = queue_entry
            .and_then(|queue_entry| queue_entry.grant)
            .map(|grant| grant.token);
        if !token.is_some_and(|token| self.retained.leave(token, owner)) {
            self.locks.remove(name, *ticket);
        }
        token.is_some()
    }

    fn owner(&self, client: ClientId, session: SessionId) -> Owner {
        let terms = self.clients.terms(session).cloned();
        Owner { client, terms }
    }

    /// Removes a session if `condition` holds, and releases the locks that it owns, except retained
    /// ones. All of its queue entries are removed first, so that none of them is granted meanwhile.
    pub(super) fn close(
        &mut self,
        session: SessionId,
        condition: impl FnOnce(SessionInfo) -> bool,
        step: &mut Step<'_>,
    ) -> Outcome {
        let Some(SessionInfo { client, .. }) = self.session(session) else {
            return Outcome::Dropped(false);
        };
        let owner = self.owner(client, session);
        let closed = self.clients.close(session, condition);
        if closed {
            let entries = self.sessions.close(session);
            for entry in &entries {
                self.leave(entry, owner.clone());
            }
            for EntryRef { name, .. } in &entries {
                self.grant_and_notify(name, step);
            }
        }
        Outcome::Dropped(closed)
    }

    /// Grants the lock to the waiters that fit in. Notifies their sessions, and those of holders
    /// whose lock has become contended.
    pub(super) fn grant_and_notify(&mut self, name: &LockName, step: &mut Step<'_>) {
        let issuer = step.issuer;
        let (op, revision, sessions) = (self.op, &mut self.revision, &mut self.sessions);
        let next_mark = || revision_after(revision, op, issuer);
        let locks = &mut self.locks;
        locks.grant_waiters(name, self.clock, next_mark, |request, grant: Grant| {
            sessions.note(request.session, request.seq, grant);
            (step.told)(request.session);
        });
    }

    /// Whether `command` may grant a lock, so that the time must be set before it. An unowned call
    /// grants none, unless it unlocks a lock that sessions wait for.
    #[must_use]
    pub fn may_grant(&self, command: &Command) -> bool {
        match command {
            Command::Acquire { .. } | Command::Release { .. } | Command::Break { .. } => true,
            Command::Call { verb, .. } => *verb == Verb::Unlock && self.waiters() > 0,
            Command::CloseSession { session, .. } | Command::Expire { session, .. } => {
                self.is_session(*session)
            }
            Command::Elapse { left, .. } => left.is_zero(),
            Command::OpenSession { .. } | Command::Retain { .. } | Command::Clock { .. } => false,
        }
    }

    /// The present outcome of the call `id`, which asked for a lock and was executed.
    #[must_use]
    pub fn acquired(&self, id: &CallId) -> Acquired {
        if self.find_duplicate(id) == DuplicateLookup::Done(false) {
            return Acquired::Held;
        }
        let entry = self.sessions.find(id.session, id.seq);
        let queue_entry = entry.and_then(|it| self.locks.entry_at(&it.name, it.ticket));
        match queue_entry {
            None => Acquired::Ended,
            Some(QueueEntry { grant: None, .. }) => Acquired::Queued,
            Some(QueueEntry {
                grant: Some(grant), ..
            }) => Acquired::Granted(grant.token),
        }
    }

    /// Returns a session's notifications after `since`, at most `most` of them.
    #[must_use]
    pub fn notifications(&self, session: SessionId, since: Revision, most: usize) -> Notifications {
        let mut notifications = Notifications {
            through: since,
            ..Notifications::default()
        };
        for (revision, acquired, entry) in self.sessions.notifications(session, since).take(most) {
            let queue_entry = self.locks.entry_at(&entry.name, entry.ticket);
            if let Some(grant) = queue_entry.and_then(|queue_entry| queue_entry.grant) {
                notifications.changes.push(Change {
                    acquired,
                    token: grant.token,
                    contended: grant.contended.is_some(),
                });
            }
            notifications.through = revision;
        }
        let is_all = notifications.changes.len() < most;
        for (revision, acquired) in self.clients.broken(session) {
            if *revision > since {
                notifications.broken.push(*acquired);
            }
            if is_all {
                notifications.through = notifications.through.max(*revision);
            }
        }
        notifications
    }

    /// Returns what a session holds and waits for, and which of its locks were broken, by its calls
    /// from `from` on, with at most `most` holders and waiters.
    #[must_use]
    pub fn holdings(&self, session: SessionId, from: Seq, most: usize) -> Holdings {
        let mut entries = self.sessions.places_from(session, from);
        let page = entries.by_ref().take(most);
        let mut holdings: Vec<_> = page
            .map(|(acquired, entry)| {
                let queue_entry = self.locks.entry_at(&entry.name, entry.ticket);
                let grant = queue_entry.and_then(|queue_entry| queue_entry.grant);
                let state = grant.map_or(HoldingState::Queued, |grant| HoldingState::Held {
                    token: grant.token,
                    contended: grant.contended.is_some(),
                });
                Holding { acquired, state }
            })
            .collect();
        let next = entries.next().map(|(acquired, _)| acquired);
        let broken = self.clients.broken(session).iter();
        let broken = broken.map(|(_, acquired)| *acquired);
        let told_here = |acquired: &Seq| *acquired >= from && next.is_none_or(|it| *acquired < it);
        holdings.extend(broken.filter(told_here).map(|acquired| Holding {
            acquired,
            state: HoldingState::Broken,
        }));
        holdings.sort_unstable_by_key(|holding| holding.acquired);
        Holdings {
            through: self.revision,
            holdings,
            next,
        }
    }

    fn is_session(&self, session: SessionId) -> bool {
        self.session(session)
            .is_some_and(|info| info.lease.is_some())
    }
}

/// Returns the next revision that `issuer` may make. Those of each server have a remainder of their
/// own, so that two servers that both believe to be primary never make the same one.
fn revision_after(revision: &mut Revision, op: OpNumber, issuer: ServerId) -> Revision {
    const ISSUERS: u64 = ServerId::BOTH.len() as u64;
    let least = op.0.max(revision.0 + 1);
    let ahead = (u64::from(u8::from(issuer)) + ISSUERS - least % ISSUERS) % ISSUERS;
    *revision = Revision(least + ahead);
    *revision
}
