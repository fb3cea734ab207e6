//! Getting the lock.

use tokio::time::Instant;

use super::options::RunOptions;
use crate::clerk::{AcquireError, Clerk, LockGuard, TryAcquired};

/// Acquires the lock. None when it was not to be had in time, which runs since it has `begun`.
///
/// # Errors
///
/// When no server has answered.
///
/// # Cancel safety
///
/// Safe.
pub(super) async fn acquire(
    clerk: &Clerk,
    options: &RunOptions,
    begun: Instant,
) -> Result<Option<LockGuard>, AcquireError> {
    let deadline = options.wait.and_then(|wait| begun.checked_add(wait));
    loop {
        match acquire_by(clerk, options, deadline).await {
            Err(AcquireError::TimedOut { .. }) => return Ok(None),
            // Its place is lost, not the wish. If no server is there any more, the next try tells.
            Err(AcquireError::SessionLost | AcquireError::Ended) => {}
            acquired => return acquired,
        }
    }
}

async fn acquire_by(
    clerk: &Clerk,
    options: &RunOptions,
    deadline: Option<Instant>,
) -> Result<Option<LockGuard>, AcquireError> {
    let mut request = clerk.request(options.name.as_str());
    if options.shared {
        request = request.shared();
    }
    if let Some(permits) = options.permits {
        request = request.permits(permits.get());
    }
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return request.timeout(left).acquire().await.map(Some);
        }
    } else if !options.nonblock {
        return request.acquire().await.map(Some);
    }
    request.try_acquire().await.map(TryAcquired::acquired)
}
