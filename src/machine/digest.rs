//! The fingerprint of a machine, kept up to date at the cost of a few hashes a command.
//!
//! Every entry of the state (a held lock, a record, an outcome) has a hash, and the fingerprint is their
//! sum. A sum does not depend on order and can be taken back, so a change costs the hashes of what it
//! changes. The hash and the encoding beneath it are fixed: servers of different builds compare digests.
//!
//! It finds divergence, not forgery: a client who wanted to could search for names whose sums collide.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::types::{ClientId, Digest, LockName, OpNumber, RecordNumber, Seq};

/// The kinds of entries. Each has a seed of its own, lest equal bytes of two kinds cancel out.
#[derive(Clone, Copy)]
enum Kind {
    Op = 1,
    Lock = 2,
    Record = 3,
    Outcome = 4,
}

/// The hash of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryHash(u64);

impl EntryHash {
    fn new(kind: Kind, bytes: &[u8]) -> Self {
        Self(xxh3_64_with_seed(bytes, kind as u64))
    }

    /// Well mixed bits, the same on every server.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

/// The sum of the hashes of a set of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Sum {
    pub(super) const fn add(&mut self, entry: EntryHash) {
        self.0 = self.0.wrapping_add(entry.0);
    }

    pub(super) const fn remove(&mut self, entry: EntryHash) {
        self.0 = self.0.wrapping_sub(entry.0);
    }
}

impl From<EntryHash> for Sum {
    fn from(entry: EntryHash) -> Self {
        Self(entry.0)
    }
}

/// The digest of the union of several sets of entries.
pub(super) fn combine(parts: &[Sum]) -> Digest {
    Digest(parts.iter().fold(0, |sum, part| sum.wrapping_add(part.0)))
}

pub(super) fn of_op(op: OpNumber) -> EntryHash {
    EntryHash::new(Kind::Op, &op.0.to_le_bytes())
}

pub(super) fn of_lock(name: &LockName) -> EntryHash {
    EntryHash::new(Kind::Lock, name.as_str().as_bytes())
}

pub(super) fn of_record(
    number: RecordNumber,
    client: ClientId,
    done_below: Seq,
    next_seq: Seq,
) -> EntryHash {
    let mut bytes = [0; 40];
    bytes[..8].copy_from_slice(&number.0.to_le_bytes());
    bytes[8..24].copy_from_slice(&client.as_u128().to_le_bytes());
    bytes[24..32].copy_from_slice(&done_below.0.to_le_bytes());
    bytes[32..].copy_from_slice(&next_seq.0.to_le_bytes());
    EntryHash::new(Kind::Record, &bytes)
}

pub(super) fn of_outcome(number: RecordNumber, seq: Seq, outcome: bool) -> EntryHash {
    let mut bytes = [0; 17];
    bytes[..8].copy_from_slice(&number.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&seq.0.to_le_bytes());
    bytes[16] = u8::from(outcome);
    EntryHash::new(Kind::Outcome, &bytes)
}
