//! What a primary does for sessions: opens them, lets their polls wait, and times what they retain.

use std::sync::Arc;

use super::event::{Event, SessionOwner};
use super::fullness::lacking_for_client;
use super::polls::PollRequest;
use super::primary::{self, Plan, Primary};
use super::{Now, Settings};
use crate::config::{MAX_HOLDINGS, MAX_NOTIFICATIONS};
use crate::machine::{Command, DuplicateLookup, Outcome, footprint};
use crate::service::{
    Acquired, Answer, CallId, Cursor, InView, LockInfo, Notifications, Opened, Page, Refusal,
    Request, SessionTerms,
};
use crate::types::{ClientId, Lease, LockName, Retention, Seq, SessionId, Token};

impl<T> Primary<T> {
    pub(super) fn open(
        &mut self,
        now: Now,
        settings: &Settings,
        client: ClientId,
        session: Option<Arc<SessionTerms>>,
    ) -> Plan {
        if let Some(resource) = lacking_for_client(&self.machine, &settings.limits) {
            return Plan::Read(Err(Refusal::Overloaded(resource)));
        }
        let lease = session.as_ref().map(|session| session.lease);
        let outcome = self.propose(Command::OpenSession {
            client,
            terms: session,
        });
        let Outcome::Opened(session_id) = outcome else {
            return Plan::Executed(primary::answer(outcome));
        };
        match lease {
            Some(lease) => self.leases.begin(session_id, lease, now),
            None => self.last_seen.note(session_id, now),
        }
        let time_to_live = lease.map_or(settings.session_time_to_live, Lease::duration);
        Plan::Executed(Ok(Answer::Opened(Opened {
            session: session_id,
            time_to_live,
            inside: self.machine.ancestors(session_id),
            view: self.view,
        })))
    }

    pub(super) fn poll(&mut self, now: Now, request: PollRequest) -> Plan {
        let lease = match self.renew(now, request.client, request.session) {
            Ok(lease) => lease,
            Err(refusal) => return Plan::Read(Err(refusal)),
        };
        let notifications = self.notifications(request);
        let is_news =
            !notifications.answer.changes.is_empty() || !notifications.answer.broken.is_empty();
        if is_news || request.view != self.view {
            return Plan::Read(Ok(Answer::Notifications(notifications.into())));
        }
        Plan::Waits(request, lease)
    }

    /// The answer to a poll. One of another view asks by the marks of another history, perhaps: it
    /// is told of the view alone.
    pub(super) fn notifications(&self, request: PollRequest) -> InView<Notifications> {
        let PollRequest { session, since, .. } = request;
        let answer = if request.view == self.view {
            self.machine
                .notifications(session, since, MAX_NOTIFICATIONS)
        } else {
            Notifications {
                through: since,
                ..Notifications::default()
            }
        };
        InView {
            view: self.view,
            answer,
        }
    }

    /// What a session holds and waits for, from the call `from` on.
    pub(super) fn holdings(
        &mut self,
        now: Now,
        client: ClientId,
        session: SessionId,
        from: Seq,
    ) -> Plan {
        Plan::Read(self.renew(now, client, session).map(|_| {
            let holdings = InView {
                view: self.view,
                answer: self.machine.holdings(session, from, MAX_HOLDINGS),
            };
            Answer::Holdings(holdings.into())
        }))
    }

    /// Renews the lease of a session, and returns it.
    fn renew(&mut self, now: Now, client: ClientId, session: SessionId) -> Result<Lease, Refusal> {
        let info = self.machine.session(session);
        let info = info.filter(|info| info.client == client);
        let lease = info.ok_or(Refusal::UnknownSession)?.lease;
        let lease = lease.ok_or(Refusal::NoLease)?;
        self.note_seen(session, now);
        Ok(lease)
    }

