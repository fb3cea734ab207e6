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

    /// Lets so many hold the lock at once, this holder included: 1 is as exclusive as the default.
    ///
    /// All who use a lock in this way should ask with the same number. Where they do not, the least
    /// that its holders and whoever is next have asked for counts: so nobody ever shares it with
    /// more than it has asked for. And as the queue keeps its order, whoever asks for a lower
    /// number holds up those behind.
    ///
    /// Each holder has a guard and a token of its own. A newer token does not mean that the older
    /// ones have ended, so a gate of [`fencing`](crate::fencing), which goes by that, is for what
    /// is locked alone.
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
