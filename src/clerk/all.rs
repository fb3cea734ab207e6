//! Several locks at once: all of them, or none.
//!
//! They are acquired one after the other in the order of their names, which is the same for
//! everybody: so two that want some of the same locks never wait for each other in a circle.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};

use super::error::AcquireError;
use super::timed_request::{AcquireTerms, TimedRequest, permits_of};
use super::{Clerk, LockGuard, LockGuards, LossReason, TryAcquired};
use crate::service::LockMode;
use crate::types::{LockName, NameError};

/// How several locks are to be acquired, all of them or none. [`Clerk::request_all`] makes it.
///
/// A name that comes twice counts once. The locks are acquired one after the other in the order of
/// their names, whatever the order they are given in, so that two callers never wait for each
/// other. Those that are held already stay held while the others are waited for.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `acquire` or `try_acquire`"]
pub struct AllRequest {
    clerk: Clerk,
    names: Result<BTreeSet<LockName>, NameError>,
    terms: AcquireTerms,
}

impl AllRequest {
    pub(super) const fn new(clerk: Clerk, names: Result<BTreeSet<LockName>, NameError>) -> Self {
        Self {
            clerk,
            names,
            terms: AcquireTerms::new(),
        }
    }

    /// Lets others hold the locks as well, if they share them too.
    pub const fn shared(mut self) -> Self {
        self.terms.mode = Some(LockMode::Shared);
        self
    }

    /// Lets at most `permits` sessions hold each of the locks at once, this holder included. See
    /// [`LockRequest::permits`](super::LockRequest::permits).
    pub const fn permits(mut self, permits: u32) -> Self {
        self.terms.mode = permits_of(permits);
        self
    }

    /// How long the locks are waited for, all of them together. The default is for ever; but the
    /// servers' answer for each lock is never waited for longer than
    /// [`ClerkBuilder::timeout`](super::ClerkBuilder::timeout) says.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.terms.timeout = Some(timeout);
        self
    }

    /// Acquires all of the locks, and waits for the turn of each. The guards come in the order of
    /// their names.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]: of the first lock that was not to be had, or of the first that was lost
    /// while the others were waited for. Nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: a lock or queue entry that it has is released in the background.
    pub async fn acquire(self) -> Result<LockGuards, AcquireError> {
        let attempt = self.terms.begin(&self.clerk)?;
        let mut guards = Vec::new();
        for name in self.names? {
            let guard = next(&attempt, &name, &guards).await?;
            guards.push(guard);
        }
        all_held(guards)
    }

    /// Acquires all of the locks if that is possible at once, and none when others hold one of them
    /// or wait for it. The guards come in the order of their names.
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
    /// Safe: a lock or queue entry that it has is released in the background.
    pub async fn try_acquire(self) -> Result<TryAcquired<LockGuards>, AcquireError> {
        let attempt = self.terms.begin(&self.clerk)?;
        let mut guards = Vec::new();
        for name in self.names? {
            match attempt.try_acquire(&name).await? {
                TryAcquired::Acquired(guard) => guards.push(guard),
                TryAcquired::Held => return Ok(TryAcquired::Held),
            }
        }
        all_held(guards).map(TryAcquired::Acquired)
    }
}

/// Acquires one more lock, as long as those before it are `held`.
async fn next(
    attempt: &TimedRequest<'_>,
    name: &LockName,
    held: &[LockGuard],
) -> Result<LockGuard, AcquireError> {
    tokio::select! {
        biased;
        reason = any_lost(held) => Err(reason.into()),
        guard = attempt.acquire(name) => guard,
    }
}

/// Waits until one of `guards` is lost; for ever if there are no guards.
async fn any_lost(guards: &[LockGuard]) -> LossReason {
    let mut losses: FuturesUnordered<_> = guards.iter().map(LockGuard::lost).collect();
    match losses.next().await {
        Some(reason) => reason,
        None => std::future::pending().await,
    }
}

/// A guard may have been lost while the last ones were acquired, those in another session.
fn all_held(guards: Vec<LockGuard>) -> Result<LockGuards, AcquireError> {
    match guards.iter().find_map(LockGuard::loss) {
        None => Ok(LockGuards::new(guards)),
        Some(reason) => Err(reason.into()),
    }
}
