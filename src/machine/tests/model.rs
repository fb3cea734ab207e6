//! The machine once more, as naively as can be: every outcome is kept for ever, and nothing is
//! shared, sharded or summed. A lock is a list of places, in the order in which they were asked
//! for.

use std::collections::BTreeMap;

use super::*;
use crate::config::{MAX_BROKEN, MAX_NESTING};
use crate::service::{Holding, HoldingState, Mode, PlaceInfo, SessionTerms};

#[derive(Default)]
pub(super) struct Model {
    op: u64,
    mark: u64,
    issuer: Option<ServerId>,
    clock: UnixTime,
    locks: BTreeMap<LockName, ModelLock>,
    /// What is left of each retention, by token.
    retained: BTreeMap<u64, Retention>,
    records: BTreeMap<RecordNumber, ModelRecord>,
}

#[derive(Default)]
struct ModelLock {
    ownerless: bool,
    places: Vec<ModelPlace>,
}

struct ModelPlace {
    session: RecordNumber,
    seq: Seq,
    mode: Mode,
    token: Option<u64>,
    since: Option<UnixTime>,
    contended: Option<u64>,
    /// Its session has let go of it, and whose it was.
    left_by: Option<(ClientId, Option<SessionTerms>)>,
}

struct ModelRecord {
    client: ClientId,
    session: Option<SessionTerms>,
    done_below: Seq,
    outcomes: BTreeMap<Seq, bool>,
    broken: Vec<(u64, Seq)>,
}

impl ModelRecord {
    fn info(&self) -> RecordInfo {
        RecordInfo {
            client: self.client,
            lease: self.session.as_ref().map(|session| session.lease),
            next_seq: self
                .outcomes
                .last_key_value()
                .map_or(Seq(0), |(seq, _)| seq.next()),
        }
    }
}

impl ModelPlace {
    fn is_of(&self, session: RecordNumber, seq: Seq) -> bool {
        self.left_by.is_none() && (self.session, self.seq) == (session, seq)
    }
}

impl ModelLock {
    fn is_free(&self) -> bool {
        !self.ownerless && self.places.is_empty()
    }

    fn lets_in(&self, mode: Mode) -> bool {
        let holders = self.places.iter().filter(|place| place.token.is_some());
        let modes: Vec<_> = holders.map(|holder| holder.mode).chain([mode]).collect();
        let is_kept = |mode: &Mode| match mode {
            Mode::Exclusive => modes.len() == 1,
            Mode::Shared => true,
            Mode::Permits(most) => modes.len() <= most.get() as usize,
        };
        !self.ownerless && modes.iter().all(is_kept)
    }

