//! What can go wrong with locks that are owned.

use std::time::Duration;

use super::AttemptReport;
use crate::clerk::{LossReason, MixedClusters};
use crate::service::Resource;
use crate::types::{LockName, NameError, RetentionError};

/// Why a lock was not acquired.
///
/// Whatever the reason, nothing stays behind: a place in the queue is left, and a grant that
/// crosses with it is given back, in the background; without a server to hear of it, when the lease
/// is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The name is no lock name.
    #[error(transparent)]
    InvalidName(#[from] NameError),
    /// [`LockRequest::permits`](crate::clerk::LockRequest::permits) was 0, which would let nobody
    /// in.
    #[error("a lock with 0 permits lets nobody in: at least 1 is needed")]
    NoPermits,
    /// Its turn did not come within [`LockRequest::timeout`](crate::clerk::LockRequest::timeout) or
    /// [`AllRequest::timeout`](crate::clerk::AllRequest::timeout): others held the lock.
    #[error(
        "{name:?} was still held by {} after {}",
        if *.is_own { "this same clerk" } else { "others" },
        humantime::format_duration(*.after)
    )]
    TimedOut {
        /// The lock.
        name: LockName,
        /// How long the request waited.
        after: Duration,
        /// Whether this clerk held the lock itself, by a guard or by
        /// [`Clerk::lock`](crate::clerk::Clerk::lock): in another task, or the request waited for
        /// itself.
        is_own: bool,
    },
    /// No server answered in time. Trying again is sensible.
    #[error("no answer within {}; {tried}", humantime::format_duration(*.after))]
    Unanswered {
        /// How long it was tried.
        after: Duration,
        /// What came of it at each server.
        tried: AttemptReport,
    },
    /// The servers are at a limit: for calls in flight, all the time.
    #[error(
        "the servers have too many {resource} (tried for {})",
        humantime::format_duration(*.after)
    )]
    Overloaded {
        /// How long it was tried.
        after: Duration,
        /// What there were too many of.
        resource: Resource,
    },
    /// The servers of the list are members of different clusters.
    #[error(transparent)]
    MixedClusters(MixedClusters),
    /// Its place in the queue was lost with the session: no server could be reached for a whole
    /// lease, or the pair lost its state. The next request opens another session.
    #[error("the session was lost, and its places in all queues with it")]
    SessionLost,
    /// It was granted, and broken before the grant was heard of, or before the other locks of the
    /// same request were granted.
    #[error("it was granted, and broken before the request was complete")]
    Ended,
    /// One of several locks was granted and, before the others were, lost: the servers had been
    /// cut off from each other, and kept the state without that grant.
    #[error("one of the locks was lost: the servers had been cut off from each other")]
    Diverged,
    /// [`Clerk::close`](crate::clerk::Clerk::close) was called on a clone of this clerk.
    #[error("the clerk is closed")]
    Closed,
}

impl From<LossReason> for AcquireError {
    fn from(reason: LossReason) -> Self {
        match reason {
            LossReason::Closed => Self::Closed,
            LossReason::Broken => Self::Ended,
            LossReason::Diverged => Self::Diverged,
            LossReason::Expired | LossReason::SessionLost => Self::SessionLost,
        }
    }
}

/// Why [`LockGuard::release`](crate::clerk::LockGuard::release) could not say that the lock was
/// given back while it was held; or [`LockGuard::retain`](crate::clerk::LockGuard::retain), that it
/// stays held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The servers say that the guard did not hold the lock any more. Others can have held it
    /// meanwhile.
    #[error("the lock was not held any more")]
    NotHeld,
    /// The guard was lost before. Others can have held the lock meanwhile.
    #[error("the lock was lost before it was released: {0}")]
    Lost(LossReason),
    /// The servers of the list are members of different clusters. The lock is free when its lease
    /// is over.
    #[error(transparent)]
    MixedClusters(MixedClusters),
    /// What [`LockGuard::retain`](crate::clerk::LockGuard::retain) was given is longer than a day.
    #[error(transparent)]
    TooLong(#[from] RetentionError),
    /// No server answered in time. A release goes on being tried in the background; at the latest,
    /// the lock is free when the lease is over.
    #[error(
        "no answer within {}; the release {}; {tried}",
        humantime::format_duration(*.after),
        if *.may_have_happened { "may have happened" } else { "has not happened yet" }
    )]
    Unanswered {
        /// How long it was tried.
        after: Duration,
        /// What came of it at each server.
        tried: AttemptReport,
        /// Whether a server can have carried it out by now.
        may_have_happened: bool,
    },
    /// The servers are at a limit: for calls in flight, all the time. It goes on being tried in the
    /// background; at the latest, the lock is free when the lease is over.
    #[error(
        "the servers have too many {resource} (tried for {}); the release has not happened yet",
        humantime::format_duration(*.after)
    )]
    Overloaded {
        /// How long it was tried.
        after: Duration,
        /// What there were too many of.
        resource: Resource,
    },
}

impl ReleaseError {
    /// Whether a server can have carried it out by now. A lock that was lost is not held any more
    /// in any case.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Unanswered {
                may_have_happened, ..
            } => *may_have_happened,
            // By a try before the mix was found.
            Self::MixedClusters(_) => true,
            Self::NotHeld | Self::Lost(_) | Self::TooLong(_) | Self::Overloaded { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clerk::Error;
    use crate::clerk::error::ServerAttempts;
    use crate::transport::Addr;
    use crate::types::{ClusterId, ServerId};

    fn unanswered(may_have_happened: bool) -> ReleaseError {
        let attempts = |server| ServerAttempts {
            server,
            address: Addr::Memory(server.to_string()),
            attempts: 1,
            last: None,
            refused: None,
        };
        let report = AttemptReport::new(ServerId::BOTH.into_iter().map(attempts));
        ReleaseError::Unanswered {
            after: Duration::from_secs(1),
            tried: report,
            may_have_happened,
        }
    }

    #[test]
    fn a_release_that_failed_says_whether_it_may_have_happened() {
        let member = |name: &str, cluster| (Addr::Memory(name.to_owned()), ClusterId(cluster));
        let mix = MixedClusters::of([member("a", 1), member("b", 2)]).expect("a mix");
        let overloaded = ReleaseError::Overloaded {
            after: Duration::from_secs(1),
            resource: Resource::Calls,
        };
        for (error, may_have_happened) in [
            (unanswered(true), true),
            (unanswered(false), false),
            (ReleaseError::MixedClusters(mix), true),
            (ReleaseError::NotHeld, false),
            (ReleaseError::Lost(LossReason::Expired), false),
            (ReleaseError::TooLong(RetentionError), false),
            (overloaded, false),
        ] {
            assert_eq!(error.may_have_happened(), may_have_happened, "{error}");
            assert_eq!(
                Error::from(error.clone()).may_have_happened(),
                may_have_happened,
                "{error}"
            );
        }
    }
}
