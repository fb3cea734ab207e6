//! What clients were told, and whether one lock table that nobody shares explains it: calls that
//! lock and unlock, sessions that acquire, wait in turn and release, locks that are broken, and
//! leases that end.

use super::clients::{self, LOCKS, Step, call_id, name_of};
use crate::machine::{DuplicateLookup, Machine};
use crate::types::{SessionId, Token};

/// A call, by its client and step.
pub(super) type Call = (u8, u8);

/// The end of a retention is numbered by the step that retained the lock, from here on.
const ELAPSED: u8 = 128;

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Said {
    No,
    Yes,
    /// It was to unlock what a session owns, and changed nothing.
    Owned,
}

impl From<bool> for Said {
    fn from(outcome: bool) -> Self {
        if outcome { Self::Yes } else { Self::No }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Moment {
    Asked(Call),
    /// From now on the session of a client may be gone.
    Ended(u8),
    /// From now on what was acquired by this call may not be retained any more.
    Elapsed(Call),
    Told(Call, Said),
    /// The client was told that what it asked for by this call is its own.
    Granted(Call, Token),
    /// It was told that this was broken.
    Broken(Call),
}

impl Moment {
    const fn is_told(self) -> bool {
        matches!(self, Self::Told(..) | Self::Granted(..) | Self::Broken(_))
    }
}

/// What happened to calls, in order. Neighbours that are told are at the same time, and so are
/// neighbours that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct History(Vec<Moment>);

impl History {
    pub(super) fn push(&mut self, moment: Moment) {
        if self.0.contains(&moment) {
            return;
        }
        self.0.push(moment);
        let same = self.0.iter().rev();
        let same = same.take_while(|other| other.is_told() == moment.is_told());
        let start = self.0.len() - same.count();
        self.0[start..].sort_unstable();
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn told(&self, call: Call) -> Option<Said> {
        self.answered()
            .find_map(|(notified, said)| (notified == call).then_some(said))
    }

    pub(super) fn answered(&self) -> impl Iterator<Item = (Call, Said)> {
        self.0.iter().filter_map(|moment| match moment {
            Moment::Told(call, said) => Some((*call, *said)),
            _ => None,
        })
    }

    pub(super) fn granted(&self) -> impl Iterator<Item = (Call, Token)> {
        self.0.iter().filter_map(|moment| match moment {
            Moment::Granted(call, token) => Some((*call, *token)),
            _ => None,
        })
    }

    /// The call that was granted its lock by this token.
    pub(super) fn granted_by(&self, token: Token) -> Option<Call> {
        self.granted()
            .find_map(|(call, known)| (known == token).then_some(call))
    }

    pub(super) fn token(&self, call: Call) -> Option<Token> {
        self.granted()
            .find_map(|(granted, token)| (granted == call).then_some(token))
    }

    /// Whether its client was told that the lock which it acquired by `call` was broken.
    pub(super) fn is_broken(&self, call: Call) -> bool {
        self.0.contains(&Moment::Broken(call))
    }

    /// Whether this call has been asked for.
    pub(super) fn is_asked(&self, call: Call) -> bool {
        self.0.contains(&Moment::Asked(call))
    }

    fn position(&self, fits: impl Fn(&Moment) -> bool) -> Option<usize> {
        self.0.iter().position(fits)
    }

    fn deeds(&self, steps: &[Vec<Step>]) -> Vec<Deed> {
        let pending = self.0.iter().enumerate();
        let deeds = pending.filter_map(|(at, moment)| {
            let (call, step) = match *moment {
                Moment::Asked(call) => {
                    let step = steps[usize::from(call.0)][usize::from(call.1)];
                    (call, Some(step))
                }
                Moment::Ended(client) => ((client, u8::MAX), None),
                Moment::Elapsed((client, step)) => ((client, ELAPSED + step), None),
                Moment::Told(..) | Moment::Granted(..) | Moment::Broken(_) => return None,
            };
            let notified =
                self.position(|it| matches!(it, Moment::Told(notified, _) if *notified == call));
            let granted = self.position(|it| matches!(it, Moment::Granted(of, _) if *of == call));
            let broken = match step {
                Some(Step::Break(client, step)) => {
                    self.position(|it| *it == Moment::Broken((client, step)))
                }
                _ => None,
            };
            Some(Deed {
                call,
                step,
                asked: at,
                told: notified,
                said: self.told(call),
                granted,
                token: self.token(call),
                broken,
                must: notified.is_some() || broken.is_some(),
            })
        });
        deeds.collect()
    }

    /// Whether there is one order of the calls that explains every answer.
    pub(super) fn is_explained(&self, steps: &[Vec<Step>]) -> bool {
        Order::new(steps, self.deeds(steps)).is_found(&|_, _| true)
    }

    /// Whether there is one that leads to `machine` as well. `records`: of each client.
    pub(super) fn explains(
        &self,
        steps: &[Vec<Step>],
        records: &[Option<SessionId>],
        machine: &Machine,
    ) -> bool {
        let mut deeds = self.deeds(steps);
        deeds.retain_mut(|deed| {
            let (client, step) = deed.call;
            let session = records[usize::from(client)].unwrap_or_default();
            if deed.elapses().is_some() {
                return true;
            }
            if deed.step.is_none() {
                deed.must = true;
                return machine.session(session).is_none();
            }
            let id = call_id(client, &steps[usize::from(client)], step, session);
            if let DuplicateLookup::Done(outcome) = machine.find_duplicate(&id) {
                deed.said.get_or_insert_with(|| outcome.into());
                deed.must = true;
            }
            true
        });
        let places = |lock| machine.queue_of(&name_of(lock));
        let queues: Vec<_> = (0..LOCKS).map(places).collect();
        let id_of = |(client, step): Call| {
            let session = records[usize::from(client)].unwrap_or_default();
            let id = call_id(client, &steps[usize::from(client)], step, session);
            (id.session, id.seq)
        };
        for deed in &mut deeds {
            let mut places = queues.iter().flat_map(|queue| &queue.entries);
            let place = places.find(|place| deed.step.is_some() && place.0 == id_of(deed.call));
            deed.token = deed.token.or_else(|| place.and_then(|place| place.1));
        }
        let order = Order::new(steps, deeds);
        order.is_found(&|order, table| {
            table.locks.iter().zip(&queues).all(|(lock, queue)| {
                let expected = lock.places.iter().map(|at| {
                    let call = order.deeds[*at].call;
                    (id_of(call), table.has_granted(*at))
                });
                let found = queue.entries.iter();
                let found = found.map(|(id, token)| (*id, token.is_some()));
                lock.unowned == queue.unowned && expected.eq(found)
            })
        })
    }
}

/// Something that was asked for, or a lease or a retention that may have ended.
#[derive(Debug)]
struct Deed {
    call: Call,
    /// None of the end of a lease or of a retention.
    step: Option<Step>,
    asked: usize,
    told: Option<usize>,
    said: Option<Said>,
    /// When its client was told of the grant.
    granted: Option<usize>,
    /// The token, if anybody knows it.
    token: Option<Token>,
    /// When the client whose lock it breaks was told so.
    broken: Option<usize>,
    /// It has happened.
    must: bool,
}

impl Deed {
    /// Which call acquired what is not retained any more.
    fn elapses(&self) -> Option<Call> {
        let (client, step) = self.call;
        let is_end = self.step.is_none() && step != u8::MAX;
        is_end.then(|| (client, step - ELAPSED))
    }
}

/// Those that are looked for an order of.
#[derive(Debug)]
struct Order {
    deeds: Vec<Deed>,
    /// Of each that gives back, breaks, retains, or does so no more: which one acquired.
    acquired: Vec<Option<usize>>,
}

#[derive(Debug, Clone, Default)]
struct Table {
    locks: [Lock; LOCKS as usize],
    /// Which deeds are done, and which were granted a lock: a bit for each.
    done: u32,
    granted: u32,
    /// Which clients' sessions are gone.
    gone: u32,
    /// What was acquired by which deeds is retained, and whose session has let go of it.
    retained: u32,
    left: u32,
}

impl Table {
    const fn has_granted(&self, deed: usize) -> bool {
        self.granted & 1 << deed != 0
    }
}

#[derive(Debug, Clone, Default)]
struct Lock {
    unowned: bool,
    /// Whoever acquired it, in turn.
    places: Vec<usize>,
    /// The last token that is known.
    token: Token,
}

impl Order {
    fn new(steps: &[Vec<Step>], deeds: Vec<Deed>) -> Self {
        let acquired = deeds.iter().map(|deed| {
            let (client, step) = deed.call;
            if let Some(first) = deed.elapses() {
                return deeds.iter().position(|deed| deed.call == first);
            }
            let first = match deed.step? {
                Step::Release | Step::Return(_) | Step::Retain => (
                    client,
                    clients::acquired_by(&steps[usize::from(client)], step),
                ),
                Step::Break(holder, acquired) => (holder, acquired),
                _ => return None,
            };
            deeds.iter().position(|deed| deed.call == first)
        });
        let acquired = acquired.collect();
        Self { deeds, acquired }
    }

    fn is_found(&self, fits: &impl Fn(&Self, &Table) -> bool) -> bool {
        self.search(&Table::default(), fits)
    }

    fn search(&self, table: &Table, fits: &impl Fn(&Self, &Table) -> bool) -> bool {
        if self.is_complete(table) && fits(self, table) {
            return true;
        }
        (0..self.deeds.len())
            .filter(|at| self.may_come_next(*at, table))
            .filter_map(|at| self.apply(at, table))
            .any(|table| self.search(&table, fits))
    }

    fn is_complete(&self, table: &Table) -> bool {
        let mut deeds = self.deeds.iter().enumerate();
        deeds.all(|(at, deed)| {
            (!deed.must || table.done & 1 << at != 0)
                && (deed.token.is_none() || table.has_granted(at))
        })
    }

    /// Whether nothing is left that somebody knew of before this was asked for.
    fn may_come_next(&self, at: usize, table: &Table) -> bool {
        let deed = &self.deeds[at];
        let is_gone = deed.elapses().is_none() && table.gone & 1 << deed.call.0 != 0;
        if table.done & 1 << at != 0 || is_gone {
            return false;
        }
        let mut others = self.deeds.iter().enumerate();
        others.all(|(other, known)| {
            let before = |moment: Option<usize>| moment.is_some_and(|moment| moment < deed.asked);
            (!before(known.told) && !before(known.broken) || table.done & 1 << other != 0)
                && (!before(known.granted) || table.has_granted(other))
        })
    }

    /// What it leads to; none if it leads to something else than what is known.
    fn apply(&self, at: usize, table: &Table) -> Option<Table> {
        let deed = &self.deeds[at];
        let mut table = table.clone();
        table.done |= 1 << at;
        let Some(step) = deed.step else {
            return match deed.elapses() {
                Some(_) => self.elapse(self.acquired[at]?, table),
                None => self.end(deed.call.0, table),
            };
        };
        let lock = match step {
            Step::Lock(lock) | Step::Unlock(lock) => lock,
            Step::Release | Step::Return(_) | Step::Retain | Step::Break(..) => {
                self.deeds[self.acquired[at]?].step?.acquires()?
            }
            _ => step.acquires()?,
        };
        let first = self.acquired[at];
        let held = first.is_some_and(|first| table.has_granted(first));
        let state = &mut table.locks[usize::from(lock)];
        let is_free = !state.unowned && state.places.is_empty();
        let said = match step {
            Step::Lock(_) => {
                state.unowned |= is_free;
                is_free.into()
            }
            Step::Unlock(_) if !state.unowned && !is_free => Said::Owned,
            Step::Unlock(_) => std::mem::take(&mut state.unowned).into(),
            Step::Acquire(_) | Step::Share(_) | Step::Permit(..) => {
                state.places.push(at);
                Said::Yes
            }
            Step::Try(_) => {
                state.places.extend(is_free.then_some(at));
                is_free.into()
            }
            _ => {
                let place = state.places.iter().position(|place| Some(*place) == first);
                let is_break = matches!(step, Step::Break(..));
                let place = place.filter(|_| held || !is_break);
                let bit = first.map_or(0, |first| 1 << first);
                // Who has let go of a lock has it no more, though it may be broken.
                let place = place.filter(|_| table.left & bit == 0 || is_break);
                let is_kept = table.retained & bit != 0 && !is_break;
                match place {
                    Some(_) if step == Step::Retain => table.retained |= if held { bit } else { 0 },
                    Some(_) if is_kept => table.left |= bit,
                    Some(place) => {
                        state.places.remove(place);
                        table.retained &= !bit;
                    }
                    None => {}
                }
                (place.is_some() && held).into()
            }
        };
        let as_known = deed.said.is_none_or(|known| known == said)
            && (deed.broken.is_none() || said == Said::Yes);
        (as_known && self.grant_to_next(lock, &mut table)).then_some(table)
    }

    /// What was acquired by `first` is not retained any more.
    fn elapse(&self, first: usize, mut table: Table) -> Option<Table> {
        let bit = 1 << first;
        if table.retained & bit == 0 {
            return None;
        }
        table.retained &= !bit;
        let lock = self.deeds[first].step?.acquires()?;
        if table.left & bit != 0 {
            let places = &mut table.locks[usize::from(lock)].places;
            places.retain(|place| *place != first);
        }
        self.grant_to_next(lock, &mut table).then_some(table)
    }

    fn end(&self, client: u8, mut table: Table) -> Option<Table> {
        table.gone |= 1 << client;
        for lock in &mut table.locks {
            for at in &lock.places {
                if self.deeds[*at].call.0 == client {
                    table.left |= 1 << at;
                }
            }
            let goes = |at: usize| table.left & 1 << at != 0 && table.retained & 1 << at == 0;
            lock.places.retain(|at| !goes(*at));
        }
        let in_order = (0..LOCKS).all(|lock| self.grant_to_next(lock, &mut table));
        in_order.then_some(table)
    }

    /// Whoever fits in has the lock, in turn: as many as each of them was promised at the most.
    /// False if a token is not above the one before.
    fn grant_to_next(&self, lock: u8, table: &mut Table) -> bool {
        let lock = &mut table.locks[usize::from(lock)];
        let mut most = u32::MAX;
        for (before, at) in (0..).zip(&lock.places) {
            let deed = &self.deeds[*at];
            most = most.min(deed.step.map_or(1, |step| step.mode().most_holders()));
            if lock.unowned || before >= most {
                break;
            }
            let is_new = table.granted & 1 << at == 0;
            table.granted |= 1 << at;
            if let Some(token) = deed.token.filter(|_| is_new)
                && std::mem::replace(&mut lock.token, token) >= token
            {
                return false;
            }
        }
        true
    }
}
