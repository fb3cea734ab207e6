//! Connections that have not sent their preface yet.
//!
//! Each may be the peer's, so a new one is never refused: the oldest one makes room. So connections
//! that send nothing keep neither the peer nor clients out for long.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Greetings(VecDeque<Weak<CancellationToken>>);

/// One of them, until this is dropped. It makes room when it is cancelled.
pub(super) type Greeting = Arc<CancellationToken>;

impl Greetings {
    /// Adds a new connection.
    pub(super) fn begin(&mut self) -> Greeting {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|greeting| greeting.strong_count() > 0);
        }
        let greeting = Greeting::default();
        self.0.push_back(Arc::downgrade(&greeting));
        greeting
    }

    /// Ends the oldest one. False if there is none.
    pub(super) fn end_oldest(&mut self) -> bool {
        while let Some(oldest) = self.0.pop_front() {
            if let Some(greeting) = oldest.upgrade() {
                greeting.cancel();
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_said_what_it_is_makes_room() {
        let mut greetings = Greetings::default();
        let [first, second, third] = [(); 3].map(|()| greetings.begin());
        drop(first);
        assert!(greetings.end_oldest());
        assert!(second.is_cancelled() && !third.is_cancelled());
        assert!(greetings.end_oldest() && third.is_cancelled());
        assert!(!greetings.end_oldest());
    }

    #[test]
    fn those_that_are_over_are_forgotten() {
        let mut greetings = Greetings::default();
        let first = greetings.begin();
        for _ in 0..1_000 {
            drop(greetings.begin());
        }
        assert!(greetings.0.capacity() < 100, "{}", greetings.0.capacity());
        assert!(greetings.end_oldest() && first.is_cancelled());
    }
}
