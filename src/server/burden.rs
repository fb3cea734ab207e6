//! How many requests are unanswered: in all, and on one connection.
//!
//! A request costs memory from when it is read until its answer is taken. A server refuses more than it can
//! work on; but a refusal is an answer too, and when there are as many of either kind, it stops reading
//! from the connections that have more than a few: whoever floods it waits, and whoever asks now and then
//! does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many unanswered requests a connection may have in any case.
const FEW: usize = 4;

/// The unanswered requests of a server. Clones are of the same server.
#[derive(Debug, Clone)]
pub(super) struct Burden {
    unanswered: Arc<AtomicUsize>,
    most: usize,
}

/// One connection's part of it, taken off when dropped.
#[derive(Debug)]
pub(super) struct Share {
    burden: Burden,
    own: usize,
}

impl Burden {
    /// For a server that works on `calls` at a time.
    pub(super) fn new(calls: usize) -> Self {
        Self {
            unanswered: Arc::default(),
            most: calls.saturating_mul(2),
        }
    }

    pub(super) fn share(&self) -> Share {
        Share {
            burden: self.clone(),
            own: 0,
        }
    }
}

impl Share {
    /// Whether another request may be read. Once it may not, it may again after some have been answered
    /// on this very connection.
    pub(super) fn has_room(&self) -> bool {
        self.own < FEW || self.burden.unanswered.load(Ordering::Relaxed) < self.burden.most
    }

    /// A request has been read.
    pub(super) fn take(&mut self) {
        self.own += 1;
        self.burden.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has been answered.
    pub(super) fn give_back(&mut self) {
        self.own -= 1;
        self.burden.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.burden
            .unanswered
            .fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_only_who_has_few_may_have_more() {
        let burden = Burden::new(5);
        let (mut greedy, mut modest) = (burden.share(), burden.share());
        while greedy.has_room() {
            greedy.take();
        }
        assert_eq!(greedy.own, 10);
        for _ in 0..FEW {
            assert!(modest.has_room());
            modest.take();
        }
        assert!(!modest.has_room());

        modest.give_back();
        assert!(modest.has_room() && !greedy.has_room());
        drop(greedy);
        modest.take();
        assert!(modest.has_room());
        drop(modest);
        assert_eq!(burden.unanswered.load(Ordering::Relaxed), 0);
    }
}
