//! What can go wrong when something is looked up.

use std::time::Duration;

use super::AttemptReport;
use crate::clerk::MixedClusters;
use crate::service::Resource;
use crate::types::NameError;

/// Why a look at the locks ([`Clerk::show`](crate::Clerk::show), [`list`](crate::Clerk::list),
/// [`why`](crate::Clerk::wait_graph), [`watch`](crate::Clerk::watch)) has no answer.
///
/// Whatever the reason, nothing was changed: who looks again has lost nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The name is no lock name.
    #[error(transparent)]
    InvalidName(#[from] NameError),
    /// No server answered in time. Trying again is sensible.
    #[error(
        "no answer within {}; nothing was changed; {tried}",
        humantime::format_duration(*.after)
    )]
    Unanswered {
        /// How long it was tried.
        after: Duration,
        /// What came of it at each server.
        tried: AttemptReport,
    },
    /// The servers are at a limit: for calls in flight, all the time.
    #[error(
        "the servers have too many {resource} (tried for {}); nothing was changed",
        humantime::format_duration(*.after)
    )]
    Overloaded {
        /// How long it was tried.
        after: Duration,
        /// What there were too many of.
        resource: Resource,
    },
    /// The servers of the list are members of different clusters.
    #[error("{0}; nothing was changed")]
    MixedClusters(MixedClusters),
    /// [`Clerk::close`](crate::clerk::Clerk::close) was called on a clone of this clerk.
    #[error("the clerk is closed; nothing was changed")]
    Closed,
}
