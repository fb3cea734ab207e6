//! An estimate of the memory that the state takes, the same on every server.
//!
//! It follows from the state alone, so a primary can decide by it before it orders a command. It is
//! never less than what the tables take, by the measurements of `docs/performance.md` and the sizes
//! of their entries, with room to grow: a server refuses too early rather than too late.

use crate::types::LockName;

/// A held lock, without its name: an entry of 40 bytes in a table that may be a quarter empty, and
/// its index, which may be more than half empty.
const LOCK_BYTES: u64 = 72;

/// A holder of a lock or a waiter, without its name: 140 bytes at the lock, and two entries of its
/// session in trees that may be half full.
const PLACE_BYTES: u64 = 340;

/// A session with a full window of outcomes and the most broken locks, and a primary's deadlines
/// for it: calls within the session cannot take more.
pub(crate) const SESSION_BYTES: u64 = 2 * 1024;

/// A retained lock, beside its queue entry: an entry of its table, the name of the session that
/// released it, and a primary's deadline.
pub(crate) const RETAINED_BYTES: u64 = 800;

/// A name, each time that it is stored: counters, and up to a quarter more for the allocator.
pub(crate) fn of_name(name: &LockName) -> u64 {
    let bytes = name.as_str().len() as u64;
    32 + bytes + bytes / 4
}

/// The size of a held lock.
pub(crate) fn of_lock(name: &LockName) -> u64 {
    LOCK_BYTES + of_name(name)
}

/// The size of a holder or waiter, beside the lock.
pub(crate) fn of_queue_entry(name: &LockName) -> u64 {
    PLACE_BYTES + of_name(name)
}
