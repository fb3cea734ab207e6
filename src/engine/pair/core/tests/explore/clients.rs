//! What clients do, one step after the other.

use std::num::NonZeroU32;

use super::cores::{LEASE, RETENTION, Try};
use crate::service::{AcquireOptions, CallId, LockMode, Request, Revision, SessionTerms, Verb};
use crate::types::{
    ClientId, Lease, LockName, OpNumber, Retention, Seq, ServerId, SessionId, Token, View,
};

/// What a client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Open,
    Lock(u8),
    Unlock(u8),
    Goodbye,
    /// Opens a record with a lease.
    Session,
    /// Acquires a lock, or queues for it.
    Acquire(u8),
    /// Acquires a lock together with others that share it, or queues for it.
    Share(u8),
    /// Acquires one of so many permits of a lock, or queues for it.
    Permit(u8, u32),
    /// Acquires it if it is free.
    Try(u8),
    /// Polls until all that it queued for is its own.
    Await,
    /// Polls once, and takes any answer.
    Poll,
    /// Gives back what it acquired last, or leaves the queue.
    Release,
    /// Gives back what it acquired of a lock, or leaves its queue.
    Return(u8),
    /// Lets what it acquired last stay held for a time, whatever it does.
    Retain,
    /// Breaks the lock that a client was granted by one of its steps, by the token that it was
    /// told.
    Break(u8, u8),
    /// Polls until it is told that a lock of its own was broken.
    Lose,
}

impl Step {
    /// Whether it is a call, which runs once.
    pub(super) const fn is_call(self) -> bool {
        matches!(
            self,
            Self::Lock(_)
                | Self::Unlock(_)
                | Self::Release
                | Self::Return(_)
                | Self::Retain
                | Self::Break(..)
        ) || self.acquires().is_some()
    }

    /// Whether it polls until something certain has come.
    pub(super) const fn waits(self) -> bool {
        matches!(self, Self::Await | Self::Lose)
    }

    /// The lock that it acquires.
    pub(super) const fn acquires(self) -> Option<u8> {
        match self {
            Self::Acquire(lock) | Self::Share(lock) | Self::Permit(lock, _) | Self::Try(lock) => {
                Some(lock)
            }
            _ => None,
        }
    }

    /// How many may hold the lock that it acquires.
    pub(super) fn mode(self) -> LockMode {
        match self {
            Self::Share(_) => LockMode::Shared,
            Self::Permit(_, most) => {
                LockMode::Permits(NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN))
            }
            _ => LockMode::Exclusive,
        }
    }
}

/// How a try of the current step at a server stands, or of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Slot {
    pub(super) out: bool,
    pub(super) nth: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(super) struct Client {
    pub(super) record: Option<SessionId>,
    /// The pair in which the record was opened.
    pub(super) epoch: u8,
    /// The steps that are answered.
    pub(super) done: u8,
    /// Whether the current step has been asked anywhere.
    pub(super) asked: bool,
    /// Whether the current step can have run, or can still.
    pub(super) unsure: bool,
    /// Its record went down with a pair, as may happen when both servers are lost; or it was told
    /// that its session is over.
    pub(super) lost: bool,
    /// The lease of its session was over at a server.
    pub(super) ended: bool,
    /// What it has been told of by polls.
    pub(super) through: Revision,
    /// The view of the servers, if it has a session: the last that it was told of.
    pub(super) view: Option<View>,
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
            ended: false,
            through: Revision(0),
            view: None,
            slots: vec![[Slot::default(); 2]; steps],
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.lost || usize::from(self.done) == self.slots.len()
    }

    /// Whether it has asked for `step`, if only once.
    pub(super) fn has_asked(&self, step: usize) -> bool {
        usize::from(self.done) > step || usize::from(self.done) == step && self.asked
    }

    /// Whether it may have given back what it acquired by `step`, or left altogether.
    pub(super) fn may_have_released(&self, steps: &[Step], step: u8) -> bool {
        let later = (0..).zip(steps).skip(usize::from(step) + 1);
        let mut releases = later.filter(|(at, later)| match later {
            Step::Release | Step::Return(_) => acquired_by(steps, *at) == step,
            later => **later == Step::Goodbye,
        });
        releases.any(|(at, _)| self.has_asked(at.into()))
    }
}

