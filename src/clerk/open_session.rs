//! The numbers of a clerk's calls.
//!
//! A server remembers the outcome of every call from `first_incomplete` on, so that a repeated call
//! gets the outcome of the first. Each call tells it how far `first_incomplete` has come: up to the
//! oldest call that is still unanswered. A call that failed, or whose future was dropped, counts as
//! done: it will not be repeated. And calls may run ahead of `first_incomplete` only so far, which
//! bounds what the server keeps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::call::Overload;
use crate::config::CALL_WINDOW;
use crate::service::{CallId, Opened};
use crate::types::{ClientId, Seq, SessionId};

/// A record that the servers keep for this clerk.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub(super) id: SessionId,
    pub(super) time_to_live: Duration,
    /// Told when a server does not know the record.
    pub(super) lost: Notify,
    /// Told when the servers take no other record instead.
    pub(super) refused: watch::Sender<Option<Overload>>,
    calls: Mutex<CallNumbers>,
    /// One permit for each number that may be given out before `first_incomplete` must advance.
    window: Semaphore,
}

impl OpenSession {
    pub(super) fn new(opened: &Opened) -> Self {
        let window = usize::try_from(CALL_WINDOW).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            id: opened.session,
            time_to_live: opened.time_to_live,
            lost: Notify::new(),
            refused: watch::Sender::new(None),
            calls: Mutex::default(),
            window: Semaphore::new(window),
        }
    }

    /// Gives a call its number, if the window lets it before `deadline`.
    pub(super) async fn number_by(
        self: Arc<Self>,
        deadline: Instant,
    ) -> Result<NumberedCall, Elapsed> {
        match self.clone().try_number() {
            Some(call) => Ok(call),
            None => timeout_at(deadline, self.id()).await,
        }
    }

    /// Gives a call its number, as soon as the window lets it.
    async fn id(self: Arc<Self>) -> NumberedCall {
        // The semaphore is never closed.
        if let Ok(permit) = self.window.acquire().await {
            permit.forget();
        }
        self.issue()
    }

    /// Gives a call its number, if the window lets it at once.
    fn try_number(self: Arc<Self>) -> Option<NumberedCall> {
        self.window.try_acquire().ok()?.forget();
        Some(self.issue())
    }

    fn issue(self: Arc<Self>) -> NumberedCall {
        let (seq, first_incomplete) = self.calls().issue();
        NumberedCall {
            session: self,
            seq,
            first_incomplete,
        }
    }

    fn finish(&self, seq: Seq) {
        let advanced = self.calls().finish(seq);
        self.window.add_permits(advanced);
    }

    /// The ledger is whole after every step, so a poisoned lock is sound.
    fn calls(&self) -> MutexGuard<'_, CallNumbers> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has its number, until it is dropped.
#[derive(Debug)]
pub(super) struct NumberedCall {
    pub(super) session: Arc<OpenSession>,
    pub(super) seq: Seq,
    pub(super) first_incomplete: Seq,
}

impl NumberedCall {
    pub(super) fn id(&self, client: ClientId) -> CallId {
        CallId {
            client,
            session: self.session.id,
            seq: self.seq,
            first_incomplete: self.first_incomplete,
        }
    }
}

impl Drop for NumberedCall {
    fn drop(&mut self) {
        self.session.finish(self.seq);
    }
}

/// Which numbers are given out, and which of them are not done.
#[derive(Debug, Default)]
struct CallNumbers {
    first_incomplete: Seq,
    /// Whether each number that is given out, from `first_incomplete` on, is done. The first one is
    /// not.
    done: VecDeque<bool>,
}

impl CallNumbers {
    /// Gives out a number, and where `first_incomplete` stands.
    fn issue(&mut self) -> (Seq, Seq) {
        let seq = Seq(self.first_incomplete.0 + self.done.len() as u64);
        self.done.push_back(false);
        (seq, self.first_incomplete)
    }

    /// Counts `seq` as done, and tells by how many `first_incomplete` has advanced.
    fn finish(&mut self, seq: Seq) -> usize {
        let at = usize::try_from(seq.0 - self.first_incomplete.0);
        if let Some(done) = at.ok().and_then(|at| self.done.get_mut(at)) {
            *done = true;
        }
        let mut advanced = 0;
        while self.done.pop_front_if(|done| *done).is_some() {
            self.first_incomplete = self.first_incomplete.next();
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

    fn record() -> Arc<OpenSession> {
        Arc::new(OpenSession::new(&Opened {
            session: SessionId(1),
            time_to_live: Duration::from_secs(1),
            inside: Vec::new(),
            view: View::first(ServerId::A),
        }))
    }

    fn number(session: &Arc<OpenSession>) -> Option<NumberedCall> {
        session.clone().id().now_or_never()
    }

    #[test]
    fn numbers_count_up_from_zero() {
        let session = record();
        let seqs: Vec<_> = (0..3)
            .filter_map(|_| number(&session))
            .map(|call| call.seq.0)
            .collect();
        assert_eq!(seqs, [0, 1, 2]);
    }

    #[test]
    fn done_below_is_the_oldest_unanswered_call() {
        let session = record();
        let zero = number(&session).expect("room");
        let one = number(&session).expect("room");
        assert_eq!(
            (zero.first_incomplete, one.first_incomplete),
            (Seq(0), Seq(0))
        );
        drop(one);
        assert_eq!(number(&session).expect("room").first_incomplete, Seq(0));
        drop(zero);
        assert_eq!(number(&session).expect("room").first_incomplete, Seq(3));
    }

    #[test]
    fn a_call_beyond_the_window_waits_for_the_oldest_one() {
        let session = record();
        let mut calls: Vec<_> = (0..CALL_WINDOW)
            .map(|_| number(&session).expect("room"))
            .collect();
        assert!(number(&session).is_none());
        let newest = calls.pop();
        drop(newest);
        assert!(
            number(&session).is_none(),
            "the oldest one is still unanswered"
        );
        calls.remove(0);
        let next = number(&session).expect("room");
        assert_eq!(
            (next.seq, next.first_incomplete),
            (Seq(CALL_WINDOW), Seq(1))
        );
        assert!(number(&session).is_none());
    }
}
