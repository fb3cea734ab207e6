//! The machine once more, as naively as can be: every outcome is kept for ever, and nothing is
//! shared, sharded or summed. A lock is a list of places, in the order in which they were asked
//! for.

use std::collections::BTreeMap;

use super::*;
use crate::config::{MAX_BROKEN, MAX_NESTING};
use crate::service::{Holding, HoldingState, LockMode, QueueEntryInfo, SessionTerms};

#[derive(Default)]
pub(super) struct Model {
    op: u64,
    mark: u64,
    issuer: Option<ServerId>,
    clock: UnixTime,
    locks: BTreeMap<LockName, ModelLock>,
    /// What is left of each retention, by token.
    retained: BTreeMap<u64, Retention>,
    records: BTreeMap<SessionId, ModelSession>,
}

#[derive(Default)]
struct ModelLock {
    ownerless: bool,
    places: Vec<ModelEntry>,
}

struct ModelEntry {
    session: SessionId,
    seq: Seq,
    mode: LockMode,
    token: Option<u64>,
    since: Option<UnixTime>,
    contended: Option<u64>,
    /// Its session has let go of it, and whose it was.
    left_by: Option<(ClientId, Option<SessionTerms>)>,
}

struct ModelSession {
    client: ClientId,
    session: Option<SessionTerms>,
    first_incomplete: Seq,
    outcomes: BTreeMap<Seq, bool>,
    broken: Vec<(u64, Seq)>,
}

impl ModelSession {
    fn info(&self) -> SessionInfo {
        SessionInfo {
            client: self.client,
            lease: self.session.as_ref().map(|session| session.lease),
            next_seq: self
                .outcomes
                .last_key_value()
                .map_or(Seq(0), |(seq, _)| seq.next()),
        }
    }
}

impl ModelEntry {
    fn is_of(&self, session: SessionId, seq: Seq) -> bool {
        self.left_by.is_none() && (self.session, self.seq) == (session, seq)
    }
}

impl ModelLock {
    fn is_free(&self) -> bool {
        !self.ownerless && self.places.is_empty()
    }

    fn lets_in(&self, mode: LockMode) -> bool {
        let holders = self.places.iter().filter(|entry| entry.token.is_some());
        let modes: Vec<_> = holders.map(|holder| holder.mode).chain([mode]).collect();
        let is_kept = |mode: &LockMode| match mode {
            LockMode::Exclusive => modes.len() == 1,
            LockMode::Shared => true,
            LockMode::Permits(most) => modes.len() <= most.get() as usize,
        };
        !self.ownerless && modes.iter().all(is_kept)
    }

    /// Grants what can be granted, from the front of the queue.
    fn grant_waiters(&mut self, now: UnixTime, mut next_mark: impl FnMut() -> u64) {
        while let Some(first) = self.places.iter().position(|entry| entry.token.is_none()) {
            if !self.lets_in(self.places[first].mode) {
                // The newest is told first.
                let holders = self.places[..first].iter_mut().rev();
                for holder in holders.filter(|holder| holder.contended.is_none()) {
                    holder.contended = Some(next_mark());
                }
                return;
            }
            self.places[first].token = Some(next_mark());
            self.places[first].since = Some(now);
        }
    }
}

/// The first number from `op` on and above `mark` that is one of the issuer's: an even one of A, an
/// odd one of B.
fn next_mark(op: u64, revision: u64, issuer: Option<ServerId>) -> u64 {
    let is_odd = issuer == Some(ServerId::B);
    let mut numbers = (op..).filter(|number| *number > revision && (number % 2 == 1) == is_odd);
    numbers.next().expect("numbers do not end")
}

