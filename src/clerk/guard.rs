//! The holder of an owned lock.

use std::time::{Duration, Instant};

use super::GuardWatcher;
use super::error::ReleaseError;
use super::session::{GuardState, LossReason, PendingAcquisition};
use crate::service::LockMode;
use crate::types::{LockName, Retention, SessionId, Token};

/// An owned lock, held until the guard is released, dropped or lost.
///
/// It is lost with its session, when no server could be reached for a lease, when the servers lost
/// their state, or when the clerk was closed; or by itself, when the lock was broken, or when the
/// servers were cut off from each other and kept a state without this grant. Then others can hold
/// the lock, so a task that works under it watches [`lost`](Self::lost). What must not be done
/// by two holders whatever happens (also to this process: it may have been suspended, and its
/// machine's clock with it) is done with the [`token`](Self::token), by something that refuses a
/// token lower than one that it has seen.
///
/// A holder that computes for long, or blocks its thread, keeps the lock (see
/// [`Clerk`](super::Clerk)), and can look at [`state`](Self::state) meanwhile. So does one that
/// hangs: only a process that is stopped or cut off loses it.
///
/// Dropping it gives the lock back in the background; [`release`](Self::release) says whether that
/// has happened. It keeps the session alive when the clerk is dropped.
#[derive(Debug)]
#[must_use = "a guard that is dropped gives its lock back"]
pub struct LockGuard {
    claim: PendingAcquisition,
    token: Token,
}

impl LockGuard {
    pub(super) fn new(mut acquisition: PendingAcquisition, token: Token, mode: LockMode) -> Self {
        acquisition.attach_guard(mode);
        Self {
            claim: acquisition,
            token,
        }
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &LockName {
        &self.claim.acquisition.name
    }

    /// The number of this grant. Later grants of this lock have higher ones.
    #[must_use]
    pub const fn token(&self) -> Token {
        self.token
    }

    /// The number of the session that holds the lock, which the servers tell of it too.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.claim.session_number()
    }

    /// Until when the lock is certainly held, if nothing more is heard of the servers and nothing
    /// is lost before. Every renewal moves it on.
    #[must_use]
    pub fn safe_until(&self) -> Instant {
        self.claim.safe_until().into_std()
    }

    /// How the guard stands at this moment.
    #[must_use]
    pub fn state(&self) -> GuardState {
        self.claim.state()
    }

    /// Why it is lost, if it is.
    pub(super) fn loss(&self) -> Option<LossReason> {
        self.claim.loss()
    }

    /// Waits until the guard is lost. Work under the lock must stop then.
    ///
    /// It comes before the servers can grant the lock to others, also when none of them answers.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn lost(&self) -> LossReason {
        self.claim.lost().await
    }

    /// A handle by which another task can watch this guard.
    pub fn watcher(&self) -> GuardWatcher {
        GuardWatcher::new(self.claim.view())
    }

    /// Waits until somebody else waits for the lock. Does not end when the guard is lost.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn contended(&self) {
        self.claim.acquisition.contended().await;
    }

    /// Keeps the lock held for at least `time` from now on, at most a day, whatever becomes of this
    /// guard, its session and this process. A later call replaces an earlier one; no time at all
    /// takes it back.
    ///
    /// The guard remains one: it holds the lock also when the time is over, and can be lost before,
    /// though nobody else gets the lock then. When the guard is released, dropped or lost, the
    /// servers release the lock at the end of the time; breaking the lock releases it before. The
    /// time is counted by the primary's clock: a failover can make it longer, by at most a quarter
    /// of what was left.
    ///
    /// It is for what is to run once a period, on whichever of several machines begins first, when
    /// their clocks differ by less than `time`.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]; the lock may stay held for this time in spite of it, unless the time is
    /// too long.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe, but it can be carried out or not.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use lockservice::Clerk;
    /// # async fn report() {}
    /// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(guard) = clerk.try_acquire("jobs/nightly").await?.acquired() {
    ///     guard.retain(Duration::from_secs(60)).await?;
    ///     report().await;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retain(&self, time: Duration) -> Result<(), ReleaseError> {
        if self.claim.retain(Retention::new(time)?).await? {
            Ok(())
        } else {
            Err(ReleaseError::NotHeld)
        }
    }

    /// Gives the lock back `time` from now, at most a day: the servers do so, whatever becomes of
    /// this process. See [`retain`](Self::retain).
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]. In any case the guard is gone. Where the time could not be set, the lock
    /// is given back in the background, at once.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the lock is given back in the background, at once or when the time is over.
    pub async fn release_after(self, time: Duration) -> Result<(), ReleaseError> {
        self.retain(time).await?;
        self.release().await
    }

    /// Gives the lock back, and says that it was held until then.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`]. In any case the guard is gone, and what may be left of it is given back in
    /// the background.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the lock is given back in the background.
    pub async fn release(self) -> Result<(), ReleaseError> {
        if self.claim.release().await? {
            Ok(())
        } else {
            Err(ReleaseError::NotHeld)
        }
    }
}
