//! How much the driver does, for whoever decides whether the thread may park.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts the requests that a primary is asked, and the commands that a backup is sent. The driver
/// writes it.
#[derive(Debug, Default)]
pub(crate) struct LoadCounter {
    rounds: AtomicU64,
    work: AtomicU64,
    awaited: AtomicBool,
    next: Notify,
}

impl LoadCounter {
    /// Counts a round of the driver, in which there was so much to do.
    pub(crate) fn add(&self, work: usize) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.work.fetch_add(work as u64, Ordering::Relaxed);
        if self.awaited.load(Ordering::Relaxed) {
            self.next.notify_waiters();
        }
    }

    /// How many rounds there have been, also without work.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// How much work there has been.
    pub(crate) fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    /// Waits for the next round.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(crate) async fn next_round(&self) {
        let next = self.next.notified();
        self.awaited.store(true, Ordering::Relaxed);
        next.await;
        self.awaited.store(false, Ordering::Relaxed);
    }
}