    /// Grants what can be granted, from the front of the queue.
    fn settle(&mut self, now: UnixTime, mut next_mark: impl FnMut() -> u64) {
        while let Some(first) = self.places.iter().position(|place| place.token.is_none()) {
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
fn next_mark(op: u64, mark: u64, issuer: Option<ServerId>) -> u64 {
    let is_odd = issuer == Some(ServerId::B);
    let mut numbers = (op..).filter(|number| *number > mark && (number % 2 == 1) == is_odd);
    numbers.next().expect("numbers do not end")
}

impl Model {
    pub(super) fn apply(&mut self, command: &Command, issuer: ServerId) -> Outcome {
        self.op += 1;
        self.issuer = Some(issuer);
        match command {
            Command::Open { client, session } => self.open(*client, session.as_deref().cloned()),
            Command::Call { id, verb, name } => match self.call(id, *verb, name) {
                Ok(outcome) => Outcome::Call(outcome),
                Err(refusal) => Outcome::Refused(refusal),
            },
            Command::Acquire { id, name, how } => match self.acquire(id, name, *how) {
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
            Command::Goodbye { client, record } => self.drop_if(*record, |r| r.client == *client),
            Command::Expire { record, seen } => {
                self.drop_if(*record, |r| r.info().next_seq == *seen)
            }
            Command::Clock { time } => {
                self.clock = *time;
                Outcome::Noted
            }
        }
    }

    fn open(&mut self, client: ClientId, session: Option<SessionTerms>) -> Outcome {
        let number = RecordNumber(self.op);
        let record = ModelRecord {
            client,
            session,
            done_below: Seq(0),
            outcomes: BTreeMap::new(),
            broken: Vec::new(),
        };
        self.records.insert(number, record);
        Outcome::Opened(number)
    }

    /// The outcome of a call that was executed, or that it may be.
    fn recall(&self, id: &CallId) -> Result<Option<bool>, CallRefusal> {
        let record = self.records.get(&id.record);
        let record = record
            .filter(|record| record.client == id.client)
            .ok_or(CallRefusal::UnknownRecord)?;
        if id.seq < record.done_below {
            return Err(CallRefusal::GivenUp);
        }
        if let Some(outcome) = record.outcomes.get(&id.seq) {
            return Ok(Some(*outcome));
        }
        if id.seq < id.done_below {
            return Err(CallRefusal::GivenUp);
        }
        let done_below = record.done_below.max(id.done_below);
        if id.seq.0 - done_below.0 >= CALL_WINDOW || id.seq == Seq(u64::MAX) {
            return Err(CallRefusal::WindowFull);
        }
        Ok(None)
    }

    fn store(&mut self, id: &CallId, outcome: bool) {
        let record = self.records.get_mut(&id.record).expect("it was recalled");
        record.done_below = record.done_below.max(id.done_below);
        record.outcomes.insert(id.seq, outcome);
    }

    fn settle(&mut self, name: &LockName) {
        let (op, mark, issuer) = (self.op, &mut self.mark, self.issuer);
        let Some(lock) = self.locks.get_mut(name) else {
            return;
        };
        lock.settle(self.clock, || {
            *mark = next_mark(op, *mark, issuer);
            *mark
        });
        if lock.is_free() {
            self.locks.remove(name);
        }
    }

    fn call(&mut self, id: &CallId, verb: Verb, name: &LockName) -> Result<bool, CallRefusal> {
        if let Some(outcome) = self.recall(id)? {
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
        self.settle(name);
        self.store(id, outcome);
        Ok(outcome)
    }

    fn acquire(&mut self, id: &CallId, name: &LockName, how: How) -> Result<Acquired, CallRefusal> {
        match self.recall(id)? {
            Some(false) => return Ok(Acquired::Held),
            Some(true) => return Ok(self.acquired(id)),
            None if self.records[&id.record].session.is_none() => return Err(CallRefusal::NoLease),
            None => {}
        }
        let lock = self.locks.entry(name.clone()).or_default();
        let nobody_waits = lock.places.iter().all(|place| place.token.is_some());
        let comes_in = how.waits || nobody_waits && lock.lets_in(how.mode);
        if comes_in {
            lock.places.push(ModelPlace {
                session: id.record,
                seq: id.seq,
                mode: how.mode,
                token: None,
                since: None,
                contended: None,
                left_by: None,
            });
        }
        self.settle(name);
        self.store(id, comes_in);
        Ok(if comes_in {
            self.acquired(id)
        } else {
            Acquired::Held
        })
    }

    fn acquired(&self, id: &CallId) -> Acquired {
        let mut places = self.locks.values().flat_map(|lock| &lock.places);
        match places.find(|place| place.is_of(id.record, id.seq)) {
            None => Acquired::Ended,
            Some(place) => place
                .token
                .map_or(Acquired::Queued, |token| Acquired::Granted(Token(token))),
        }
    }

    fn release(&mut self, id: &CallId, acquired: Seq) -> Result<bool, CallRefusal> {
        if let Some(outcome) = self.recall(id)? {
            return Ok(outcome);
        }
        let record = self.records.get_mut(&id.record).expect("it was recalled");
        record.broken.retain(|(_, seq)| *seq != acquired);
        let left = self.leave(|place| place.is_of(id.record, acquired));
        let first = CallId {
            seq: acquired,
            ..*id
        };
        if left.is_empty() && acquired < id.seq && self.recall(&first) == Ok(None) {
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
        if let Some(outcome) = self.recall(id)? {
            return Ok(outcome);
        }
        let mut places = self.locks.values().flat_map(|lock| &lock.places);
        let place = places.find(|place| place.is_of(id.record, acquired));
        let token = place.and_then(|place| place.token);
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
            self.drop_places(|place| place.token == Some(token) && place.left_by.is_some());
        }
        Outcome::Dropped(true)
    }

    fn break_lock(
        &mut self,
        id: &CallId,
        name: &LockName,
        token: Token,
    ) -> Result<bool, CallRefusal> {
        if let Some(outcome) = self.recall(id)? {
            return Ok(outcome);
        }
        let mut places = self
            .locks
            .get(name)
            .into_iter()
            .flat_map(|lock| &lock.places);
        let holder = places.find(|place| place.token == Some(token.0));
        if let Some(holder) = holder {
            let (session, seq) = (holder.session, holder.seq);
            self.retained.remove(&token.0);
            if holder.left_by.is_some() {
                self.drop_places(|place| place.token == Some(token.0));
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
            self.leave(|place| place.is_of(session, seq));
            self.store(id, true);
            return Ok(true);
        }
        self.store(id, false);
        Ok(false)
    }

    /// Lets sessions go from places, takes away those that are not retained, and then grants; tells
    /// the locks in the order of the calls that asked for them, and whether they were held.
    fn leave(&mut self, goes: impl Fn(&ModelPlace) -> bool) -> Vec<(LockName, bool)> {
        let mut left = BTreeMap::new();
        for (name, lock) in &mut self.locks {
            let places = lock.places.iter_mut();
            for place in places.filter(|place| place.left_by.is_none() && goes(place)) {
                left.insert(place.seq, (name.clone(), place.token.is_some()));
                let record = &self.records[&place.session];
                place.left_by = Some((record.client, record.session.clone()));
            }
            let retained = &self.retained;
            lock.places.retain(|place| {
                let token = place.token;
                place.left_by.is_none() || token.is_some_and(|token| retained.contains_key(&token))
            });
        }
        for (name, _) in left.values() {
            self.settle(name);
        }
        left.into_values().collect()
    }

    /// Takes places away that no session knows of any more, and then grants.
    fn drop_places(&mut self, goes: impl Fn(&ModelPlace) -> bool) {
        for lock in self.locks.values_mut() {
            lock.places.retain(|place| !goes(place));
        }
        let names: Vec<_> = self.locks.keys().cloned().collect();
        for name in &names {
            self.settle(name);
        }
    }

    fn drop_if(
        &mut self,
        number: RecordNumber,
        condition: impl FnOnce(&ModelRecord) -> bool,
    ) -> Outcome {
        let drop = self.records.get(&number).is_some_and(condition);
        if drop {
            self.leave(|place| place.session == number);
            self.records.remove(&number);
        }
        Outcome::Dropped(drop)
    }

    fn news(&self, session: RecordNumber) -> News {
        let places = self.locks.values().flat_map(|lock| &lock.places);
        let mut changes: Vec<_> = places
            .filter(|place| place.session == session && place.left_by.is_none())
            .filter_map(|place| {
                let token = place.token?;
                let change = Change {
                    acquired: place.seq,
                    token: Token(token),
                    contended: place.contended.is_some(),
                };
                Some((place.contended.unwrap_or(token), change))
            })
            .collect();
        changes.sort_by_key(|(mark, _)| *mark);
        let broken = &self.records[&session].broken;
        let told = changes.iter().map(|(mark, _)| mark);
        let told = told.chain(broken.iter().map(|(mark, _)| mark));
        News {
            through: Mark(told.max().copied().unwrap_or(0)),
            changes: changes.into_iter().map(|(_, change)| change).collect(),
            broken: broken.iter().map(|(_, seq)| *seq).collect(),
        }
    }

    fn holdings(&self, session: RecordNumber) -> Vec<Holding> {
        let places = self.locks.values().flat_map(|lock| &lock.places);
        let places = places.filter(|place| place.session == session && place.left_by.is_none());
        let places = places.map(|place| {
            let state = place.token.map(|token| HoldingState::Held {
                token: Token(token),
                contended: place.contended.is_some(),
            });
            (place.seq, state.unwrap_or(HoldingState::Queued))
        });
        let broken = self.records[&session].broken.iter();
        let broken = broken.map(|(_, seq)| (*seq, HoldingState::Broken));
        let holdings: BTreeMap<_, _> = places.chain(broken).collect();
        let holdings = holdings.into_iter();
        holdings
            .map(|(acquired, state)| Holding { acquired, state })
            .collect()
    }

    fn info(&self, place: &ModelPlace) -> PlaceInfo {
        let (client, terms) = place.left_by.clone().unwrap_or_else(|| {
            let record = &self.records[&place.session];
            (record.client, record.session.clone())
        });
        let terms = terms.expect("a session");
        let retention = place.token.and_then(|token| self.retained.get(&token));
        PlaceInfo {
            client,
            session: place.session,
            mode: place.mode,
            token: place.token.map(Token),
            since: place.since,
            name: terms.name,
            address: terms.address,
            inside: self.around(place.session, terms.inside),
            retained_for: retention.map(|left| left.duration()),
            is_left: place.left_by.is_some(),
        }
    }

    fn around(&self, session: RecordNumber, inside: Option<RecordNumber>) -> Vec<RecordNumber> {
        let outer = inside.filter(|outer| *outer < session);
        let record = outer.and_then(|outer| self.records.get(&outer));
        let terms = record.and_then(|record| record.session.as_ref());
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
        let places = self.locks.values().map(|lock| lock.places.len() as u64);
        assert_eq!(machine.places(), places.sum::<u64>());
        let places = self.locks.values().flat_map(|lock| &lock.places);
        let waiters = places.filter(|place| place.token.is_none());
        assert_eq!(machine.waiters(), waiters.count() as u64);
        for (name, lock) in &self.locks {
            assert!(machine.is_held(name));
            assert_eq!(machine.is_owned(name), !lock.ownerless);
            let shown = machine.show(name).places;
            let places = lock.places.iter().map(|place| self.info(place));
            assert!(shown.iter().cloned().eq(places), "{name}: {shown:?}");
        }
        let retained: BTreeMap<_, _> = machine.retentions().collect();
        let expected = self.retained.iter();
        let expected = expected.map(|(token, left)| (Token(*token), *left));
        assert_eq!(retained, expected.collect());
        for session in self.records.keys() {
            assert_eq!(
                machine.news(*session, Mark(0), usize::MAX),
                self.news(*session)
            );
            assert_eq!(
                machine.holdings(*session, Seq(0), usize::MAX).holdings,
                self.holdings(*session)
            );
        }
        let records: BTreeMap<_, _> = machine.records().collect();
        assert_eq!(
            records,
            (self.records.iter())
                .map(|(number, record)| (*number, record.info()))
                .collect()
        );
    }
}