impl Model {
    pub(super) fn apply(&mut self, command: &Command, issuer: ServerId) -> Outcome {
        self.op += 1;
        self.issuer = Some(issuer);
        match command {
            Command::OpenSession {
                client,
                terms: session,
            } => self.open(*client, session.as_deref().cloned()),
            Command::Call { id, verb, name } => match self.call(id, *verb, name) {
                Ok(outcome) => Outcome::Call(outcome),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::Acquire { id, name, options } => match self.acquire(id, name, *options) {
                Ok(acquired) => Outcome::Acquired(acquired),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::Release { id, acquired } => match self.release(id, *acquired) {
                Ok(outcome) => Outcome::Call(outcome),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::Retain {
                id,
                acquired,
                retention,
            } => match self.retain(id, *acquired, *retention) {
                Ok(outcome) => Outcome::Call(outcome),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::Elapse { token, left } => self.elapse(token.0, *left),
            Command::Break { id, name, token } => match self.break_lock(id, name, *token) {
                Ok(outcome) => Outcome::Call(outcome),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::CloseSession {
                client,
                session: session_id,
            } => self.drop_if(*session_id, |r| r.client == *client),
            Command::Expire {
                session: session_id,
                seen,
            } => self.drop_if(*session_id, |r| r.info().next_seq == *seen),
            Command::Clock { time } => {
                self.clock = *time;
                Outcome::Noted
            }
        }
    }

    fn open(&mut self, client: ClientId, session: Option<SessionTerms>) -> Outcome {
        let number = SessionId(self.op);
        let session_id = ModelSession {
            client,
            session,
            first_incomplete: Seq(0),
            outcomes: BTreeMap::new(),
            broken: Vec::new(),
        };
        self.records.insert(number, session_id);
        Outcome::Opened(number)
    }

    /// The outcome of a call that was executed, or that it may be.
    fn find_duplicate(&self, id: &CallId) -> Result<Option<bool>, CallRefusal> {
        let session = self.records.get(&id.session);
        let session = session
            .filter(|session| session.client == id.client)
            .ok_or(CallRefusal::UnknownSession)?;
        if id.seq < session.first_incomplete {
            return Err(CallRefusal::GivenUp);
        }
        if let Some(outcome) = session.outcomes.get(&id.seq) {
            return Ok(Some(*outcome));
        }
        if id.seq < id.first_incomplete {
            return Err(CallRefusal::GivenUp);
        }
        let first_incomplete = session.first_incomplete.max(id.first_incomplete);
        if id.seq.0 - first_incomplete.0 >= CALL_WINDOW || id.seq == Seq(u64::MAX) {
            return Err(CallRefusal::WindowFull);
        }
        Ok(None)
    }

    fn store(&mut self, id: &CallId, outcome: bool) {
        let session = self.records.get_mut(&id.session).expect("it was recalled");
        session.first_incomplete = session.first_incomplete.max(id.first_incomplete);
        session.outcomes.insert(id.seq, outcome);
    }

    fn grant_waiters(&mut self, name: &LockName) {
        let (op, revision, issuer) = (self.op, &mut self.mark, self.issuer);
        let Some(lock) = self.locks.get_mut(name) else {
            return;
        };
        lock.grant_waiters(self.clock, || {
            *revision = next_mark(op, *revision, issuer);
            *revision
        });
        if lock.is_free() {
            self.locks.remove(name);
        }
    }

    fn call(&mut self, id: &CallId, verb: Verb, name: &LockName) -> Result<bool, CallRefusal> {
        if let Some(outcome) = self.find_duplicate(id)? {
            return Ok(outcome);
        }
        let lock = self.locks.entry(name.clone()).or_default();
        let outcome = match verb {
            Verb::Lock => lock.is_free(),
            Verb::Unlock => lock.ownerless,
        };
        match verb {
            Verb::Lock => lock.ownerless |= outcome,
            Verb::Unlock if !lock.is_free() && !outcome => return Err(CallRefusal::Owned),
            Verb::Unlock => lock.ownerless = false,
        }
        self.grant_waiters(name);
        self.store(id, outcome);
        Ok(outcome)
    }

    fn acquire(
        &mut self,
        id: &CallId,
        name: &LockName,
        options: AcquireOptions,
    ) -> Result<Acquired, CallRefusal> {
        match self.find_duplicate(id)? {
            Some(false) => return Ok(Acquired::Held),
            Some(true) => return Ok(self.acquired(id)),
            None if self.records[&id.session].session.is_none() => {
                return Err(CallRefusal::NoLease);
            }
            None => {}
        }
        let lock = self.locks.entry(name.clone()).or_default();
        let nobody_waits = lock.places.iter().all(|entry| entry.token.is_some());
        let comes_in = options.waits || nobody_waits && lock.lets_in(options.mode);
        if comes_in {
            lock.places.push(ModelEntry {
                session: id.session,
                seq: id.seq,
                mode: options.mode,
                token: None,
                since: None,
                contended: None,
                left_by: None,
            });
        }
        self.grant_waiters(name);
        self.store(id, comes_in);
        Ok(if comes_in {
            self.acquired(id)
        } else {
            Acquired::Held
        })
    }

    fn acquired(&self, id: &CallId) -> Acquired {
        let mut entries = self.locks.values().flat_map(|lock| &lock.places);
        match entries.find(|entry| entry.is_of(id.session, id.seq)) {
            None => Acquired::Ended,
            Some(entry) => entry
                .token
                .map_or(Acquired::Queued, |token| Acquired::Granted(Token(token))),
        }
    }

    fn release(&mut self, id: &CallId, acquired: Seq) -> Result<bool, CallRefusal> {
        if let Some(outcome) = self.find_duplicate(id)? {
            return Ok(outcome);
        }
        let session = self.records.get_mut(&id.session).expect("it was recalled");
        session.broken.retain(|(_, seq)| *seq != acquired);
        let left = self.leave(|entry| entry.is_of(id.session, acquired));
        let first = CallId {
            seq: acquired,
            ..*id
        };
        if left.is_empty() && acquired < id.seq && self.find_duplicate(&first) == Ok(None) {
            self.store(&first, false);
        }
        let was_held = left.iter().any(|(_, was_held)| *was_held);
        self.store(id, was_held);
        Ok(was_held)
    }

    fn retain(
        &mut self,
        id: &CallId,
        acquired: Seq,
        retention: Retention,
    ) -> Result<bool, CallRefusal> {
        if let Some(outcome) = self.find_duplicate(id)? {
            return Ok(outcome);
        }
        let mut entries = self.locks.values().flat_map(|lock| &lock.places);
        let entry = entries.find(|entry| entry.is_of(id.session, acquired));
        let token = entry.and_then(|entry| entry.token);
        if let Some(token) = token {
            self.retained.insert(token, retention);
            self.retained.retain(|_, left| !left.is_zero());
        }
        self.store(id, token.is_some());
        Ok(token.is_some())
    }

    fn elapse(&mut self, token: u64, left: Retention) -> Outcome {
        let Some(retention) = self.retained.get_mut(&token) else {
            return Outcome::Dropped(false);
        };
        *retention = left;
        if left.is_zero() {
            self.retained.remove(&token);
            self.drop_entries(|entry| entry.token == Some(token) && entry.left_by.is_some());
        }
        Outcome::Dropped(true)
    }

    fn break_lock(
        &mut self,
        id: &CallId,
        name: &LockName,
        token: Token,
    ) -> Result<bool, CallRefusal> {
        if let Some(outcome) = self.find_duplicate(id)? {
            return Ok(outcome);
        }
        let mut entries = self
            .locks
            .get(name)
            .into_iter()
            .flat_map(|lock| &lock.places);
        let holder = entries.find(|entry| entry.token == Some(token.0));
        if let Some(holder) = holder {
            let (session, seq) = (holder.session, holder.seq);
            self.retained.remove(&token.0);
            if holder.left_by.is_some() {
                self.drop_entries(|entry| entry.token == Some(token.0));
                self.store(id, true);
                return Ok(true);
            }
            let broken = &mut self
                .records
                .get_mut(&session)
                .expect("it holds a lock")
                .broken;
            if broken.len() == MAX_BROKEN {
                return Err(CallRefusal::TooManyBroken);
            }
            self.mark = next_mark(self.op, self.mark, self.issuer);
            broken.push((self.mark, seq));
            self.leave(|entry| entry.is_of(session, seq));
            self.store(id, true);
            return Ok(true);
        }
        self.store(id, false);
        Ok(false)
    }

    /// Lets sessions go from places, takes away those that are not retained, and then grants; tells
    /// the locks in the order of the calls that asked for them, and whether they were held.
    fn leave(&mut self, goes: impl Fn(&ModelEntry) -> bool) -> Vec<(LockName, bool)> {
        let mut left = BTreeMap::new();
        for (name, lock) in &mut self.locks {
            let entries = lock.places.iter_mut();
            for entry in entries.filter(|entry| entry.left_by.is_none() && goes(entry)) {
                left.insert(entry.seq, (name.clone(), entry.token.is_some()));
                let session = &self.records[&entry.session];
                entry.left_by = Some((session.client, session.session.clone()));
            }
            let retained = &self.retained;
            lock.places.retain(|entry| {
                let token = entry.token;
                entry.left_by.is_none() || token.is_some_and(|token| retained.contains_key(&token))
            });
        }
        for (name, _) in left.values() {
            self.grant_waiters(name);
        }
        left.into_values().collect()
    }

    /// Takes places away that no session knows of any more, and then grants.
    fn drop_entries(&mut self, goes: impl Fn(&ModelEntry) -> bool) {
        for lock in self.locks.values_mut() {
            lock.places.retain(|entry| !goes(entry));
        }
        let names: Vec<_> = self.locks.keys().cloned().collect();
        for name in &names {
            self.grant_waiters(name);
        }
    }

    fn drop_if(
        &mut self,
        number: SessionId,
        condition: impl FnOnce(&ModelSession) -> bool,
    ) -> Outcome {
        let drop = self.records.get(&number).is_some_and(condition);
        if drop {
            self.leave(|entry| entry.session == number);
            self.records.remove(&number);
        }
        Outcome::Dropped(drop)
    }

    fn notifications(&self, session: SessionId) -> Notifications {
        let entries = self.locks.values().flat_map(|lock| &lock.places);
        let mut changes: Vec<_> = entries
            .filter(|entry| entry.session == session && entry.left_by.is_none())
            .filter_map(|entry| {
                let token = entry.token?;
                let change = Change {
                    acquired: entry.seq,
                    token: Token(token),
                    contended: entry.contended.is_some(),
                };
                Some((entry.contended.unwrap_or(token), change))
            })
            .collect();
        changes.sort_by_key(|(revision, _)| *revision);
        let broken = &self.records[&session].broken;
        let notified = changes.iter().map(|(revision, _)| revision);
        let notified = notified.chain(broken.iter().map(|(revision, _)| revision));
        Notifications {
            through: Revision(notified.max().copied().unwrap_or(0)),
            changes: changes.into_iter().map(|(_, change)| change).collect(),
            broken: broken.iter().map(|(_, seq)| *seq).collect(),
        }
    }

    fn holdings(&self, session: SessionId) -> Vec<Holding> {
        let entries = self.locks.values().flat_map(|lock| &lock.places);
        let entries = entries.filter(|entry| entry.session == session && entry.left_by.is_none());
        let entries = entries.map(|entry| {
            let state = entry.token.map(|token| HoldingState::Held {
                token: Token(token),
                contended: entry.contended.is_some(),
            });
            (entry.seq, state.unwrap_or(HoldingState::Queued))
        });
        let broken = self.records[&session].broken.iter();
        let broken = broken.map(|(_, seq)| (*seq, HoldingState::Broken));
        let holdings: BTreeMap<_, _> = entries.chain(broken).collect();
        let holdings = holdings.into_iter();
        holdings
            .map(|(acquired, state)| Holding { acquired, state })
            .collect()
    }

    fn info(&self, entry: &ModelEntry) -> QueueEntryInfo {
        let (client, terms) = entry.left_by.clone().unwrap_or_else(|| {
            let session_id = &self.records[&entry.session];
            (session_id.client, session_id.session.clone())
        });
        let terms = terms.expect("a session");
        let retention = entry.token.and_then(|token| self.retained.get(&token));
        QueueEntryInfo {
            client,
            session: entry.session,
            mode: entry.mode,
            token: entry.token.map(Token),
            since: entry.since,
            name: terms.name,
            address: terms.address,
            inside: self.around(entry.session, terms.inside),
            retained_for: retention.map(|left| left.duration()),
            is_left: entry.left_by.is_some(),
        }
    }

    fn around(&self, session: SessionId, inside: Option<SessionId>) -> Vec<SessionId> {
        let outer = inside.filter(|outer| *outer < session);
        let session_id = outer.and_then(|outer| self.records.get(&outer));
        let terms = session_id.and_then(|session_id| session_id.session.as_ref());
        let Some((outer, terms)) = outer.zip(terms) else {
            return Vec::new();
        };
        let further = self.around(outer, terms.inside);
        [outer]
            .into_iter()
            .chain(further)
            .take(MAX_NESTING)
            .collect()
    }

    /// Panics unless `machine` shows the same state.
    pub(super) fn assert_shown_by(&self, machine: &Machine) {
        assert_eq!(machine.op(), OpNumber(self.op));
        assert_eq!(machine.locks(), self.locks.len() as u64);
        assert_eq!(machine.clients(), self.records.len() as u64);
        let entries = self.locks.values().map(|lock| lock.places.len() as u64);
        assert_eq!(machine.queue_entries(), entries.sum::<u64>());
        let entries = self.locks.values().flat_map(|lock| &lock.places);
        let waiters = entries.filter(|entry| entry.token.is_none());
        assert_eq!(machine.waiters(), waiters.count() as u64);
        for (name, lock) in &self.locks {
            assert!(machine.is_held(name));
            assert_eq!(machine.is_owned(name), !lock.ownerless);
            let shown = machine.show(name).entries;
            let entries = lock.places.iter().map(|entry| self.info(entry));
            assert!(shown.iter().cloned().eq(entries), "{name}: {shown:?}");
        }
        let retained: BTreeMap<_, _> = machine.retentions().collect();
        let expected = self.retained.iter();
        let expected = expected.map(|(token, left)| (Token(*token), *left));
        assert_eq!(retained, expected.collect());
        for session in self.records.keys() {
            assert_eq!(
                machine.notifications(*session, Revision(0), usize::MAX),
                self.notifications(*session)
            );
            assert_eq!(
                machine.holdings(*session, Seq(0), usize::MAX).holdings,
                self.holdings(*session)
            );
        }
        let records: BTreeMap<_, _> = machine.sessions().collect();
        assert_eq!(
            records,
            (self.records.iter())
                .map(|(number, session_id)| (*number, session_id.info()))
                .collect()
        );
    }
}
