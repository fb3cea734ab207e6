//! What clients do and what they are told, and whether one lock table that nobody shares explains it.

use super::cores::Try;
use crate::machine::{Machine, Recall};
use crate::service::{CallId, Request, Verb};
use crate::types::{ClientId, LockName, OpNumber, RecordNumber, Seq};

/// What a client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Open,
    Lock(u8),
    Unlock(u8),
    Goodbye,
}

/// How a try of the current step at a server stands, or of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Slot {
    pub(super) out: bool,
    pub(super) nth: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) record: Option<RecordNumber>,
    /// The pair in which the record was opened.
    pub(super) epoch: u8,
    /// The steps that are answered.
    pub(super) done: u8,
    /// Whether the current step has been asked anywhere.
    pub(super) asked: bool,
    /// Whether the current step can have run, or can still.
    pub(super) unsure: bool,
    /// Its record went down with a pair, as may happen when both servers are lost.
    pub(super) lost: bool,
    /// For each step, the tries at A and at B.
    pub(super) slots: Vec<[Slot; 2]>,
}

impl Client {
    pub(super) fn new(steps: usize) -> Self {
        Self {
            record: None,
            epoch: 0,
            done: 0,
            asked: false,
            unsure: false,
            lost: false,
            slots: vec![[Slot::default(); 2]; steps],
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.lost || usize::from(self.done) == self.slots.len()
    }
}

pub(super) fn slot_of(clients: &mut [Client], of: Try) -> &mut Slot {
    &mut clients[usize::from(of.client)].slots[usize::from(of.step)][of.at as usize]
}

fn id_of(client: u8) -> ClientId {
    ClientId::from_u128(u128::from(client) + 1)
}

/// How a client names a call.
pub(super) fn call_id(client: u8, steps: &[Step], step: u8, record: RecordNumber) -> CallId {
    let before = &steps[..usize::from(step)];
    let calls = before
        .iter()
        .filter(|step| matches!(step, Step::Lock(_) | Step::Unlock(_)));
    let seq = Seq(calls.count() as u64);
    CallId {
        client: id_of(client),
        record,
        seq,
        done_below: seq,
    }
}

fn name_of(lock: u8) -> LockName {
    LockName::new(["x", "y", "z"][usize::from(lock)]).expect("a good name")
}

pub(super) fn request(
    client: u8,
    steps: &[Step],
    step: u8,
    record: Option<RecordNumber>,
) -> Request {
    let record = record.unwrap_or_default();
    let call = |verb, lock| Request::Call {
        id: call_id(client, steps, step, record),
        verb,
        name: name_of(lock),
    };
    let client = id_of(client);
    match steps[usize::from(step)] {
        Step::Open => Request::Open {
            client,
            lease: None,
        },
        Step::Lock(lock) => call(Verb::Lock, lock),
        Step::Unlock(lock) => call(Verb::Unlock, lock),
        Step::Goodbye => Request::Goodbye { client, record },
    }
}

/// A call, by its client and step.
pub(super) type Call = (u8, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Moment {
    Asked(Call),
    Told(Call, bool),
}

/// What happened to calls, in order. Neighbours of one kind are at the same time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct History(Vec<Moment>);

impl History {
    pub(super) fn push(&mut self, moment: Moment) {
        self.0.push(moment);
        let kind = std::mem::discriminant(&moment);
        let same = self.0.iter().rev();
        let same = same.take_while(|other| std::mem::discriminant(*other) == kind);
        let start = self.0.len() - same.count();
        self.0[start..].sort_unstable();
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn told(&self, call: Call) -> Option<bool> {
        self.0.iter().find_map(|moment| match moment {
            Moment::Told(told, outcome) if *told == call => Some(*outcome),
            _ => None,
        })
    }

    pub(super) fn answered(&self) -> impl Iterator<Item = (Call, bool)> {
        self.0.iter().filter_map(|moment| match moment {
            Moment::Told(call, outcome) => Some((*call, *outcome)),
            Moment::Asked(_) => None,
        })
    }

    fn calls(&self, steps: &[Vec<Step>]) -> Vec<Known> {
        let asked = self.0.iter().enumerate();
        let asked = asked.filter_map(|(at, moment)| match moment {
            Moment::Asked(call) => Some((at, *call)),
            Moment::Told(..) => None,
        });
        let known = asked.map(|(asked, call)| Known {
            call,
            step: steps[usize::from(call.0)][usize::from(call.1)],
            asked,
            told: self
                .0
                .iter()
                .position(|moment| matches!(moment, Moment::Told(told, _) if *told == call)),
            outcome: self.told(call),
            must: self.told(call).is_some(),
        });
        known.collect()
    }

    /// Whether there is one order of the calls that explains every answer.
    pub(super) fn is_explained(&self, steps: &[Vec<Step>]) -> bool {
        explain(&mut self.calls(steps), 0, &|_| true)
    }

    /// Whether there is one that leads to `machine` as well. `records`: of each client.
    pub(super) fn explains(
        &self,
        steps: &[Vec<Step>],
        records: &[Option<RecordNumber>],
        machine: &Machine,
    ) -> bool {
        let mut calls = self.calls(steps);
        for known in &mut calls {
            let (client, step) = known.call;
            let steps = &steps[usize::from(client)];
            let record = records[usize::from(client)].unwrap_or_default();
            if let Recall::Done(outcome) = machine.recall(&call_id(client, steps, step, record)) {
                known.outcome.get_or_insert(outcome);
                known.must = true;
            }
        }
        let held = (0..3).filter(|lock| machine.is_held(&name_of(*lock)));
        let held = held.fold(0, |held, lock| held | 1 << lock);
        explain(&mut calls, 0, &|locks| locks == held)
    }
}

struct Known {
    call: Call,
    step: Step,
    asked: usize,
    told: Option<usize>,
    outcome: Option<bool>,
    /// It has run.
    must: bool,
}

fn explain(calls: &mut Vec<Known>, locks: u8, fits: &impl Fn(u8) -> bool) -> bool {
    if calls.iter().all(|known| !known.must) && fits(locks) {
        return true;
    }
    for at in 0..calls.len() {
        let known = &calls[at];
        let earlier = calls
            .iter()
            .any(|other| other.told.is_some_and(|told| told < known.asked));
        if earlier {
            continue;
        }
        let (granted, after) = match known.step {
            Step::Lock(lock) => (locks & 1 << lock == 0, locks | 1 << lock),
            Step::Unlock(lock) => (locks & 1 << lock != 0, locks & !(1 << lock)),
            Step::Open | Step::Goodbye => continue,
        };
        if known.outcome.is_some_and(|outcome| outcome != granted) {
            continue;
        }
        let known = calls.remove(at);
        let found = explain(calls, after, fits);
        calls.insert(at, known);
        if found {
            return true;
        }
    }
    false
}

/// Where the ops of the pair begin that is formed next.
pub(super) const fn base(epoch: u8) -> OpNumber {
    OpNumber(100_000_000 * (epoch as u64 + 1))
}
