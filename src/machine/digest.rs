//! The digest of a machine, kept up to date by a few hashes for each command.
//!
//! Every entry of the state (a held lock, a queue entry, a session, an outcome) has a hash, and the
//! digest is their sum. A sum does not depend on order and can be taken back, so a change
//! costs the hashes of what it changes. The hash and the encoding beneath it are fixed: servers of
//! different builds compare digests.
//!
//! It detects divergence, not forgery: a client could search for names whose sums collide.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::client_table::SessionInfo;
use super::owned::{QueueEntry, Ticket};
use super::retained::RetainedLock;
use crate::service::{LockMode, Revision, SessionTerms};
use crate::types::{
    ClientAddress, ClusterId, Digest, Lease, LockName, OpNumber, Seq, SessionId, SessionName,
    Token, UnixTime,
};

/// The kinds of entries. Each has its own seed, so that equal bytes of two kinds do not cancel out.
#[derive(Clone, Copy)]
enum Kind {
    Op = 1,
    Lock = 2,
    Record = 3,
    Outcome = 4,
    Mark = 5,
    Place = 6,
    Broken = 7,
    Clock = 8,
    Session = 9,
    Retained = 10,
    Cluster = 11,
}

/// The hash of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryHash(u64);

impl EntryHash {
    fn new(kind: Kind, bytes: &[u8]) -> Self {
        Self(xxh3_64_with_seed(bytes, kind as u64))
    }

    /// Returns well mixed bits, the same on every server.
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

pub(super) fn of_cluster(cluster: ClusterId) -> EntryHash {
    EntryHash::new(Kind::Cluster, &cluster.0.to_le_bytes())
}

pub(super) fn of_op(op: OpNumber) -> EntryHash {
    EntryHash::new(Kind::Op, &op.0.to_le_bytes())
}

pub(super) fn of_lock(name: &LockName) -> EntryHash {
    EntryHash::new(Kind::Lock, name.as_str().as_bytes())
}

pub(super) fn of_session(
    number: SessionId,
    info: &SessionInfo,
    first_incomplete: Seq,
) -> EntryHash {
    let lease = info.lease.map_or(0, Lease::millis);
    let mut bytes = [0; 44];
    bytes[..8].copy_from_slice(&number.0.to_le_bytes());
    bytes[8..24].copy_from_slice(&info.client.as_u128().to_le_bytes());
    bytes[24..32].copy_from_slice(&first_incomplete.0.to_le_bytes());
    bytes[32..40].copy_from_slice(&info.next_seq.0.to_le_bytes());
    bytes[40..].copy_from_slice(&lease.to_le_bytes());
    EntryHash::new(Kind::Record, &bytes)
}

/// Hashes a session's terms without the lease.
pub(super) fn of_terms(number: SessionId, terms: &SessionTerms) -> EntryHash {
    let mut bytes = number.0.to_le_bytes().to_vec();
    push_terms(&mut bytes, terms);
    EntryHash::new(Kind::Session, &bytes)
}

fn push_terms(bytes: &mut Vec<u8>, terms: &SessionTerms) {
    let inside = terms.inside.map_or(0, |session| session.0);
    bytes.extend(inside.to_le_bytes());
    // No byte of UTF-8 is 0xff, so it ends a text.
    let name = terms.name.as_ref().map_or("", SessionName::as_str);
    bytes.extend(name.bytes().chain([0xff]));
    let address = terms.address.as_ref().map(ClientAddress::as_str);
    bytes.push(u8::from(address.is_some()));
    bytes.extend(address.unwrap_or_default().bytes());
}

/// Hashes a retention. The queue entry has a hash of its own.
pub(super) fn of_retained(token: Token, lock: &RetainedLock) -> EntryHash {
    let numbers = [of_lock(&lock.name).0, lock.ticket.0, token.0];
    let mut bytes: Vec<_> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    bytes.extend(lock.left.millis().to_le_bytes());
    if let Some(owner) = &lock.left_by {
        bytes.extend(owner.client.as_u128().to_le_bytes());
        if let Some(terms) = &owner.terms {
            bytes.extend(terms.lease.millis().to_le_bytes());
            push_terms(&mut bytes, terms);
        }
    }
    EntryHash::new(Kind::Retained, &bytes)
}

pub(super) fn of_revision(revision: Revision) -> EntryHash {
    EntryHash::new(Kind::Mark, &revision.0.to_le_bytes())
}

pub(super) fn of_clock(clock: UnixTime) -> EntryHash {
    EntryHash::new(Kind::Clock, &clock.0.to_le_bytes())
}

pub(super) fn of_broken(number: SessionId, revision: Revision, acquired: Seq) -> EntryHash {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&number.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&revision.0.to_le_bytes());
    bytes[16..].copy_from_slice(&acquired.0.to_le_bytes());
    EntryHash::new(Kind::Broken, &bytes)
}

/// Hashes a queue entry. The name is hashed first, so that one of any length fits.
pub(super) fn of_queue_entry(name: &LockName, ticket: Ticket, entry: &QueueEntry) -> EntryHash {
    let (token, contended, since) = entry.grant.map_or((0, 0, 0), |grant| {
        let contended = grant.contended.map_or(0, |revision| revision.0);
        (grant.token.0, contended, grant.since.0)
    });
    let numbers = [
        of_lock(name).0,
        ticket.0,
        entry.request.session.0,
        entry.request.seq.0,
        token,
        contended,
        since,
    ];
    let mut bytes = [0; 61];
    for (at, number) in numbers.iter().enumerate() {
        bytes[8 * at..][..8].copy_from_slice(&number.to_le_bytes());
    }
    let (mode, permits) = match entry.request.mode {
        LockMode::Exclusive => (0, 0),
        LockMode::Shared => (1, 0),
        LockMode::Permits(most) => (2, most.get()),
    };
    bytes[56] = mode;
    bytes[57..].copy_from_slice(&permits.to_le_bytes());
    EntryHash::new(Kind::Place, &bytes)
}

pub(super) fn of_outcome(number: SessionId, seq: Seq, outcome: bool) -> EntryHash {
    let mut bytes = [0; 17];
    bytes[..8].copy_from_slice(&number.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&seq.0.to_le_bytes());
    bytes[16] = u8::from(outcome);
    EntryHash::new(Kind::Outcome, &bytes)
}
