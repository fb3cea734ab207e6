//! Lines that wait to be written.
//!
//! Adding a line never waits: when there is no room, the line is lost, and counted. The lock is
//! held for a push or a pop, and never while a line is written.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much may wait, in bytes: some 8,000 log lines.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Lines on their way to one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that were not written, and were not reported yet.
    lost: u64,
    is_writing: bool,
}

impl Queue {
    /// Queues a line, or counts it as lost.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.bytes + line.len() > MAX_BYTES {
            state.lost += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Waits for the next line. To be followed by [`Self::written`] or [`Self::failed`].
    pub(super) fn next(&self) -> Vec<u8> {
        let state = self.lock();
        let waited = self
            .changed
            .wait_while(state, |state| state.lines.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let line = state.lines.pop_front().unwrap_or_default();
        state.bytes -= line.len();
        state.is_writing = true;
        line
    }

    /// The line was written. Returns how many were lost before it and are to be reported now.
    #[must_use = "somebody has to be told"]
    pub(super) fn written(&self) -> u64 {
        let mut state = self.ended();
        std::mem::take(&mut state.lost)
    }

    /// The line could not be written.
    pub(super) fn failed(&self) {
        self.ended().lost += 1;
    }

    /// Waits until every line was written or has failed, up to the `limit`. Returns whether that is
    /// so.
    pub(super) fn wait_until_empty(&self, limit: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }

    fn ended(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.is_writing = false;
        self.changed.notify_all();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LINE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

    #[test]
    fn lines_come_out_in_their_order_and_what_finds_no_room_is_counted() {
        let queue = Queue::default();
        queue.push(b"first".to_vec());
        let room = MAX_BYTES / LINE.len();
        for _ in 0..room + 2 {
            queue.push(LINE.to_vec());
        }
        assert_eq!(queue.next(), b"first");
        // "first" and one line less than there is room for, so three lines are lost.
        assert_eq!(queue.written(), 3);
        for _ in 1..room {
            assert_eq!(queue.next(), LINE);
            assert_eq!(queue.written(), 0);
        }
        assert!(queue.wait_until_empty(Duration::ZERO));
    }

    #[test]
    fn a_line_that_fails_is_counted_until_one_is_written() {
        let queue = Queue::default();
        for _ in 0..3 {
            queue.push(LINE.to_vec());
        }
        queue.next();
        queue.failed();
        queue.next();
        queue.failed();
        queue.next();
        assert!(!queue.wait_until_empty(Duration::ZERO), "one is written");
        assert_eq!(queue.written(), 2);
        assert!(queue.wait_until_empty(Duration::ZERO));
    }
}
