//! Getting the lock.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::options::{RunOptions, SHORTEST_ANSWER};
use lockservice::clerk::{AcquireError, Clerk, LockGuard, TryAcquired};
use lockservice::types::SessionId;

/// Acquires the lock. None if it was not granted in time, counted from `begun`.
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
            // The wait is over, but servers that are a little slow can still say whether the lock
            // is free.
            Err(AcquireError::Unanswered { .. })
                if options.wait.is_some() && begun.elapsed() < SHORTEST_ANSWER => {}
            // Its place is lost, not the wish. If no server is there any more, the next try tells.
            Err(AcquireError::SessionLost | AcquireError::Ended) => {}
            acquired => return acquired,
        }
    }
}

/// How long it is until the lock is looked at for the second time by [`held_around`], and how many
/// times longer each pause is than the one before, up to the longest. By the second inspection the
/// session is usually open, which tells all sessions around this one; the later ones are for slow
/// servers, and for a session that was lost.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSES_GROW: u32 = 5;
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Waits until it is certain that the lock which is waited for is held around this program, which
/// would so wait for itself; gives the session that holds it.
///
/// # Cancel safety
///
/// Safe.
pub(super) async fn held_around(clerk: &Clerk, options: &RunOptions) -> SessionId {
    if options.outer().is_none() || !options.waits() {
        return pending().await;
    }
    let mut pause = FIRST_PAUSE;
    loop {
        // Without an answer there will be none to the request for the lock either, which says so.
        if let Ok(Some(holder)) = clerk.held_around(options.name.as_str()).await {
            // Those who share a lock may be let in beside the holder, when others ahead of them are
            // gone.
            if options.is_exclusive() || holder.mode.most_holders() == 1 {
                return holder.session;
            }
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * PAUSES_GROW);
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