pub(super) fn slot_of(clients: &mut [Client], of: Try) -> &mut Slot {
    &mut clients[usize::from(of.client)].slots[usize::from(of.step)][of.at.index()]
}

fn id_of(client: u8) -> ClientId {
    ClientId::from_u128(u128::from(client) + 1)
}

/// How a client names a call.
pub(super) fn call_id(client: u8, steps: &[Step], step: u8, session: SessionId) -> CallId {
    let before = &steps[..usize::from(step)];
    let calls = before.iter().filter(|step| step.is_call());
    let seq = Seq(calls.count() as u64);
    CallId {
        client: id_of(client),
        session,
        seq,
        first_incomplete: seq,
    }
}

/// The step that acquired what `step` gives back.
pub(super) fn acquired_by(steps: &[Step], step: u8) -> u8 {
    let wanted = match steps[usize::from(step)] {
        Step::Return(lock) => Some(lock),
        _ => None,
    };
    let before = (0..step).zip(steps);
    let mut acquires = before.filter(|(_, step)| {
        let lock = step.acquires();
        lock.is_some() && (wanted.is_none() || lock == wanted)
    });
    acquires
        .next_back()
        .expect("something is acquired before")
        .0
}

pub(super) fn name_of(lock: u8) -> LockName {
    LockName::new(["x", "y", "z"][usize::from(lock)]).expect("a good name")
}

/// How many locks there are at the most.
pub(super) const LOCKS: u8 = 3;

/// What a client asks for. `breaks`: the lock and the token that it breaks, if its step is to do
/// so.
pub(super) fn request(
    number: u8,
    steps: &[Step],
    step: u8,
    state: &Client,
    breaks: Option<(u8, Token)>,
) -> Request {
    let session_id = state.record.unwrap_or_default();
    let id = call_id(number, steps, step, session_id);
    let client = id_of(number);
    let call = |verb, lock| Request::Call {
        id,
        verb,
        name: name_of(lock),
    };
    let of_step = steps[usize::from(step)];
    let acquire = |waits, lock| Request::Acquire {
        id,
        name: name_of(lock),
        options: AcquireOptions {
            mode: of_step.mode(),
            waits,
        },
    };
    let open = |lease: Option<Lease>| Request::OpenSession {
        client,
        terms: lease.map(SessionTerms::nameless),
    };
    match of_step {
        Step::Open => open(None),
        Step::Session => open(Some(Lease::new(LEASE).expect("a lease"))),
        Step::Lock(lock) => call(Verb::Lock, lock),
        Step::Unlock(lock) => call(Verb::Unlock, lock),
        Step::Acquire(lock) | Step::Share(lock) | Step::Permit(lock, _) => acquire(true, lock),
        Step::Try(lock) => acquire(false, lock),
        Step::Release | Step::Return(_) => Request::Release {
            id,
            acquired: call_id(number, steps, acquired_by(steps, step), session_id).seq,
        },
        Step::Retain => Request::Retain {
            id,
            acquired: call_id(number, steps, acquired_by(steps, step), session_id).seq,
            retention: Retention::new(RETENTION).expect("less than a day"),
        },
        Step::Break(..) => {
            let (lock, token) = breaks.unwrap_or_default();
            Request::Break {
                id,
                name: name_of(lock),
                token,
                reason: String::new(),
                address: None,
            }
        }
        Step::Await | Step::Poll | Step::Lose => Request::Poll {
            client,
            session: session_id,
            since: state.through,
            view: state.view.unwrap_or(View::first(ServerId::A)),
        },
        Step::Goodbye => Request::CloseSession {
            client,
            session: session_id,
        },
    }
}

/// Where the ops of the pair begin that is formed next.
pub(super) const fn base(epoch: u8) -> OpNumber {
    OpNumber(100_000_000 * (epoch as u64 + 1))
}
