//! Changes of locks, found by comparing inspections.
//!
//! The last inspection and the changes to return are updated in one step, with no await in it. So a
//! future that is dropped, or an inspection that fails, loses no change: the next one finds it.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::error::InspectError;
use super::{Clerk, clamp, expect_runtime};
use crate::config::WATCH_EVERY;
use crate::inspect::{LockChange, changes};
use crate::service::LockInfo;

impl Clerk {
    /// Reports the changes of the locks whose names begin with `prefix`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::{Clerk, LockEvent};
    /// # async fn example(clerk: Clerk) {
    /// let mut watch = clerk.watch("jobs/");
    /// loop {
    ///     match watch.next().await {
    ///         Ok(change) => {
    ///             if let LockEvent::Granted(holder) = change.event {
    ///                 println!("{} runs in session {}", change.name, holder.session);
    ///             }
    ///         }
    ///         Err(error) => eprintln!("{error}"), // the next call tries again
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
            unread: VecDeque::new(),
        }
    }
}

/// Reports the changes of some locks. [`Clerk::watch`] makes it.
///
/// It compares inspections: a grant that begins and ends between two of them is not reported.
#[must_use = "it inspects the locks only when it is asked for changes"]
pub struct Watch {
    clerk: Clerk,
    prefix: String,
    every: Duration,
    /// When to inspect again.
    next: Option<Instant>,
    /// The last inspection, and when it began.
    seen: Option<(Vec<LockInfo>, Instant)>,
    /// Changes that it saw, and that its caller has not taken.
    unread: VecDeque<LockChange>,
}

impl Watch {
    /// How often to inspect the locks. Default: 1 s. Zero: again as soon as there is an answer.
    pub const fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Waits for the next change, and returns it. The first changes are the locks that are held.
    ///
    /// The changes that one inspection finds are returned one by one, by the name of their lock.
    /// After that, the locks are inspected again, at most once per [`every`](Self::every).
    ///
    /// # Errors
    ///
    /// [`InspectError`]. No change is lost by it, and the next call inspects again. After
    /// [`Clerk::close`], every call fails with [`InspectError::Closed`].
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the next call returns the change.
    pub async fn next(&mut self) -> Result<LockChange, InspectError> {
        loop {
            if let Some(change) = self.unread.pop_front() {
                return Ok(change);
            }
            self.unread = self.changes().await?.into();
        }
    }

    /// Waits for changes, and returns all that are known, by the name of their lock: at least one.
    ///
    /// See [`next`](Self::next), which returns them one by one.
    ///
    /// # Errors
    ///
    /// [`InspectError`]. No change is lost by it, and the next call inspects again.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the next call returns the changes.
    pub async fn changes(&mut self) -> Result<Vec<LockChange>, InspectError> {
        expect_runtime();
        if !self.unread.is_empty() {
            return Ok(mem::take(&mut self.unread).into());
        }
        loop {
            if let Some(next) = self.next {
                sleep_until(next).await;
            }
            let changes = self.changes_now().await?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// Inspects the locks now, and returns what has changed, by the name of the lock: perhaps
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`InspectError`]. No change is lost by it, and the next call inspects again.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the next call returns the changes.
    pub async fn changes_now(&mut self) -> Result<Vec<LockChange>, InspectError> {
        let now = Instant::now();
        self.next = Some(now + clamp(self.every));
        let locks = self.clerk.list(&self.prefix).await?;
        let before = self.seen.as_ref().map_or(&[][..], |(locks, _)| locks);
        self.unread.extend(changes(before, &locks));
        self.seen = Some((locks, now));
        Ok(mem::take(&mut self.unread).into())
    }

    /// How long ago the last inspection began that succeeded; none before the first one. It grows
    /// while no server answers.
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
