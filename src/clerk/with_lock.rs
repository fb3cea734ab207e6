//! Work that runs only while a lock is held.

use super::error::{AcquireError, ReleaseError};
use super::{Clerk, LockGuard, LockRequest, LossReason};
use crate::types::{LockName, NameError};

/// Why [`Clerk::with_lock`] has no output of the work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WithLockError {
    /// The lock was not acquired. The work was not begun.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The lock was lost while the work ran. The work was dropped where it waited; or it finished
    /// without waiting, too late.
    #[error("the lock was lost during the work: {0}")]
    Lost(LossReason),
    /// The work finished, and then the servers said that the lock was no longer held. Others can
    /// have held it meanwhile.
    #[error("the lock was no longer held when the work finished")]
    NotHeld,
}

impl WithLockError {
    /// Whether the work was begun.
    #[must_use]
    pub const fn was_begun(&self) -> bool {
        match self {
            Self::Acquire(_) => false,
            Self::Lost(_) | Self::NotHeld => true,
        }
    }
}

impl Clerk {
    /// Acquires `name` as its only owner, runs `work` while the lock is held, and releases it.
    ///
    /// Waits for its turn, as [`acquire`](Self::acquire) does. Returns the output of `work`, which
    /// ran under the lock from beginning to end. When the lock is lost first, `work` is dropped at
    /// the await where it is.
    ///
    /// The loss of a lock does not stop what `work` has spawned, nor a computation without an
    /// await, nor a process that is suspended. Where a late write does harm, acquire a guard and
    /// send its [`token`](LockGuard::token) along: see [`fencing`](crate::fencing).
    ///
    /// # Errors
    ///
    /// [`WithLockError`]. An output that `work` has returned after the loss is dropped.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, and when `work` panics; then the lock is released in the
    /// background.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, so is `work`, at the await where it is; then the lock is
    /// released in the background.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::Clerk;
    /// # async fn rebuild(index: &str) -> u32 { 0 }
    /// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
    /// let documents = clerk.with_lock("index/rebuild", async {
    ///     rebuild("products").await
    /// });
    /// println!("{} documents", documents.await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with_lock<T>(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
        work: impl Future<Output = T>,
    ) -> Result<T, WithLockError> {
        self.request(name).with_lock(work).await
    }
}

impl LockRequest {
    /// Acquires the lock, runs `work` while it is held, and releases it.
    ///
    /// See [`Clerk::with_lock`]. The [`timeout`](Self::timeout) limits the wait for the lock, not
    /// the work.
    ///
    /// # Errors
    ///
    /// [`WithLockError`].
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, and when `work` panics.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, so is `work`, at the await where it is; then the lock is
    /// released in the background.
    pub async fn with_lock<T>(self, work: impl Future<Output = T>) -> Result<T, WithLockError> {
        let guard = self.acquire().await?;
        let output = tokio::select! {
            biased;
            reason = guard.lost() => return Err(WithLockError::Lost(reason)),
            output = work => output,
        };
        guard.release_after_work().await?;
        Ok(output)
    }
}

impl LockGuard {
    /// Releases the lock, and errors if it may not have been held until now.
    ///
    /// A release that no server answers is no error: the lock was held, and the release is retried
    /// in the background.
    pub(crate) async fn release_after_work(self) -> Result<(), WithLockError> {
        if let Some(reason) = self.loss() {
            return Err(WithLockError::Lost(reason));
        }
        match self.release().await {
            Err(ReleaseError::NotHeld) => Err(WithLockError::NotHeld),
            // These tell of a time before the release; the others, of one after the work.
            Err(ReleaseError::Lost(
                reason @ (LossReason::Broken | LossReason::Diverged | LossReason::SessionLost),
            )) => Err(WithLockError::Lost(reason)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
