//! A consistent snapshot of a machine, cut into chunks and put together again.
//!
//! Every chunk names the op number and the digest of the whole. So chunks of two snapshots do not
//! mix, and a copy that differs from its original is refused, not served.

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::Machine;
use super::locks::{Entry, is_unowned};
use super::owned::{QueueEntry, Ticket};
use super::retained::RetainedLock;
use super::session::Session;
use super::shards::Walk;
use crate::service::Revision;
use crate::types::{ClusterId, Digest, LockName, OpNumber, SessionId, Token, UnixTime};

/// An upper bound of a chunk's size on the wire without its entries, in bytes.
const HEADER_BYTES: usize = 90;

/// An upper bound of a queue entry's size on the wire without the lock's name, in bytes.
const PLACE_BYTES: usize = 80;

/// The state of a [`Machine`] at one op, which later commands do not change, and how much of it has
/// been handed out.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a snapshot makes later writes to its machine copy what they change"]
pub struct Snapshot {
    header: Header,
    locks: Walk<LockName, Entry>,
    /// The first ticket of the next lock that is not handed out yet, if that lock is begun.
    begun: Option<Ticket>,
    records: Walk<SessionId, Session>,
    retained: Walk<Token, RetainedLock>,
    /// The index of the next chunk; none after the last.
    next: Option<u32>,
}

/// The fields that are equal in all chunks of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Header {
    cluster: ClusterId,
    op: OpNumber,
    mark: Revision,
    clock: UnixTime,
    digest: Digest,
}

/// A part of a [`Snapshot`], as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chunk {
    header: Header,
    index: u32,
    is_last: bool,
    /// The unowned locks.
    locks: Vec<LockName>,
    /// The owned locks.
    places: Vec<(LockName, Ticket, QueueEntry)>,
    records: Vec<(SessionId, Session)>,
    retained: Vec<(Token, RetainedLock)>,
}

impl Snapshot {
    /// The smallest size that [`next_chunk`](Self::next_chunk) can cut to, in bytes: the largest
    /// session, with a full window of outcomes and the most broken locks, fits in.
    pub const MIN_CHUNK_BYTES: usize = 3 * 1024;

    pub(super) fn new(machine: &Machine) -> Self {
        Self {
            header: Header {
                cluster: machine.cluster,
                op: machine.op(),
                mark: machine.revision,
                clock: machine.clock,
                digest: machine.digest(),
            },
            locks: machine.locks.walk(),
            begun: None,
            records: machine.clients.walk(),
            retained: machine.retained.walk(),
            next: Some(0),
        }
    }

    /// The op number of the state.
    #[must_use]
    pub const fn op(&self) -> OpNumber {
        self.header.op
    }

    /// Cuts off the next chunk, and drops its entries here. There is at least one, also of an empty
    /// machine; none after the last.
    ///
    /// Encoded with postcard, the chunk has at most `max_bytes` bytes, or
    /// [`MIN_CHUNK_BYTES`](Self::MIN_CHUNK_BYTES) if that is more.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Option<Chunk> {
        let index = self.next?;
        let mut room = max_bytes.max(Self::MIN_CHUNK_BYTES) - HEADER_BYTES;
        let (locks, entries) = self.cut_locks(&mut room);
        let records = cut(&mut self.records, &mut room, |_, session| {
            session.encoded_bytes() + 10
        });
        let retained = cut(&mut self.retained, &mut room, |_, lock| {
            lock.encoded_bytes() + 10
        });
        let is_last = self.locks.peek().is_none()
            && self.records.peek().is_none()
            && self.retained.peek().is_none();
        self.next = (!is_last).then_some(index + 1);
        Some(Chunk {
            header: self.header,
            index,
            is_last,
            locks,
            places: entries,
            records,
            retained,
        })
    }

    /// Takes locks and queue entries while they fit into `room`.
    fn cut_locks(
        &mut self,
        room: &mut usize,
    ) -> (Vec<LockName>, Vec<(LockName, Ticket, QueueEntry)>) {
        let (mut locks, mut entries) = (Vec::new(), Vec::new());
        while let Some((name, entry)) = self.locks.peek() {
            if self.begun.is_none() && is_unowned(entry) {
                let Some(rest) = room.checked_sub(name.as_str().len() + 2) else {
                    return (locks, entries);
                };
                *room = rest;
                locks.push(name.clone());
            }
            let from = *self.begun.get_or_insert(OpNumber(0));
            for (ticket, queue_entry) in entry.iter().flat_map(|owned| owned.entries(from)) {
                let Some(rest) = room.checked_sub(name.as_str().len() + PLACE_BYTES) else {
                    return (locks, entries);
                };
                *room = rest;
                entries.push((name.clone(), ticket, queue_entry));
                self.begun = Some(ticket.next());
            }
            self.begun = None;
            self.locks.advance();
        }
        (locks, entries)
    }
}

