//! A request for an owned lock.

use std::time::Duration;

use super::error::AcquireError;
use super::guard::LockGuard;
use super::timed_request::{AcquireTerms, permits_of};
use super::{Clerk, TryAcquired};
use crate::service::LockMode;
use crate::types::{LockName, NameError};

/// How a lock is to be acquired. [`Clerk::request`] makes it.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `acquire`, `try_acquire` or `campaign`"]
pub struct LockRequest {
    clerk: Clerk,
    name: Result<LockName, NameError>,
    terms: AcquireTerms,
}

impl LockRequest {
    pub(super) const fn new(clerk: Clerk, name: Result<LockName, NameError>) -> Self {
        Self {
            clerk,
            name,
            terms: AcquireTerms::new(),
        }
    }

    /// Lets others hold the lock as well, if they share it too.
    pub const fn shared(mut self) -> Self {
        self.terms.mode = Some(LockMode::Shared);
        self
    }

    /// Lets at most `permits` sessions hold the lock at once, this holder included. One permit is
    /// as exclusive as the default.
    ///
    /// All requests for a lock should name the same number. If they differ, the smallest number
    /// among the holders and the next waiter applies, so no session shares the lock with more
    /// sessions than it asked for. The queue keeps its order: a waiter with a smaller number delays
    /// those behind it.
    ///
    /// Each holder has its own guard and token. A newer token does not mean that older holders are
    /// gone, so use a gate of [`fencing`](crate::fencing) only with locks that one session holds
    /// alone.
    pub const fn permits(mut self, permits: u32) -> Self {
        self.terms.mode = permits_of(permits);
        self
    }

    /// How long the lock is waited for. The default is for ever; but the servers' answer to the
    /// request itself is never waited for longer than
    /// [`ClerkBuilder::timeout`](super::ClerkBuilder::timeout) says.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.terms.timeout = Some(timeout);
        self
    }

    /// Acquires the lock; waits for its turn, first come first served.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: its place in the queue, or the lock if it has just been granted, is given back in the
    /// background.
    pub async fn acquire(self) -> Result<LockGuard, AcquireError> {
        let attempt = self.terms.begin(&self.clerk)?;
        attempt.acquire(&self.name?).await
    }

    /// Acquires the lock if that is possible at once, and not when others hold it or wait for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the lock, if it was granted, is given back in the background.
    pub async fn try_acquire(self) -> Result<TryAcquired, AcquireError> {
        let attempt = self.terms.begin(&self.clerk)?;
        attempt.try_acquire(&self.name?).await
    }

    /// Stands for election until it holds the lock: like [`acquire`](Self::acquire), but where its
    /// place in the queue is lost with its session, it stands again, within the same time. See
    /// [`Clerk::campaign`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`], but neither `SessionLost` nor `Ended`; nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: its place in the queue, or the lock if it has just been granted, is given back in the
    /// background.
    pub async fn campaign(self) -> Result<LockGuard, AcquireError> {
        let attempt = self.terms.begin(&self.clerk)?;
        let name = self.name?;
        loop {
            match attempt.acquire(&name).await {
                Err(AcquireError::SessionLost | AcquireError::Ended) => {}
                elected => return elected,
            }
        }
    }
}
