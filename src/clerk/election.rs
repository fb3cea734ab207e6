//! Leader election: the holder of a lock is the leader.

use super::error::AcquireError;
use super::{Clerk, LockGuard};
use crate::types::{LockName, NameError};

impl Clerk {
    /// Stands for the leadership `name` until it is elected. Whoever holds the lock of this name is
    /// the leader, and the [`token`](LockGuard::token) of its guard is the term.
    ///
    /// This is [`acquire`](Self::acquire) for those who do not give up: where a place in the queue
    /// is lost with its session, it stands again, behind those who wait by then. The leader stops
    /// leading when its guard is [`lost`](LockGuard::lost), resigns by
    /// [`release`](LockGuard::release), and learns by [`contended`](LockGuard::contended) that
    /// there is another candidate.
    ///
    /// # Errors
    ///
    /// [`AcquireError`], but neither `SessionLost` nor `Ended`; nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: its place in the queue, or the lock if it has just been granted, is given back in the
    /// background.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::{Clerk, Token};
    /// # async fn lead(term: Token) {}
    /// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
    /// loop {
    ///     let leadership = clerk.campaign("scheduler/leader").await?;
    ///     tokio::select! {
    ///         () = lead(leadership.token()) => return Ok(leadership.release().await?),
    ///         reason = leadership.lost() => eprintln!("deposed: {reason}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn campaign(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<LockGuard, AcquireError> {
        self.request(name).campaign().await
    }
}
