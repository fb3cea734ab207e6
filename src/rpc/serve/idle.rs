//! When a connection on which nothing is heard is given up.
//!
//! A client whose host has vanished does not say goodbye, and where a proxy stands between, TCP
//! does not find out either: its connection would take a place for ever. A clerk that lives is
//! heard more often.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How long nothing has been heard on a connection. Dearer than a look at the clock only when time
/// is over.
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

    /// Notes that something was heard, or was still to be answered.
    pub(super) fn note(&mut self) {
        self.heard = Instant::now();
    }

    /// Waits until nothing has been heard for as long as the limit.
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
