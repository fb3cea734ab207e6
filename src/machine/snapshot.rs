//! A consistent copy of a machine, cut into chunks, and put together again.
//!
//! Every chunk names the op number and the digest of the whole: chunks of two copies do not mix,
//! and a copy that is not equal to its original is refused, not served.

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::Machine;
use super::locks::{Entry, is_ownerless};
use super::owned::{Place, Ticket};
use super::record::Record;
use super::retained::RetainedLock;
use super::shards::Walk;
use crate::service::Mark;
use crate::types::{ClusterId, Digest, LockName, OpNumber, RecordNumber, Token, UnixTime};

/// What a chunk takes on the wire beside its entries, at the most.
const HEADER_BYTES: usize = 90;

/// What a place takes on the wire beside its name, at the most.
const PLACE_BYTES: usize = 80;

/// The state of a [`Machine`] at one op, which later commands leave alone, and how much of it has
/// been handed out.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a snapshot makes later writes to its machine copy what they change"]
pub struct Snapshot {
    header: Header,
    locks: Walk<LockName, Entry>,
    /// Of the lock to come, if it is begun: its places are handed out below this ticket.
    begun: Option<Ticket>,
    records: Walk<RecordNumber, Record>,
    retained: Walk<Token, RetainedLock>,
    /// The index of the chunk to come; none after the last.
    next: Option<u32>,
}

/// What is equal in all chunks of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Header {
    cluster: ClusterId,
    op: OpNumber,
    mark: Mark,
    clock: UnixTime,
    digest: Digest,
}

/// A part of a [`Snapshot`], as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chunk {
    header: Header,
    index: u32,
    is_last: bool,
    /// Those held without an owner.
    locks: Vec<LockName>,
    /// Those of sessions.
    places: Vec<(LockName, Ticket, Place)>,
    records: Vec<(RecordNumber, Record)>,
    retained: Vec<(Token, RetainedLock)>,
}

impl Snapshot {
    /// The smallest size that [`next_chunk`](Self::next_chunk) can cut to, in bytes: the largest
    /// record, with a full window of outcomes and every lock broken that may be, fits in.
    pub const MIN_CHUNK_BYTES: usize = 3 * 1024;

    pub(super) fn new(machine: &Machine) -> Self {
        Self {
            header: Header {
                cluster: machine.cluster,
                op: machine.op(),
                mark: machine.mark,
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

    /// Cuts off the next chunk, and lets go of what is in it. There is always one, also of an empty
    /// machine; none after the last.
    ///
    /// Encoded with postcard the chunk has at the most `max_bytes` bytes, or
    /// [`MIN_CHUNK_BYTES`](Self::MIN_CHUNK_BYTES) if that is more.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Option<Chunk> {
        let index = self.next?;
        let mut room = max_bytes.max(Self::MIN_CHUNK_BYTES) - HEADER_BYTES;
        let (locks, places) = self.cut_locks(&mut room);
        let records = cut(&mut self.records, &mut room, |_, record| {
            record.encoded_bytes() + 10
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
            places,
            records,
            retained,
        })
    }

    /// Takes locks off, and places at them, while they fit into `room`.
    fn cut_locks(&mut self, room: &mut usize) -> (Vec<LockName>, Vec<(LockName, Ticket, Place)>) {
        let (mut locks, mut places) = (Vec::new(), Vec::new());
        while let Some((name, entry)) = self.locks.peek() {
            if self.begun.is_none() && is_ownerless(entry) {
                let Some(rest) = room.checked_sub(name.as_str().len() + 2) else {
                    return (locks, places);
                };
                *room = rest;
                locks.push(name.clone());
            }
            let from = *self.begun.get_or_insert(OpNumber(0));
            for (ticket, place) in entry.iter().flat_map(|owned| owned.places(from)) {
                let Some(rest) = room.checked_sub(name.as_str().len() + PLACE_BYTES) else {
                    return (locks, places);
                };
                *room = rest;
                places.push((name.clone(), ticket, place));
                self.begun = Some(ticket.next());
            }
            self.begun = None;
            self.locks.advance();
        }
        (locks, places)
    }
}

/// Takes entries off `walk` while the bytes that they take on the wire fit into `room`.
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

/// Puts a machine together from the chunks of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// What the first chunk said, and all others must say.
    header: Option<Header>,
    next: u32,
    machine: Machine,
}

impl Restore {
    /// Waits for a first chunk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk. Returns the machine with the last one, and is as new then.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] when the chunk is not the next one of the same copy, or when the copy does
    /// not add up to its original. The copy is lost then: begin a new one.
    pub fn add(&mut self, chunk: Chunk) -> Result<Option<Machine>, RestoreError> {
        if chunk.index != self.next {
            return Err(RestoreError::OutOfOrder {
                expected: self.next,
                found: chunk.index,
            });
        }
        let header = *self.header.get_or_insert(chunk.header);
        if chunk.header != header {
            return Err(RestoreError::Mixed);
        }
        self.next += 1;
        let is_last = chunk.is_last;
        self.machine.cluster = header.cluster;
        self.machine.op = header.op;
        self.machine.mark = header.mark;
        self.machine.clock = header.clock;
        self.fill(chunk)?;
        is_last.then(|| self.finish(header.digest)).transpose()
    }