/// Takes entries from `walk` while their sizes on the wire fit into `room`.
fn cut<K: Hash + Eq + Clone, V: Clone>(
    walk: &mut Walk<K, V>,
    room: &mut usize,
    bytes: impl Fn(&K, &V) -> usize,
) -> Vec<(K, V)> {
    let mut entries = Vec::new();
    while let Some((key, value)) = walk.peek() {
        let Some(rest) = room.checked_sub(bytes(key, value)) else {
            break;
        };
        *room = rest;
        entries.push((key.clone(), value.clone()));
        walk.advance();
    }
    entries
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("header", &self.header)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Puts a machine together from the chunks of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotReceiver {
    /// The fields of the first chunk, which all others must have too.
    header: Option<Header>,
    next: u32,
    machine: Machine,
}

impl SnapshotReceiver {
    /// Waits for a first chunk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk. After the last one, returns the machine, and is as new.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if the chunk is not the next one of the same snapshot, or if the copy
    /// differs from its original. Then the transfer has to begin anew.
    pub fn add(&mut self, chunk: Chunk) -> Result<Option<Machine>, SnapshotError> {
        if chunk.index != self.next {
            return Err(SnapshotError::OutOfOrder {
                expected: self.next,
                found: chunk.index,
            });
        }
        let header = *self.header.get_or_insert(chunk.header);
        if chunk.header != header {
            return Err(SnapshotError::Mixed);
        }
        self.next += 1;
        let is_last = chunk.is_last;
        self.machine.cluster = header.cluster;
        self.machine.op = header.op;
        self.machine.revision = header.mark;
        self.machine.clock = header.clock;
        self.fill(chunk)?;
        is_last.then(|| self.finish(header.digest)).transpose()
    }

    fn fill(&mut self, chunk: Chunk) -> Result<(), SnapshotError> {
        for name in chunk.locks {
            if !self.machine.locks.lock(&name) {
                return Err(SnapshotError::Malformed);
            }
        }
        for (name, ticket, entry) in chunk.places {
            if !self.machine.locks.insert(&name, ticket, entry) {
                return Err(SnapshotError::Malformed);
            }
            let (request, at) = (entry.request, (name, ticket));
            let sessions = &mut self.machine.sessions;
            sessions.insert(request.session, request.seq, at, entry.grant);
        }
        for (number, session) in chunk.records {
            if !session.is_sound() || !self.machine.clients.insert(number, session) {
                return Err(SnapshotError::Malformed);
            }
        }
        for (token, lock) in chunk.retained {
            if !self.machine.retained.insert(token, lock) {
                return Err(SnapshotError::Malformed);
            }
        }
        Ok(())
    }

    /// A session has no index entry for a lock that it has released.
    fn forget_left(&mut self) -> Result<(), SnapshotError> {
        let Machine {
            locks,
            sessions,
            retained,
            ..
        } = &mut self.machine;
        for (token, lock) in retained.iter() {
            let entry = locks.entry_at(&lock.name, lock.ticket);
            let request = entry
                .filter(|entry| entry.grant.is_some_and(|grant| grant.token == token))
                .map(|entry| entry.request)
                .ok_or(SnapshotError::Malformed)?;
            if lock.left_by.is_some() {
                sessions.remove(request.session, request.seq);
            }
        }
        Ok(())
    }

    fn finish(&mut self, expected: Digest) -> Result<Machine, SnapshotError> {
        self.forget_left()?;
        let machine = std::mem::take(self).machine;
        let found = machine.digest();
        if found == expected {
            Ok(machine)
        } else {
            Err(SnapshotError::Corrupt { expected, found })
        }
    }
}

/// Why a snapshot cannot become a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A chunk is missing, or arrived twice.
    #[error("chunk {found} of a copy came where chunk {expected} was due")]
    OutOfOrder {
        /// The index of the expected chunk.
        expected: u32,
        /// The index of the chunk that arrived.
        found: u32,
    },
    /// The chunk belongs to another snapshot than the ones before it.
    #[error("a chunk belongs to another copy")]
    Mixed,
    /// The chunk has entries that no machine can have: an entry twice, or an impossible session.
    #[error("a chunk of a copy is malformed")]
    Malformed,
    /// All chunks arrived, and the resulting machine differs from the original.
    #[error("a copy has the digest {found} where its original has {expected}")]
    Corrupt {
        /// The digest of the original.
        expected: Digest,
        /// The digest of the copy.
        found: Digest,
    },
}
