//! Counts the driver's work, for busy polling.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts the requests at a primary, and the commands at a backup. The driver writes it.
#[derive(Debug, Default)]
pub(crate) struct LoadCounter {
    rounds: AtomicU64,
    work: AtomicU64,
    awaited: AtomicBool,
    next: Notify,
}

impl LoadCounter {
    /// Counts a round of the driver, and its work.
    pub(crate) fn add(&self, work: usize) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.work.fetch_add(work as u64, Ordering::Relaxed);
        if self.awaited.load(Ordering::Relaxed) {
            self.next.notify_waiters();
        }
    }

    /// The number of rounds, also of those without work.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// The amount of work.
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
