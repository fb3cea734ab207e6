//! A request for an owned lock.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::AcquireError;
use super::guard::LockGuard;
use super::session::{Asked, Claim, Within};
use super::{Clerk, clamp};
use crate::service::{How, Mode};
use crate::types::{LockName, NameError};

/// How a lock is to be acquired. [`Clerk::request`] makes it.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `acquire` or `try_acquire`"]
pub struct LockRequest {
    clerk: Clerk,
    name: Result<LockName, NameError>,
    mode: Mode,
    timeout: Option<Duration>,
}

impl LockRequest {
    pub(super) fn new(clerk: Clerk, name: &str) -> Self {
        Self {
            clerk,
            name: LockName::new(name),
            mode: Mode::Exclusive,
            timeout: None,
        }
    }

    /// Lets others hold the lock as well, if they share it too.
    pub const fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    /// How long the lock is waited for. The default is for ever; but the servers' answer to the request itself
    /// is never waited for longer than [`ClerkBuilder::timeout`](super::ClerkBuilder::timeout) says.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Acquires the lock; waits for its turn, first come first served.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Cancel safety
    ///
    /// Safe: its place in the queue, or the lock if it has just been granted, is given back in the background.
    pub async fn acquire(self) -> Result<LockGuard, AcquireError> {
        let begun = Instant::now();
        let claim = match self.ask(true).await? {
            Asked::Granted(claim, token) => return Ok(LockGuard::new(claim, token)),
            Asked::Queued(claim) => claim,
            // No answer to a request that waits.
            Asked::Held => return Err(AcquireError::Ended),
        };
        let turn = match self.timeout.map(clamp) {
            Some(after) => timeout_at(begun + after, claim.turn())
                .await
                .map_err(|_| AcquireError::TimedOut { after })?,
            None => claim.turn().await,
        };
        let token = turn?;
        Ok(LockGuard::new(claim, token))
    }

    /// Acquires the lock if that is possible at once; none when others hold it or wait for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Cancel safety
    ///
    /// Safe: the lock, if it was granted, is given back in the background.
    pub async fn try_acquire(self) -> Result<Option<LockGuard>, AcquireError> {
        match self.ask(false).await? {
            Asked::Granted(claim, token) => Ok(Some(LockGuard::new(claim, token))),
            Asked::Queued(_) | Asked::Held => Ok(None),
        }
    }

    /// Asks in the current session; in another one if that is found lost.
    async fn ask(&self, waits: bool) -> Result<Asked, AcquireError> {
        let name = self.name.clone()?;
        let mode = self.mode;
        let shared = &self.clerk.shared;
        let timeout = self.timeout.unwrap_or(Duration::MAX);
        let within = Within::new(timeout.min(shared.timeout()));
        loop {
            let session = self.clerk.sessions.current(shared, within).await?;
            let asked = Claim::ask(session, &name, How { mode, waits }, within);
            if let Some(asked) = asked.await? {
                return Ok(asked);
            }
        }
    }
}
