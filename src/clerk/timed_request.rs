//! How locks are asked for, one or several after each other within one time.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::timeout_at;

use super::error::AcquireError;
use super::guard::LockGuard;
use super::session::{AcquireAnswer, PendingAcquisition, Within};
use super::{Clerk, LossReason, TryAcquired, clamp, expect_runtime};
use crate::service::{AcquireOptions, LockMode};
use crate::types::{LockName, Token};

/// What a request says of the locks that it is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct AcquireTerms {
    /// None for no permits.
    pub(super) mode: Option<LockMode>,
    /// How long it waits in all; none: for ever.
    pub(super) timeout: Option<Duration>,
}

impl AcquireTerms {
    /// Exclusive, for ever.
    pub(super) const fn new() -> Self {
        Self {
            mode: Some(LockMode::Exclusive),
            timeout: None,
        }
    }

    /// Lets the time run from now on.
    pub(super) fn begin(self, clerk: &Clerk) -> Result<TimedRequest<'_>, AcquireError> {
        Ok(TimedRequest {
            clerk,
            mode: self.mode.ok_or(AcquireError::NoPermits)?,
            limit: self.timeout.map(clamp).map(Within::new),
        })
    }
}

/// The mode of this many permits; none for zero.
pub(super) const fn permits_of(permits: u32) -> Option<LockMode> {
    match NonZeroU32::new(permits) {
        Some(most) => Some(LockMode::Permits(most)),
        None => None,
    }
}

/// A request whose time runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimedRequest<'a> {
    clerk: &'a Clerk,
    mode: LockMode,
    limit: Option<Within>,
}

impl TimedRequest<'_> {
    /// Acquires a lock, and waits for its turn.
    ///
    /// # Cancel safety
    ///
    /// Safe: a lock or queue entry that it has is released in the background.
    pub(super) async fn acquire(&self, name: &LockName) -> Result<LockGuard, AcquireError> {
        loop {
            let acquisition = match self.ask(name, true).await? {
                AcquireAnswer::Granted(acquisition, token) => {
                    return Ok(LockGuard::new(acquisition, token, self.mode));
                }
                AcquireAnswer::Queued(acquisition) => acquisition,
                // No answer to a request that waits.
                AcquireAnswer::Held => return Err(AcquireError::Ended),
            };
            match self.turn(name, &acquisition).await? {
                Ok(token) => return Ok(LockGuard::new(acquisition, token, self.mode)),
                // The servers kept a state in which it does not wait: it queues again.
                Err(LossReason::Diverged) => {}
                Err(reason) => return Err(reason.into()),
            }
        }
    }

    /// Waits until it is granted or lost, for no longer than the time that it has.
    async fn turn(
        &self,
        name: &LockName,
        acquisition: &PendingAcquisition,
    ) -> Result<Result<Token, LossReason>, AcquireError> {
        let own = &self.clerk.shared.own;
        own.warn_if_waited_for(name, self.mode);
        let Some(Within { after, deadline }) = self.limit else {
            return Ok(acquisition.turn().await);
        };
        let turn = timeout_at(deadline, acquisition.turn()).await;
        turn.map_err(|_| AcquireError::TimedOut {
            name: name.clone(),
            after,
            is_own: own.are_waited_for(name, self.mode),
        })
    }

    /// Acquires a lock if that is possible at once.
    ///
    /// # Cancel safety
    ///
    /// Safe: a lock or queue entry that it has is released in the background.
    pub(super) async fn try_acquire(&self, name: &LockName) -> Result<TryAcquired, AcquireError> {
        match self.ask(name, false).await? {
            AcquireAnswer::Granted(acquisition, token) => Ok(TryAcquired::Acquired(
                LockGuard::new(acquisition, token, self.mode),
            )),
            AcquireAnswer::Queued(_) | AcquireAnswer::Held => Ok(TryAcquired::Held),
        }
    }

    /// Asks in the current session; in another one if that is found lost.
    async fn ask(&self, name: &LockName, waits: bool) -> Result<AcquireAnswer, AcquireError> {
        expect_runtime();
        let shared = &self.clerk.shared;
        let mode = self.mode;
        let within = self.answer_within();
        loop {
            let session = self.clerk.sessions.current(shared, within).await?;
            let asked =
                PendingAcquisition::ask(session, name, AcquireOptions { mode, waits }, within);
            if let Some(asked) = asked.await? {
                return Ok(asked);
            }
        }
    }

    /// How long the servers' answer is waited for.
    fn answer_within(&self) -> Within {
        let call = Within::new(self.clerk.shared.timeout());
        self.limit
            .filter(|limit| limit.deadline < call.deadline)
            .unwrap_or(call)
    }
}
