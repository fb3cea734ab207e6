//! What sessions do with locks, and what they are to be told of them.
//!
//! A place belongs to a call: whoever gives it back names the call that acquired, so nobody can
//! give back what somebody else has acquired since, and a repeated call finds its place. Every
//! command that may let somebody in ends by granting the lock to those whose turn has come.

use super::clients::RecordInfo;
use super::command::{CallRefusal, Command, Outcome};
use super::owned::{Claim, Grant, Holder, Place};
use super::retained::{Owner, RetainedLock};
use super::sessions::Standing;
use super::{Machine, Recall, Step};
use crate::service::{
    Acquired, CallId, Change, Holding, HoldingState, Holdings, How, Mark, News, Verb,
};
use crate::types::{
    ClientId, LockName, OpNumber, RecordNumber, Retention, Seq, ServerId, SessionId, Token,
};

impl Machine {
    pub(super) fn acquire(
        &mut self,
        id: &CallId,
        name: &LockName,
        how: How,
        step: &mut Step<'_>,
    ) -> Outcome {
        match self.clients.recall(id) {
            Recall::Done(_) => return Outcome::Acquired(self.acquired(id)),
            Recall::Refused(refusal) => return Outcome::Refused(refusal),
            Recall::Fresh => {}
        }
        if !self.is_session(id.record) {
            return Outcome::Refused(CallRefusal::NoLease);
        }
        let is_admitted = self.locks.admits(name, how.mode);
        let comes_in = is_admitted || how.waits;
        self.clients.settle(id, comes_in);
        if !comes_in {
            return Outcome::Acquired(Acquired::Held);
        }
        let claim = Claim {
            session: id.record,
            seq: id.seq,
            mode: how.mode,
        };
        let grant = is_admitted.then(|| self.new_grant(step.issuer));
        let ticket = self.op;
        self.locks.insert(name, ticket, Place { claim, grant });
        let place = (name.clone(), ticket);
        self.sessions.insert(id.record, id.seq, place, grant);
        let Some(Grant { token, .. }) = grant else {
            // Nobody gets in by that, but its holders are to know that somebody waits.
            self.pass_on(name, step);
            return Outcome::Acquired(Acquired::Queued);
        };
        Outcome::Acquired(Acquired::Granted(token))
    }

    /// A grant of the lock, as of now.
    fn new_grant(&mut self, issuer: ServerId) -> Grant {
        Grant {
            token: Token(mark_after(&mut self.mark, self.op, issuer).0),
            contended: None,
            since: self.clock,
        }
    }

    pub(super) fn release(&mut self, id: &CallId, acquired: Seq, step: &mut Step<'_>) -> Outcome {
        if let Some(known) = self.known(id) {
            return known;
        }
        let mut was_held = false;
        self.clients.forget_broken(id.record, acquired);
        if let Some(place) = self.sessions.remove(id.record, acquired) {
            was_held = self.leave(&place, self.owner(id.client, id.record));
            self.pass_on(&place.name, step);
        } else {
            // The call that acquires may still be on its way. It has been given up.
            let first = CallId {
                seq: acquired,
                ..*id
            };
            if acquired < id.seq && self.clients.recall(&first) == Recall::Fresh {
                self.clients.settle(&first, false);
            }
        }
        self.clients.settle(id, was_held);
        Outcome::Call(was_held)
    }

