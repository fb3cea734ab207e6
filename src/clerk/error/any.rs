//! One error for a function that does several things with a clerk.

use super::{AcquireError, CallError, ConnectError, LookError, ReleaseError};

/// Any error of a clerk: what `?` makes of the five.
///
/// # Examples
///
/// ```no_run
/// # use lockservice::{Clerk, Servers};
/// async fn nightly(servers: Servers) -> Result<(), lockservice::Error> {
///     let clerk = Clerk::connect(servers).await?;
///     let guard = clerk.acquire("jobs/nightly").await?;
///     guard.release().await?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no clerk.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A call on an unowned lock failed, or a break.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A lock was not acquired.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// A lock may not have been released while it was held.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Locks could not be inspected.
    #[error(transparent)]
    Look(#[from] LookError),
}

impl Error {
    /// Whether the operation can have been carried out, now or later. What was not acquired is given back.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Call(error) => error.may_have_happened(),
            Self::Release(error) => error.may_have_happened(),
            Self::Connect(_) | Self::Acquire(_) | Self::Look(_) => false,
        }
    }
}
