//! The idle timeout of a connection.
//!
//! A client whose host has vanished closes nothing, and with a proxy in between TCP does not notice
//! either: the connection would count against the limit for ever. A live clerk sends more often.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The idle timer of a connection. It costs more than reading the clock only when it has expired.
pub(crate) struct Idle {
    limit: Duration,
    heard: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Idle {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            heard: Instant::now(),
            timer: Box::pin(sleep(limit)),
        }
    }

    /// Resets the timer: something was read, or a request was still to be answered.
    pub(super) fn note(&mut self) {
        self.heard = Instant::now();
    }

    /// Waits until nothing has been read for the whole timeout.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn is_over(&mut self) {
        loop {
            self.timer.as_mut().await;
            let over = self.heard + self.limit;
            if Instant::now() >= over {
                return;
            }
            self.timer.as_mut().reset(over);
        }
    }
}
