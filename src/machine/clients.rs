//! The clients' call records, which make a repeated call run once.
//!
//! A record remembers the outcome of every call from `done_below` on, and refuses calls below:
//! their outcomes are forgotten, so executing one might be the second time. For the same reason
//! `done_below` never falls, though calls, with the `done_below` that they were sent with, arrive
//! in any order.

use std::sync::Arc;

use super::command::CallRefusal;
use super::digest::{self, EntryHash, Sum};
use super::record::Record;
use super::shards::{Place, Table, Walk};
use crate::service::{CallId, Mark, SessionTerms};
use crate::types::{ClientId, Lease, RecordNumber, Seq};

/// How many shards the table has. A snapshot costs a pointer for each; a write after it, the copy
/// of one. Few in tests, which keep many machines.
const SHARDS: usize = if cfg!(test) { 4 } else { 1024 };

/// What the records say about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recall {
    /// It has not been executed, and may be.
    Fresh,
    /// It has been executed, with this outcome.
    Done(bool),
    /// It must not be executed.
    Refused(CallRefusal),
}

/// What is known of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordInfo {
    /// Whose record it is.
    pub client: ClientId,
    /// The lease of a session.
    pub lease: Option<Lease>,
    /// One above the highest call that was executed.
    pub next_seq: Seq,
}

/// The open records.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Clients {
    table: Table<RecordNumber, Record>,
    /// How many bytes of names and addresses their sessions have.
    text_bytes: u64,
    sum: Sum,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            table: Table::new(SHARDS),
            text_bytes: 0,
            sum: Sum::default(),
        }
    }
}

impl Clients {
    pub(super) fn open(
        &mut self,
        number: RecordNumber,
        client: ClientId,
        session: Option<Arc<SessionTerms>>,
    ) {
        self.insert(number, Record::new(client, session));
    }

    /// Drops the record if it is there and `condition` holds; returns whether it was dropped.
    pub(super) fn close(
        &mut self,
        number: RecordNumber,
        condition: impl FnOnce(RecordInfo) -> bool,
    ) -> bool {
        if !self.record(number).is_some_and(condition) {
            return false;
        }
        if let Some(record) = self.table.remove(place(number), &number) {
            hashes(number, &record).for_each(|hash| self.sum.remove(hash));
            self.text_bytes -= text_bytes(&record);
        }
        true
    }

    pub(super) fn recall(&self, id: &CallId) -> Recall {
        match self.table.get(place(id.record), &id.record) {
            Some(record) => record.recall(id),
            None => Recall::Refused(CallRefusal::UnknownRecord),
        }
    }

    /// Stores the outcome of a call that [`recall`](Self::recall) found fresh.
    pub(super) fn settle(&mut self, id: &CallId, outcome: bool) {
        let number = id.record;
        let sum = &mut self.sum;
        let record = self
            .table
            .get_mut(place(number), &number)
            .expect("a fresh call has a record");
        sum.remove(hash(number, record));
        record.forget_below(id.done_below, |seq, outcome| {
            sum.remove(digest::of_outcome(number, seq, outcome));
        });
        record.store(id.seq, outcome);
        sum.add(digest::of_outcome(number, id.seq, outcome));
        sum.add(hash(number, record));
    }

    /// Notes that the lock that a call acquired was broken. False if that cannot be noted.
    pub(super) fn note_broken(&mut self, number: RecordNumber, mark: Mark, acquired: Seq) -> bool {
        let Some(record) = self.table.get_mut(place(number), &number) else {
            return false;
        };
        let noted = record.note_broken(mark, acquired);
        if noted {
            self.sum.add(digest::of_broken(number, mark, acquired));
        }
        noted
    }

    pub(super) fn forget_broken(&mut self, number: RecordNumber, acquired: Seq) {
        if self.broken(number).is_empty() {
            return;
        }
        let record = self.table.get_mut(place(number), &number);
        if let Some(mark) = record.and_then(|record| record.forget_broken(acquired)) {
            self.sum.remove(digest::of_broken(number, mark, acquired));
        }
    }

    /// The calls whose locks were broken.
    pub(super) fn broken(&self, number: RecordNumber) -> &[(Mark, Seq)] {
        let record = self.table.get(place(number), &number);
        record.map_or(&[], Record::broken)
    }

    /// Puts in a record that comes from a copy; returns whether its number was new.
    pub(super) fn insert(&mut self, number: RecordNumber, record: Record) -> bool {
        if self.record(number).is_some() {
            return false;
        }
        hashes(number, &record).for_each(|hash| self.sum.add(hash));
        self.text_bytes += text_bytes(&record);
        self.table.insert(place(number), number, record);
        true
    }

    pub(super) fn record(&self, number: RecordNumber) -> Option<RecordInfo> {
        self.table.get(place(number), &number).map(Record::info)
    }

    /// What a session was opened with.
    pub(super) fn session(&self, number: RecordNumber) -> Option<&Arc<SessionTerms>> {
        self.table.get(place(number), &number)?.session()
    }

    pub(super) const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (RecordNumber, RecordInfo)> {
        self.table
            .iter()
            .map(|(number, record)| (*number, record.info()))
    }

    pub(super) const fn open_records(&self) -> u64 {
        self.table.len()
    }

    pub(super) const fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn walk(&self) -> Walk<RecordNumber, Record> {
        Walk::new(&self.table)
    }
}

/// Record numbers are op numbers: they spread by themselves.
const fn place(number: RecordNumber) -> Place {
    Place(number.0)
}

fn hash(number: RecordNumber, record: &Record) -> EntryHash {
    let info = record.info();
    digest::of_record(number, &info, record.done_below())
}

fn text_bytes(record: &Record) -> u64 {
    let bytes = record.session().map_or(0, |session| session.text_bytes());
    bytes as u64
}

/// The hashes of a record, of its session and of its outcomes.
fn hashes(number: RecordNumber, record: &Record) -> impl Iterator<Item = EntryHash> {
    let outcomes = record
        .outcomes()
        .map(move |(seq, outcome)| digest::of_outcome(number, seq, outcome));
    let broken = record.broken().iter();
    let broken = broken.map(move |(mark, seq)| digest::of_broken(number, *mark, *seq));
    let session = record.session().into_iter();
    let session = session.map(move |session| digest::of_session(number, session));
    std::iter::once(hash(number, record))
        .chain(session)
        .chain(outcomes)
        .chain(broken)
}
