//! What happens to locks, as seen by looking every so often.
//!
//! A look counts when all of it has been seen: what was seen last and what is told of it change in
//! one step, with no await in it. So a future that is dropped, or a look that fails, costs nothing:
//! the next one tells the same.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::error::InspectError;
use super::{Clerk, clamp, expect_runtime};
use crate::config::WATCH_EVERY;
use crate::inspect::{LockChange, changes};
use crate::service::LockInfo;

impl Clerk {
    /// Begins to watch the locks whose names begin with `prefix`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::{Clerk, LockEvent};
    /// # async fn example(clerk: Clerk) {
    /// let mut watch = clerk.watch("jobs/");
    /// loop {
    ///     match watch.changes().await {
    ///         Ok(changes) => {
    ///             for change in changes {
    ///                 if let LockEvent::Granted(holder) = change.event {
    ///                     println!("{} runs in session {}", change.name, holder.session);
    ///                 }
    ///             }
    ///         }
    ///         Err(error) => eprintln!("{error}"), // it goes on when the servers are back
    ///     }
    /// }
    /// # }
    /// ```
    pub fn watch(&self, prefix: &str) -> Watch {
        Watch {
            clerk: self.clone(),
            prefix: prefix.to_owned(),
            every: WATCH_EVERY,
            next: None,
            seen: None,
        }
    }
}

/// A watch over some locks. [`Clerk::watch`] makes it.
///
/// It keeps what it saw last, and compares: what comes and goes between two looks is missed.
#[must_use = "it looks when it is asked for changes"]
pub struct Watch {
    clerk: Clerk,
    prefix: String,
    every: Duration,
    /// When to look again.
    next: Option<Instant>,
    /// What it saw last, and when it began to look.
    seen: Option<(Vec<LockInfo>, Instant)>,
}

impl Watch {
    /// How often to look. See [`WATCH_EVERY`], the default. Zero: again as soon as there is an
    /// answer.
    pub const fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// What has changed since it looked last, by name: at least one thing. At first, that is what
    /// is held. It looks again and again until there is something to tell, at most once in the time
    /// that [`every`](Self::every) says.
    ///
    /// # Errors
    ///
    /// [`InspectError`]; nothing is missed by that, and it can be asked again.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was not told is told by the next call.
    pub async fn changes(&mut self) -> Result<Vec<LockChange>, InspectError> {
        expect_runtime();
        loop {
            if let Some(next) = self.next {
                sleep_until(next).await;
            }
            let changes = self.next().await?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// Looks now, and says what has changed since it looked last, by name: nothing, perhaps. At
    /// first, that is what is held.
    ///
    /// # Errors
    ///
    /// [`InspectError`]; nothing is missed by that, and it can be asked again.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was not told is told by the next call.
    pub async fn next(&mut self) -> Result<Vec<LockChange>, InspectError> {
        let now = Instant::now();
        self.next = Some(now + clamp(self.every));
        let locks = self.clerk.list(&self.prefix).await?;
        let before = self.seen.as_ref().map_or(&[][..], |(locks, _)| locks);
        let changes = changes(before, &locks);
        self.seen = Some((locks, now));
        Ok(changes)
    }

    /// How old is what it saw last; none if it has seen nothing yet. It rises while no server
    /// answers.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.seen.as_ref().map(|(_, at)| at.elapsed())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("prefix", &self.prefix)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
