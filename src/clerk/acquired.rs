//! What comes of asking for locks: types that the compiler wants looked at.
//!
//! `#[must_use]` on a type reaches past a `?`, and so it tells of a program that goes on without
//! its lock. It does not reach into an `Option` or a `Vec`.

use std::ops::Deref;

use futures::future::join_all;

use super::{LockGuard, ReleaseError};

/// What came of asking for a lock without waiting for it.
///
/// # Examples
///
/// ```no_run
/// # use lockservice::{AcquireError, Clerk, TryAcquired};
/// # async fn example(clerk: Clerk) -> Result<(), AcquireError> {
/// match clerk.try_acquire("jobs/nightly").await? {
///     TryAcquired::Acquired(guard) => println!("ours, by token {}", guard.token()),
///     TryAcquired::Held => println!("others hold it, or wait for it"),
/// }
/// if let Some(guard) = clerk.try_acquire("jobs/nightly").await?.acquired() {
///     drop(guard); // released in the background
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the lock may be held by others"]
pub enum TryAcquired<G = LockGuard> {
    /// It is held, until the guard is dropped.
    Acquired(G),
    /// Others hold it, or wait for it.
    Held,
}

impl<G> TryAcquired<G> {
    /// The guard, if the lock was acquired.
    #[must_use = "a guard that is dropped gives its lock back"]
    pub fn acquired(self) -> Option<G> {
        match self {
            Self::Acquired(guard) => Some(guard),
            Self::Held => None,
        }
    }

    /// Whether the lock was acquired.
    #[must_use]
    pub const fn is_acquired(&self) -> bool {
        matches!(self, Self::Acquired(_))
    }
}

/// The guards of several locks, in the order of their names.
///
/// It is a slice of guards, and can be taken apart. Dropping it gives all of the locks back.
#[derive(Debug, Default)]
#[must_use = "guards that are dropped give their locks back"]
pub struct LockGuards(Vec<LockGuard>);

impl LockGuards {
    pub(super) const fn new(guards: Vec<LockGuard>) -> Self {
        Self(guards)
    }

    /// Gives all of the locks back, and says that they were held until then.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], the first by name. In any case the guards are gone, and what may be left
    /// of them is given back in the background.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the locks are given back in the background.
    pub async fn release(self) -> Result<(), ReleaseError> {
        let released = join_all(self.0.into_iter().map(LockGuard::release)).await;
        released.into_iter().collect()
    }
}

impl Deref for LockGuards {
    type Target = [LockGuard];

    fn deref(&self) -> &[LockGuard] {
        &self.0
    }
}

impl IntoIterator for LockGuards {
    type Item = LockGuard;
    type IntoIter = std::vec::IntoIter<LockGuard>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a LockGuards {
    type Item = &'a LockGuard;
    type IntoIter = std::slice::Iter<'a, LockGuard>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// What came of breaking a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "the lock may have another holder by now"]
pub enum BreakOutcome {
    /// It was taken from its holder.
    Broken,
    /// Nobody held it by that token. Nothing was changed.
    NotHeld,
}

impl BreakOutcome {
    /// Whether the lock was taken from its holder.
    #[must_use]
    pub const fn is_broken(self) -> bool {
        matches!(self, Self::Broken)
    }
}

/// Answers that are looked at compile:
///
/// ```no_run
/// #![deny(unused_must_use)]
/// # use lockservice::{Clerk, Token};
/// # async fn example(clerk: Clerk, token: Token) -> Result<(), Box<dyn std::error::Error>> {
/// let _one = clerk.acquire("x").await?;
/// let _several = clerk.acquire_all(["x"]).await?;
/// let _tried = clerk.try_acquire("x").await?;
/// let _all_tried = clerk.request_all(["x"]).try_acquire().await?;
/// let _broken = clerk.break_lock("x", token, "why").await?;
/// # Ok(())
/// # }
/// ```
///
/// Each of them that is not looked at is refused:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use lockservice::Clerk;
/// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
/// clerk.acquire("x").await?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use lockservice::Clerk;
/// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
/// clerk.acquire_all(["x"]).await?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use lockservice::Clerk;
/// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
/// clerk.try_acquire("x").await?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use lockservice::Clerk;
/// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
/// clerk.request_all(["x"]).try_acquire().await?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use lockservice::{Clerk, Token};
/// # async fn example(clerk: Clerk, token: Token) -> Result<(), Box<dyn std::error::Error>> {
/// clerk.break_lock("x", token, "why").await?;
/// # Ok(())
/// # }
/// ```
#[cfg(doctest)]
struct Ignored;