    /// A record is about to be dropped. Its poll, if there is one, is told so.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.last_seen.forget(session);
        self.leases.end(session);
        self.notified.push(session);
    }

    /// Something came from the client of a record.
    pub(super) fn note_seen(&mut self, session: SessionId, now: Now) {
        self.last_seen.note_known(session, now);
        self.leases.renew(session, now);
    }

    /// Lets a lock stay held for a time, and counts it from now on unless the call is a repeated
    /// one.
    pub(super) fn retain(
        &mut self,
        now: Now,
        settings: &Settings,
        id: &CallId,
        (acquired, retention): (Seq, Retention),
    ) -> Plan {
        let is_fresh = self.machine.find_duplicate(id) == DuplicateLookup::Fresh;
        let growth = if retention.is_zero() {
            0
        } else {
            footprint::RETAINED_BYTES
        };
        let plan = self.call(
            now,
            settings,
            id,
            |_| growth,
            || Command::Retain {
                id: *id,
                acquired,
                retention,
            },
        );
        let first = CallId {
            seq: acquired,
            ..*id
        };
        if is_fresh && let Acquired::Granted(token) = self.machine.acquired(&first) {
            self.retentions.end(token);
            if let Some(left) = self.machine.retention(token) {
                self.retentions.begin(token, left, now);
            }
        }
        plan
    }

    /// Says how much is left of the retentions that are due, and ends those that are over.
    pub(super) fn elapse(&mut self, now: Now) {
        while let Some((token, left)) = self.retentions.pop_due(now) {
            self.propose(Command::Elapse { token, left });
        }
    }

    /// A lock was broken: nothing is left to be timed.
    pub(super) fn forget_retention(&mut self, token: Token) {
        if self.machine.retention(token).is_none() {
            self.retentions.end(token);
        }
    }

    /// Who holds a lock, and who waits for it. The machine knows only now and then how much is left
    /// of a retention.
    pub(super) fn show(&self, now: Now, name: &LockName) -> LockInfo {
        let mut lock = self.machine.show(name);
        self.tell_left(now, &mut lock);
        lock
    }

    pub(super) fn list(&self, now: Now, prefix: &str, from: &Cursor) -> Page {
        let mut page = self.machine.list(prefix, from);
        let locks = page.locks.iter_mut();
        locks.for_each(|lock| self.tell_left(now, lock));
        page
    }

    fn tell_left(&self, now: Now, lock: &mut LockInfo) {
        for place in &mut lock.entries {
            if let (Some(left), Some(token)) = (&mut place.retained_for, place.token) {
                *left = self.retentions.left(token, now).unwrap_or(*left);
            }
        }
    }

    /// Whose session it is, if it owns locks or waits for some.
    pub(super) fn owner_of(&self, session: SessionId) -> Option<SessionOwner> {
        let client = self.machine.session(session)?.client;
        let terms = self.machine.terms(session)?;
        let is_owner = self.machine.queue_entries_of(session) > 0;
        is_owner.then(|| SessionOwner {
            client,
            session,
            name: terms.name.clone(),
            address: terms.address.clone(),
        })
    }

    /// Whom a request is about to take a lock from.
    pub(super) fn loses(&self, request: &Request) -> Option<SessionOwner> {
        let Request::Break { name, token, .. } = request else {
            return None;
        };
        let holder = self.machine.holder(name, *token)?;
        Some(SessionOwner::of(&holder))
    }
}

/// What an operator is told when a lock was broken: `holder` had it until then.
pub(super) fn broken(
    request: &Request,
    result: &Result<Answer, Refusal>,
    holder: Option<SessionOwner>,
) -> Option<Event> {
    let Request::Break {
        id,
        name,
        token,
        reason,
        address,
    } = request
    else {
        return None;
    };
    (*result == Ok(Answer::Call(true))).then(|| Event::LockBroken {
        name: name.clone(),
        token: *token,
        holder,
        client: id.client,
        address: address.clone(),
        reason: reason.clone(),
    })
}
