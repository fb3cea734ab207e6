//! A gate in front of a value in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Fence, Stale};
use crate::types::Token;

/// A value that is written only with a token that is not below the highest seen.
///
/// The value is inside, as in a [`Mutex`], so that no writer gets past the check, and no pause
/// between the check and the write. Any thread may use it.
///
/// Neither closure may use the same gate again: it would wait for itself. When one panics, the
/// value stays as it was left, and the gate goes on.
#[derive(Debug, Default)]
pub struct MemoryGate<T> {
    guarded: Mutex<Guarded<T>>,
}

#[derive(Debug, Default)]
struct Guarded<T> {
    fence: Fence,
    value: T,
}

impl<T> MemoryGate<T> {
    /// Puts a gate that has seen no token in front of `value`.
    pub const fn new(value: T) -> Self {
        let fence = Fence::new();
        Self {
            guarded: Mutex::new(Guarded { fence, value }),
        }
    }

    /// Runs `write` on the value if `token` is not below the highest seen, and gives what it
    /// returned.
    ///
    /// # Errors
    ///
    /// [`Stale`] when a higher token was seen; `write` was not run.
    pub fn write<R>(&self, token: Token, write: impl FnOnce(&mut T) -> R) -> Result<R, Stale> {
        let mut guarded = self.guarded();
        guarded.fence.admit(token)?;
        Ok(write(&mut guarded.value))
    }

    /// Runs `read` on the value. Readers need no token.
    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.guarded().value)
    }

    /// The highest token seen so far, 0 when there was none: for people and logs. Whether a write
    /// is admitted is only known in [`write`](Self::write).
    pub fn highest(&self) -> Token {
        self.guarded().fence.highest()
    }

    fn guarded(&self) -> MutexGuard<'_, Guarded<T>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
