//! The numbers of a clerk's calls.
//!
//! A server remembers the outcome of every call from `done_below` on, so that a repeated call gets
//! the outcome of the first. Each call tells it how far `done_below` has come: up to the oldest
//! call that is still unanswered. A call that failed, or whose future was dropped, counts as done:
//! it will not be repeated. And calls may run ahead of `done_below` only so far, which bounds what
//! the server keeps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::call::Overload;
use crate::config::CALL_WINDOW;
use crate::service::{CallId, Opened};
use crate::types::{ClientId, RecordNumber, Seq};

/// A record that the servers keep for this clerk.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: RecordNumber,
    pub(super) time_to_live: Duration,
    /// Told when a server does not know the record.
    pub(super) lost: Notify,
    /// Told when the servers take no other record instead.
    pub(super) refused: watch::Sender<Option<Overload>>,
    ledger: Mutex<Ledger>,
    /// One permit for each number that may be given out before `done_below` must advance.
    window: Semaphore,
}

impl Record {
    pub(super) fn new(opened: &Opened) -> Self {
        let window = usize::try_from(CALL_WINDOW).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            number: opened.record,
            time_to_live: opened.time_to_live,
            lost: Notify::new(),
            refused: watch::Sender::new(None),
            ledger: Mutex::default(),
            window: Semaphore::new(window),
        }
    }

    /// Gives a call its number, if the window lets it before `deadline`.
    pub(super) async fn number_by(self: Arc<Self>, deadline: Instant) -> Result<Numbered, Elapsed> {
        match self.clone().try_number() {
            Some(call) => Ok(call),
            None => timeout_at(deadline, self.number()).await,
        }
    }

    /// Gives a call its number, as soon as the window lets it.
    async fn number(self: Arc<Self>) -> Numbered {
        // The semaphore is never closed.
        if let Ok(permit) = self.window.acquire().await {
            permit.forget();
        }
        self.issue()
    }

    /// Gives a call its number, if the window lets it at once.
    fn try_number(self: Arc<Self>) -> Option<Numbered> {
        self.window.try_acquire().ok()?.forget();
        Some(self.issue())
    }

    fn issue(self: Arc<Self>) -> Numbered {
        let (seq, done_below) = self.ledger().issue();
        Numbered {
            record: self,
            seq,
            done_below,
        }
    }

    fn finish(&self, seq: Seq) {
        let advanced = self.ledger().finish(seq);
        self.window.add_permits(advanced);
    }

    /// The ledger is whole after every step, so a poisoned lock is sound.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has its number, until it is dropped.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) record: Arc<Record>,
    pub(super) seq: Seq,
    pub(super) done_below: Seq,
}

impl Numbered {
    pub(super) fn id(&self, client: ClientId) -> CallId {
        CallId {
            client,
            record: self.record.number,
            seq: self.seq,
            done_below: self.done_below,
        }
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.record.finish(self.seq);
    }
}

/// Which numbers are given out, and which of them are not done.
#[derive(Debug, Default)]
struct Ledger {
    done_below: Seq,
    /// Whether each number that is given out, from `done_below` on, is done. The first one is not.
    done: VecDeque<bool>,
}

impl Ledger {
    /// Gives out a number, and where `done_below` stands.
    fn issue(&mut self) -> (Seq, Seq) {
        let seq = Seq(self.done_below.0 + self.done.len() as u64);
        self.done.push_back(false);
        (seq, self.done_below)
    }

    /// Counts `seq` as done, and tells by how many `done_below` has advanced.
    fn finish(&mut self, seq: Seq) -> usize {
        let at = usize::try_from(seq.0 - self.done_below.0);
        if let Some(done) = at.ok().and_then(|at| self.done.get_mut(at)) {
            *done = true;
        }
        let mut advanced = 0;
        while self.done.pop_front_if(|done| *done).is_some() {
            self.done_below = self.done_below.next();
            advanced += 1;
        }
        advanced
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::types::{ServerId, View};

    fn record() -> Arc<Record> {
        Arc::new(Record::new(&Opened {
            record: RecordNumber(1),
            time_to_live: Duration::from_secs(1),
            inside: Vec::new(),
            view: View::first(ServerId::A),
        }))
    }

    fn number(record: &Arc<Record>) -> Option<Numbered> {
        record.clone().number().now_or_never()
    }

    #[test]
    fn numbers_count_up_from_zero() {
        let record = record();
        let seqs: Vec<_> = (0..3)
            .filter_map(|_| number(&record))
            .map(|call| call.seq.0)
            .collect();
        assert_eq!(seqs, [0, 1, 2]);
    }

    #[test]
    fn done_below_is_the_oldest_unanswered_call() {
        let record = record();
        let zero = number(&record).expect("room");
        let one = number(&record).expect("room");
        assert_eq!((zero.done_below, one.done_below), (Seq(0), Seq(0)));
        drop(one);
        assert_eq!(number(&record).expect("room").done_below, Seq(0));
        drop(zero);
        assert_eq!(number(&record).expect("room").done_below, Seq(3));
    }

    #[test]
    fn a_call_beyond_the_window_waits_for_the_oldest_one() {
        let record = record();
        let mut calls: Vec<_> = (0..CALL_WINDOW)
            .map(|_| number(&record).expect("room"))
            .collect();
        assert!(number(&record).is_none());
        let newest = calls.pop();
        drop(newest);
        assert!(
            number(&record).is_none(),
            "the oldest one is still unanswered"
        );
        calls.remove(0);
        let next = number(&record).expect("room");
        assert_eq!((next.seq, next.done_below), (Seq(CALL_WINDOW), Seq(1)));
        assert!(number(&record).is_none());
    }
}
