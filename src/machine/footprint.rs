//! How much memory the state takes: an estimate that every server makes alike.
//!
//! It follows from the state alone, so a primary can decide by it before a command gets its place
//! in the order. It is never less than what the tables take, by the measurements of
//! `docs/performance.md` and the sizes of their entries, with room to grow; so a server refuses too
//! early rather than too late.

use crate::types::LockName;

/// A held lock, without its name: an entry of 40 bytes in a table that may be a quarter empty, and
/// its index, which may be more than half empty.
const LOCK_BYTES: u64 = 72;

/// A holder of a lock or a waiter, without its name: 140 bytes at the lock, and two entries of its
/// session in trees that may be half full.
const PLACE_BYTES: u64 = 340;

/// A client's record that remembers a whole window of calls and as many broken locks as it may, and
/// the deadlines of a primary: so that a client cannot take more by what it does within its record.
pub(crate) const SESSION_BYTES: u64 = 2 * 1024;

/// A retained lock, beside its place: an entry of its table, the name of the session that left it,
/// and the deadline of a primary.
pub(crate) const RETAINED_BYTES: u64 = 800;

/// What a name takes each time that it is kept: counters, and up to a quarter more for the
/// allocator.
pub(crate) fn of_name(name: &LockName) -> u64 {
    let bytes = name.as_str().len() as u64;
    32 + bytes + bytes / 4
}

/// What a held lock takes.
pub(crate) fn of_lock(name: &LockName) -> u64 {
    LOCK_BYTES + of_name(name)
}

/// What a holder of a lock or a waiter takes, beside the lock.
pub(crate) fn of_queue_entry(name: &LockName) -> u64 {
    PLACE_BYTES + of_name(name)
}