    fn fill(&mut self, chunk: Chunk) -> Result<(), RestoreError> {
        for name in chunk.locks {
            if !self.machine.locks.lock(&name) {
                return Err(RestoreError::Malformed);
            }
        }
        for (name, ticket, place) in chunk.places {
            if !self.machine.locks.insert(&name, ticket, place) {
                return Err(RestoreError::Malformed);
            }
            let (claim, at) = (place.claim, (name, ticket));
            let sessions = &mut self.machine.sessions;
            sessions.insert(claim.session, claim.seq, at, place.grant);
        }
        for (number, record) in chunk.records {
            if !record.is_sound() || !self.machine.clients.insert(number, record) {
                return Err(RestoreError::Malformed);
            }
        }
        for (token, lock) in chunk.retained {
            if !self.machine.retained.insert(token, lock) {
                return Err(RestoreError::Malformed);
            }
        }
        Ok(())
    }

    /// A session does not know of a lock that it has let go of.
    fn forget_left(&mut self) -> Result<(), RestoreError> {
        let Machine {
            locks,
            sessions,
            retained,
            ..
        } = &mut self.machine;
        for (token, lock) in retained.iter() {
            let place = locks.place(&lock.name, lock.ticket);
            let claim = place
                .filter(|place| place.grant.is_some_and(|grant| grant.token == token))
                .map(|place| place.claim)
                .ok_or(RestoreError::Malformed)?;
            if lock.left_by.is_some() {
                sessions.remove(claim.session, claim.seq);
            }
        }
        Ok(())
    }

    fn finish(&mut self, expected: Digest) -> Result<Machine, RestoreError> {
        self.forget_left()?;
        let machine = std::mem::take(self).machine;
        let found = machine.digest();
        if found == expected {
            Ok(machine)
        } else {
            Err(RestoreError::Corrupt { expected, found })
        }
    }
}

/// Why a copy cannot become a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A chunk is missing, or came twice.
    #[error("chunk {found} of a copy came where chunk {expected} was due")]
    OutOfOrder {
        /// The index of the chunk that was due.
        expected: u32,
        /// The index of the chunk that came.
        found: u32,
    },
    /// The chunk belongs to another copy than the ones before it.
    #[error("a chunk belongs to another copy")]
    Mixed,
    /// The chunk holds what no machine can hold: an entry twice, or an impossible record.
    #[error("a chunk of a copy is malformed")]
    Malformed,
    /// All chunks came, and the machine that they make is not the one that was copied.
    #[error("a copy has the digest {found} where its original has {expected}")]
    Corrupt {
        /// The digest of the original.
        expected: Digest,
        /// The digest of the copy.
        found: Digest,
    },
}
