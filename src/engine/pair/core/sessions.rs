//! What a primary does for sessions: opens them, lets their polls wait, and times what they retain.

use std::sync::Arc;

use super::event::{Event, Who};
use super::fullness::lacking_for_client;
use super::polls::Question;
use super::primary::{self, Primary, Verdict};
use super::{Now, Settings};
use crate::config::{MAX_HOLDINGS, MAX_NEWS};
use crate::machine::{Command, Outcome, Recall, footprint};
use crate::service::{
    Acquired, Answer, CallId, Cursor, InView, LockInfo, News, Opened, Page, Refusal, Request,
    SessionTerms,
};
use crate::types::{ClientId, Lease, LockName, RecordNumber, Retention, Seq, Token};

impl<T> Primary<T> {
    pub(super) fn open(
        &mut self,
        now: Now,
        settings: &Settings,
        client: ClientId,
        session: Option<Arc<SessionTerms>>,
    ) -> Verdict {
        if let Some(resource) = lacking_for_client(&self.machine, &settings.limits) {
            return Verdict::Read(Err(Refusal::Overloaded(resource)));
        }
        let lease = session.as_ref().map(|session| session.lease);
        let outcome = self.commit(Command::Open { client, session });
        let Outcome::Opened(record) = outcome else {
            return Verdict::Executed(primary::answer(outcome));
        };
        match lease {
            Some(lease) => self.leases.begin(record, lease, now),
            None => self.heard.note(record, now),
        }
        let time_to_live = lease.map_or(settings.record_time_to_live, Lease::duration);
        Verdict::Executed(Ok(Answer::Opened(Opened {
            record,
            time_to_live,
            inside: self.machine.ancestors(record),
            view: self.view,
        })))
    }

    pub(super) fn poll(&mut self, now: Now, question: Question) -> Verdict {
        let lease = match self.renew(now, question.client, question.record) {
            Ok(lease) => lease,
            Err(refusal) => return Verdict::Read(Err(refusal)),
        };
        let news = self.news(question);
        let is_news = !news.answer.changes.is_empty() || !news.answer.broken.is_empty();
        if is_news || question.view != self.view {
            return Verdict::Read(Ok(Answer::News(news.into())));
        }
        Verdict::Waits(question, lease)
    }

    /// The answer to a poll. One of another view asks by the marks of another history, perhaps: it
    /// is told of the view alone.
    pub(super) fn news(&self, question: Question) -> InView<News> {
        let Question { record, since, .. } = question;
        let answer = if question.view == self.view {
            self.machine.news(record, since, MAX_NEWS)
        } else {
            News {
                through: since,
                ..News::default()
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
        record: RecordNumber,
        from: Seq,
    ) -> Verdict {
        Verdict::Read(self.renew(now, client, record).map(|_| {
            let holdings = InView {
                view: self.view,
                answer: self.machine.holdings(record, from, MAX_HOLDINGS),
            };
            Answer::Holdings(holdings.into())
        }))
    }

    /// Renews the lease of a session, and returns it.
    fn renew(
        &mut self,
        now: Now,
        client: ClientId,
        record: RecordNumber,
    ) -> Result<Lease, Refusal> {
        let info = self.machine.record(record);
        let info = info.filter(|info| info.client == client);
        let lease = info.ok_or(Refusal::UnknownRecord)?.lease;
        let lease = lease.ok_or(Refusal::NoLease)?;
        self.hear(record, now);
        Ok(lease)
    }

    /// A record is about to be dropped. Its poll, if there is one, is told so.
    pub(super) fn forget(&mut self, record: RecordNumber) {
        self.heard.forget(record);
        self.leases.end(record);
        self.told.push(record);
    }

    /// Something came from the client of a record.
    pub(super) fn hear(&mut self, record: RecordNumber, now: Now) {
        self.heard.note_known(record, now);
        self.leases.renew(record, now);
    }

    /// Lets a lock stay held for a time, and counts it from now on unless the call is a repeated
    /// one.
    pub(super) fn retain(
        &mut self,
        now: Now,
        settings: &Settings,
        id: &CallId,
        (acquired, retention): (Seq, Retention),
    ) -> Verdict {
        let is_fresh = self.machine.recall(id) == Recall::Fresh;
        let growth = if retention.is_zero() {
            0
        } else {
            footprint::RETAINED_BYTES
        };
        let verdict = self.call(
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
        verdict
    }

    /// Says how much is left of the retentions that are due, and ends those that are over.
    pub(super) fn elapse(&mut self, now: Now) {
        while let Some((token, left)) = self.retentions.pop_due(now) {
            self.commit(Command::Elapse { token, left });
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
        for place in &mut lock.places {
            if let (Some(left), Some(token)) = (&mut place.retained_for, place.token) {
                *left = self.retentions.left(token, now).unwrap_or(*left);
            }
        }
    }

    /// Whose session it is, if it owns locks or waits for some.
    pub(super) fn who_owns(&self, session: RecordNumber) -> Option<Who> {
        let client = self.machine.record(session)?.client;
        let terms = self.machine.session(session)?;
        let is_owner = self.machine.places_of(session) > 0;
        is_owner.then(|| Who {
            client,
            session,
            name: terms.name.clone(),
            address: terms.address.clone(),
        })
    }

    /// Whom a request is about to take a lock from.
    pub(super) fn loses(&self, request: &Request) -> Option<Who> {
        let Request::Break { name, token, .. } = request else {
            return None;
        };
        let holder = self.machine.holder(name, *token)?;
        Some(Who::of(&holder))
    }
}

/// What an operator is told when a lock was broken: `holder` had it until then.
pub(super) fn broken(
    request: &Request,
    result: &Result<Answer, Refusal>,
    holder: Option<Who>,
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
