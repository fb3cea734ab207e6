//! One error for a function that does several things with a clerk.

use crate::clerk::WithLockError;

use super::{AcquireError, CallError, ConnectError, InspectError, ReleaseError};

/// Any error of a clerk: `?` converts each of them to it.
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    Inspect(#[from] InspectError),
    /// Work under a lock has no output.
    #[error(transparent)]
    WithLock(#[from] WithLockError),
}

impl Error {
    /// Whether the operation can have been carried out, now or later; of work under a lock, whether
    /// it was begun. What was not acquired is given back.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Call(error) => error.may_have_happened(),
            Self::Release(error) => error.may_have_happened(),
            Self::WithLock(error) => error.was_begun(),
            Self::Connect(_) | Self::Acquire(_) | Self::Inspect(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clerk::LossReason;

    /// What `?` makes of an error, whether the operation can have happened, and its text.
    fn told<E: Into<Error>>(error: E) -> (Error, bool, String) {
        let error = error.into();
        let may_have_happened = error.may_have_happened();
        let text = error.to_string();
        (error, may_have_happened, text)
    }

    #[test]
    fn any_error_of_a_clerk_keeps_what_it_says() {
        let connect = ConnectError::InvalidLease(crate::types::LeaseError);
        let text = connect.to_string();
        assert_eq!(
            told(connect.clone()),
            (Error::Connect(connect), false, text)
        );
        for call in [CallError::Closed, CallError::RecordLost] {
            let (text, happened) = (call.to_string(), call.may_have_happened());
            assert_eq!(told(call.clone()), (Error::Call(call), happened, text));
        }
        let acquire = AcquireError::SessionLost;
        let text = acquire.to_string();
        assert_eq!(
            told(acquire.clone()),
            (Error::Acquire(acquire), false, text)
        );
        let release = ReleaseError::Lost(LossReason::Broken);
        let text = release.to_string();
        assert_eq!(
            told(release.clone()),
            (Error::Release(release), false, text)
        );
        let look = InspectError::Closed;
        let text = look.to_string();
        assert_eq!(told(look.clone()), (Error::Inspect(look), false, text));
        for work in [
            WithLockError::NotHeld,
            WithLockError::Acquire(AcquireError::Closed),
        ] {
            let (text, was_begun) = (work.to_string(), work.was_begun());
            assert_eq!(told(work.clone()), (Error::WithLock(work), was_begun, text));
        }
    }
}
