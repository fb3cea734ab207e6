//! A request for an owned lock, by a thread.

use std::sync::Arc;
use std::time::Duration;

use super::LockGuard;
use super::runtime::RuntimeThread;
use crate::clerk::{self, AcquireError, TryAcquired};

/// How a lock is to be acquired. [`Clerk::request`](super::Clerk::request) makes it.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `acquire` or `try_acquire`"]
pub struct LockRequest {
    request: clerk::LockRequest,
    runtime: Arc<RuntimeThread>,
}

impl LockRequest {
    pub(super) const fn new(request: clerk::LockRequest, runtime: Arc<RuntimeThread>) -> Self {
        Self { request, runtime }
    }

    /// Lets others hold the lock as well, if they share it too.
    pub fn shared(mut self) -> Self {
        self.request = self.request.shared();
        self
    }

    /// Lets at most `permits` sessions hold the lock at once. See
    /// [`clerk::LockRequest::permits`].
    pub fn permits(mut self, permits: u32) -> Self {
        self.request = self.request.permits(permits);
        self
    }

    /// How long to wait for the lock. Default: for ever. See [`clerk::LockRequest::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request = self.request.timeout(timeout);
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
    /// In a task of Tokio.
    pub fn acquire(self) -> Result<LockGuard, AcquireError> {
        let guard = self.runtime.block_on(self.request.acquire())?;
        Ok(LockGuard::new(guard, self.runtime))
    }

    /// Acquires the lock if nobody holds it or waits for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn try_acquire(self) -> Result<TryAcquired<LockGuard>, AcquireError> {
        Ok(match self.runtime.block_on(self.request.try_acquire())? {
            TryAcquired::Acquired(guard) => {
                TryAcquired::Acquired(LockGuard::new(guard, self.runtime))
            }
            TryAcquired::Held => TryAcquired::Held,
        })
    }

    /// Acquires the lock as [`acquire`](Self::acquire) does, and queues again when its session is
    /// lost. See [`clerk::Clerk::campaign`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`], but neither `SessionLost` nor `Ended`; nothing stays behind.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn campaign(self) -> Result<LockGuard, AcquireError> {
        let guard = self.runtime.block_on(self.request.campaign())?;
        Ok(LockGuard::new(guard, self.runtime))
    }
}
