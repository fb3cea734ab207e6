//! The holder of an owned lock, for threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::runtime::RuntimeThread;
use crate::clerk::{self, GuardState, LossReason, ReleaseError, WithLockError};
use crate::types::{LockName, SessionId, Token};

/// An owned lock, held until the guard is released, dropped or lost.
///
/// A thread that works under it looks at its [`state`](Self::state) now and then. Dropping it
/// releases the lock in the background; a process that ends right after that releases it when the
/// lease is over. [`release`](Self::release) waits. See [`clerk::LockGuard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped gives its lock back"]
pub struct LockGuard {
    // Dropped before the thread that it needs.
    guard: clerk::LockGuard,
    runtime: Arc<RuntimeThread>,
}

impl LockGuard {
    pub(super) const fn new(guard: clerk::LockGuard, runtime: Arc<RuntimeThread>) -> Self {
        Self { guard, runtime }
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &LockName {
        self.guard.name()
    }

    /// The fencing token: the number of this grant. Later grants of this lock have higher ones.
    #[must_use]
    pub const fn token(&self) -> Token {
        self.guard.token()
    }

    /// The session that holds the lock.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.guard.session()
    }

    /// Until when the lock is certainly held, unless it is lost before. Every renewal moves it on.
    #[must_use]
    pub fn safe_until(&self) -> Instant {
        self.guard.safe_until()
    }

    /// Whether the lock is held now.
    #[must_use]
    pub fn state(&self) -> GuardState {
        self.guard.state()
    }

    /// Waits until the guard is lost, for at most `limit`; none if it is still held then.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    #[must_use]
    pub fn lost_within(&self, limit: Duration) -> Option<LossReason> {
        let lost = async { timeout(limit, self.guard.lost()).await };
        self.runtime.block_on(lost).ok()
    }

    /// Keeps the lock held for at least `time` from now on, whatever becomes of this guard and this
    /// process. See [`clerk::LockGuard::retain`].
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]; the lock may be retained all the same, unless the time is too long.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn retain(&self, time: Duration) -> Result<(), ReleaseError> {
        self.runtime.block_on(self.guard.retain(time))
    }

    /// Releases the lock, and says that it was held until then.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]. In any case the guard is gone, and a lock that may be left is released in
    /// the background.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn release(self) -> Result<(), ReleaseError> {
        self.runtime.block_on(self.guard.release())
    }

    /// Releases the lock `time` from now, at most a day: the servers do so, whatever becomes of
    /// this process. See [`retain`](Self::retain).
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]. In any case the guard is gone.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn release_after(self, time: Duration) -> Result<(), ReleaseError> {
        self.runtime.block_on(self.guard.release_after(time))
    }

    pub(super) fn release_after_work(self) -> Result<(), WithLockError> {
        self.runtime.block_on(self.guard.release_after_work())
    }
}
