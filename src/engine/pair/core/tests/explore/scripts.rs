//! What the clients of several scopes do: for each of them, its steps.

use super::clients::Step::{
    self, Acquire, Await, Break, Lock, Lose, Open, Permit, Release, Retain, Return, Session, Share,
    Unlock,
};

pub(super) const TWO_CALLS: &[&[Step]] = &[&[Open, Lock(0), Unlock(0)]];
/// One has a lock, and another one waits for it.
pub(super) const HOLDER_AND_WAITER: &[&[Step]] = &[
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0), Await],
];

/// The first one has it for good.
pub(super) const SILENT_HOLDER_AND_WAITER: &[&[Step]] = &[
    &[Session, Acquire(0)],
    &[Session, Acquire(0), Await, Release],
];

/// One retains a lock and gives it back, and another one waits for it.
pub(super) const RETAINED_AND_RELEASED: &[&[Step]] = &[
    &[Session, Acquire(0), Retain, Release],
    &[Session, Acquire(0), Await],
];

/// One retains a lock and is silent from then on, and another one waits for it.
pub(super) const RETAINED_BY_A_SILENT_HOLDER: &[&[Step]] = &[
    &[Session, Acquire(0), Retain],
    &[Session, Acquire(0), Await, Release],
];

/// One retains a lock and gives it back, and another one breaks it.
pub(super) const RETAINED_AND_BROKEN: &[&[Step]] = &[
    &[Session, Acquire(0), Retain, Release],
    &[Session, Acquire(0), Break(0, 1), Await],
];

/// One has a lock, and two wait for it.
pub(super) const QUEUE: &[&[Step]] = &[
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0), Await, Release],
    &[Session, Acquire(0), Await],
];

/// The first one has it for good.
pub(super) const SILENT_HOLDER_AND_QUEUE: &[&[Step]] = &[
    &[Session, Acquire(0)],
    &[Session, Acquire(0), Await, Release],
    &[Session, Acquire(0), Await],
];

/// One has a lock, one leaves its queue, and one waits behind that.
pub(super) const QUEUE_THAT_ONE_LEAVES: &[&[Step]] = &[
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0), Await],
];

/// The last one waits behind the others and does nothing.
pub(super) const QUEUE_BEFORE_A_SILENT_ONE: &[&[Step]] = &[
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0), Await],
    &[Session, Acquire(0)],
];

/// The one between the others is silent, so that its lease ends, while it waits or when it has the
/// lock.
pub(super) const QUEUE_BEHIND_A_SILENT_ONE: &[&[Step]] = &[
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0)],
    &[Session, Acquire(0), Await],
];

/// The holder is silent, one leaves the queue, and one waits behind that.
pub(super) const SILENT_HOLDER_AND_QUEUE_THAT_ONE_LEAVES: &[&[Step]] = &[
    &[Session, Acquire(0)],
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0), Await],
];

/// Two have the two permits of a lock, and one waits.
pub(super) const PERMITS: &[&[Step]] = &[
    &[Session, Permit(0, 2), Release],
    &[Session, Permit(0, 2)],
    &[Session, Permit(0, 2), Await],
];

/// Three have the three permits of a lock, and one waits.
pub(super) const THREE_PERMITS: &[&[Step]] = &[
    &[Session, Permit(0, 3), Release],
    &[Session, Permit(0, 3)],
    &[Session, Permit(0, 3)],
    &[Session, Permit(0, 3), Await],
];

/// Two have permits of three, one waits that would have no more than two, and one behind it.
pub(super) const LEAST_PERMITS: &[&[Step]] = &[
    &[Session, Permit(0, 3), Release],
    &[Session, Permit(0, 3)],
    &[Session, Permit(0, 2), Await, Release],
    &[Session, Permit(0, 3), Await],
];

/// Two share a lock, and another one waits to have it alone.
pub(super) const SHARED: &[&[Step]] = &[
    &[Session, Share(0), Release],
    &[Session, Share(0), Release],
    &[Session, Acquire(0), Await],
];

/// One shares a lock, another one waits to have it alone, and then one comes that would share it.
pub(super) const SHARER_AND_LATE_SHARER: &[&[Step]] = &[
    &[Session, Share(0), Release],
    &[Session, Acquire(0), Await, Release],
    &[Session, Share(0), Await],
];

/// One waits for a lock and breaks it; its holder gives it back when it is told.
pub(super) const BROKEN: &[&[Step]] = &[
    &[Session, Acquire(0), Lose, Release],
    &[Session, Acquire(0), Break(0, 1), Await],
];

/// Its holder gives it back meanwhile.
pub(super) const RELEASED_AND_BROKEN: &[&[Step]] = &[
    &[Session, Acquire(0), Release],
    &[Session, Acquire(0), Break(0, 1), Await],
];

/// Each has what the other one waits for, until one gives up.
pub(super) const CROSSWISE: &[&[Step]] = &[
    &[Session, Acquire(0), Acquire(1), Await],
    &[Session, Acquire(1), Acquire(0), Return(0), Return(1)],
];

pub(super) const TWO_CLIENTS: &[&[Step]] = &[&[Open, Lock(0)], &[Open, Lock(0)]];