    /// Lets what the call `acquired` holds stay held for a time, whatever its session does.
    pub(super) fn retain(&mut self, id: &CallId, acquired: Seq, retention: Retention) -> Outcome {
        if let Some(known) = self.known(id) {
            return known;
        }
        let standing = self.sessions.find(id.record, acquired).cloned();
        let place = standing.as_ref();
        let place = place.and_then(|it| self.locks.place(&it.name, it.ticket));
        let token = place.and_then(|place| place.grant).map(|grant| grant.token);
        if let (Some(Standing { name, ticket, .. }), Some(token)) = (standing, token) {
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
        self.clients.settle(id, token.is_some());
        Outcome::Call(token.is_some())
    }

    /// So much is `left` of a retention.
    pub(super) fn elapse(&mut self, token: Token, left: Retention, step: &mut Step<'_>) -> Outcome {
        let is_retained = self.retained.get(token).is_some();
        if !left.is_zero() {
            self.retained.count_down(token, left);
        } else if let Some(lock) = self.retained.remove(token)
            && lock.left_by.is_some()
        {
            self.locks.remove(&lock.name, lock.ticket);
            self.pass_on(&lock.name, step);
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
        if let Some(Holder { ticket, claim, .. }) = holder {
            let Claim { session, seq, .. } = claim;
            let is_left = self.sessions.find(session, seq).is_none();
            if !is_left {
                let mark = mark_after(&mut self.mark, self.op, step.issuer);
                if !self.clients.note_broken(session, mark, seq) {
                    return Outcome::Refused(CallRefusal::TooManyBroken);
                }
                self.sessions.remove(session, seq);
                (step.told)(session);
            }
            self.retained.remove(token);
            self.locks.remove(name, ticket);
            self.pass_on(name, step);
        }
        let was_held = holder.is_some();
        self.clients.settle(id, was_held);
        Outcome::Call(was_held)
    }

    /// A session lets go of a place, which goes unless it is retained. Returns whether the lock was
    /// held.
    fn leave(&mut self, standing: &Standing, owner: Owner) -> bool {
        let Standing { name, ticket, .. } = standing;
        let place = self.locks.place(name, *ticket);
        let token = place.and_then(|place| place.grant).map(|grant| grant.token);
        if !token.is_some_and(|token| self.retained.leave(token, owner)) {
            self.locks.remove(name, *ticket);
        }
        token.is_some()
    }

    fn owner(&self, client: ClientId, session: SessionId) -> Owner {
        let terms = self.clients.session(session).cloned();
        Owner { client, terms }
    }

    /// Drops a record if `condition` holds, and releases what it owns and does not retain. All of
    /// its places go first: none of them may be granted while the others go.
    pub(super) fn close(
        &mut self,
        record: RecordNumber,
        condition: impl FnOnce(RecordInfo) -> bool,
        step: &mut Step<'_>,
    ) -> Outcome {
        let Some(RecordInfo { client, .. }) = self.record(record) else {
            return Outcome::Dropped(false);
        };
        let owner = self.owner(client, record);
        let closed = self.clients.close(record, condition);
        if closed {
            let places = self.sessions.close(record);
            for place in &places {
                self.leave(place, owner.clone());
            }
            for Standing { name, .. } in &places {
                self.pass_on(name, step);
            }
        }
        Outcome::Dropped(closed)
    }

    /// Grants the lock to those whose turn has come. Names their sessions, and those of holders
    /// that others now wait for.
    pub(super) fn pass_on(&mut self, name: &LockName, step: &mut Step<'_>) {
        let issuer = step.issuer;
        let (op, mark, sessions) = (self.op, &mut self.mark, &mut self.sessions);
        let next_mark = || mark_after(mark, op, issuer);
        let locks = &mut self.locks;
        locks.settle(name, self.clock, next_mark, |claim, grant: Grant| {
            sessions.note(claim.session, claim.seq, grant);
            (step.told)(claim.session);
        });
    }

    /// Whether somebody may get a lock by `command`, so that it should know the time. Nobody does
    /// by a plain call, unless it unlocks what sessions wait for.
    #[must_use]
    pub fn may_grant(&self, command: &Command) -> bool {
        match command {
            Command::Acquire { .. } | Command::Release { .. } | Command::Break { .. } => true,
            Command::Call { verb, .. } => *verb == Verb::Unlock && self.waiters() > 0,
            Command::Goodbye { record, .. } | Command::Expire { record, .. } => {
                self.is_session(*record)
            }
            Command::Elapse { left, .. } => left.is_zero(),
            Command::Open { .. } | Command::Retain { .. } | Command::Clock { .. } => false,
        }
    }

    /// What has become of the call `id`, which was carried out and was to acquire.
    #[must_use]
    pub fn acquired(&self, id: &CallId) -> Acquired {
        if self.recall(id) == Recall::Done(false) {
            return Acquired::Held;
        }
        let standing = self.sessions.find(id.record, id.seq);
        let place = standing.and_then(|it| self.locks.place(&it.name, it.ticket));
        match place {
            None => Acquired::Ended,
            Some(Place { grant: None, .. }) => Acquired::Queued,
            Some(Place {
                grant: Some(grant), ..
            }) => Acquired::Granted(grant.token),
        }
    }

    /// What has changed for a session since `since`: at the most `most` of it.
    #[must_use]
    pub fn news(&self, session: RecordNumber, since: Mark, most: usize) -> News {
        let mut news = News {
            through: since,
            ..News::default()
        };
        for (mark, acquired, standing) in self.sessions.news(session, since).take(most) {
            let place = self.locks.place(&standing.name, standing.ticket);
            if let Some(grant) = place.and_then(|place| place.grant) {
                news.changes.push(Change {
                    acquired,
                    token: grant.token,
                    contended: grant.contended.is_some(),
                });
            }
            news.through = mark;
        }
        let is_all = news.changes.len() < most;
        for (mark, acquired) in self.clients.broken(session) {
            if *mark > since {
                news.broken.push(*acquired);
            }
            if is_all {
                news.through = news.through.max(*mark);
            }
        }
        news
    }

    /// What a session holds and waits for, and which of its locks were broken: of its calls from
    /// `from` on, with at most `most` holders and waiters.
    #[must_use]
    pub fn holdings(&self, session: RecordNumber, from: Seq, most: usize) -> Holdings {
        let mut places = self.sessions.places_from(session, from);
        let page = places.by_ref().take(most);
        let mut holdings: Vec<_> = page
            .map(|(acquired, standing)| {
                let place = self.locks.place(&standing.name, standing.ticket);
                let grant = place.and_then(|place| place.grant);
                let state = grant.map_or(HoldingState::Queued, |grant| HoldingState::Held {
                    token: grant.token,
                    contended: grant.contended.is_some(),
                });
                Holding { acquired, state }
            })
            .collect();
        let next = places.next().map(|(acquired, _)| acquired);
        let broken = self.clients.broken(session).iter();
        let broken = broken.map(|(_, acquired)| *acquired);
        let told_here = |acquired: &Seq| *acquired >= from && next.is_none_or(|it| *acquired < it);
        holdings.extend(broken.filter(told_here).map(|acquired| Holding {
            acquired,
            state: HoldingState::Broken,
        }));
        holdings.sort_unstable_by_key(|holding| holding.acquired);
        Holdings {
            through: self.mark,
            holdings,
            next,
        }
    }

    fn is_session(&self, record: RecordNumber) -> bool {
        self.record(record).is_some_and(|info| info.lease.is_some())
    }
}

/// Gives the next mark that `issuer` may make: those of each server have a remainder of their own,
/// so that two servers which both believe to be primary never make the same.
fn mark_after(mark: &mut Mark, op: OpNumber, issuer: ServerId) -> Mark {
    const SERVERS: u64 = ServerId::BOTH.len() as u64;
    let least = op.0.max(mark.0 + 1);
    let ahead = (issuer.index() + SERVERS - least % SERVERS) % SERVERS;
    *mark = Mark(least + ahead);
    *mark
}
