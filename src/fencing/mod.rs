//! The checking side of fencing tokens: a resource refuses a writer that has lost its lock.
//!
//! A lock with a lease cannot protect a resource by itself. Its holder can stop (a long garbage
//! collection, a suspended machine, a slow network) after it has seen that it holds the lock and
//! before its write arrives. Meanwhile the lease ends, another holder writes, and the late write
//! overwrites that. No clock of the holder prevents it. A number does: a [`Token`] rises with every
//! grant of the lock, a holder sends its token with every write, and the resource refuses tokens
//! below the highest that it has seen. (Martin Kleppmann, *How to do
//! distributed locking*, 2016; the *sequencers* of Chubby, Burrows 2006, section 2.4.)
//!
//! ```
//! use lockservice::fencing::{MemoryGate, Stale};
//! use lockservice::types::Token;
//!
//! let report = MemoryGate::new(String::new());
//! let (paused, next) = (Token::new(33), Token::new(34)); // of two holders, one after the other
//!
//! report.write(paused, |text| text.push_str("begun"))?; // and now it stops for longer than its lease
//! report.write(next, |text| *text = "complete".into())?;
//!
//! let late = report.write(paused, |text| *text = "half of it".into());
//! assert_eq!(late, Err(Stale { presented: paused, highest: next }));
//! assert_eq!(report.read(String::clone), "complete");
//! # Ok::<(), Stale>(())
//! ```
//!
//! `examples/paused_holder.rs` in the repository does the same with a process that is stopped.
//!
//! # Which gate
//!
//! | the resource | its gate |
//! |---|---|
//! | state in this process | [`MemoryGate`], which holds the value |
//! | a file, or anything else that processes on one machine write | [`FileGate`] |
//! | state that one owner stores: an actor, a log, a replicated machine | [`Fence`], the rule as a plain value, stored with that state |
//! | a row of a database, an object in a store | the store, see below |
//!
//! A gate is for one resource under one lock: tokens of different locks say nothing about each
//! other. A gate is one number, and has to be kept for as long as an old holder may write. When a
//! resource is deleted, keep its gate, or a late write creates the resource again.
//!
//! The check and the write must be one step, or the holder can be paused between them. So the gates
//! take the write as a closure, and nothing tells whether a token would be admitted.
//!
//! # A row of a database
//!
//! Keep the token in the row (`token BIGINT NOT NULL DEFAULT 0`; a server's tokens fit), and let
//! one statement check and write:
//!
//! ```sql
//! UPDATE reports SET value = ?, token = ? WHERE id = ? AND token <= ?
//! ```
//!
//! with the token given twice. No row changed: the writer is stale (or there is no such row). For a
//! row that may not be there yet, `INSERT ... ON CONFLICT (id) DO UPDATE SET value =
//! excluded.value, token = excluded.token WHERE reports.token <= excluded.token`. Several rows at
//! once: begin the transaction with such an update of the one row that keeps the token, and roll
//! back when it changes none. Do not delete the row that keeps the token. MySQL counts rows whose
//! values differ from before, unless its client asks for the rows found; a holder that writes the
//! same twice would take itself for stale.
//!
//! # An object in a store
//!
//! Keep the token in the object or its metadata: read it with the version (`ETag`, generation),
//! give up when the token is above one's own, and write on the condition that the version is still
//! the same (`If-Match`; `If-None-Match: *` for the first); when the store refuses, begin again
//! with reading.
//!
//! # What a token cannot do
//!
//! - The resource must see it. Where some writers go past the gate, it protects nothing.
//! - It stops late writers, not late readers, and undoes nothing that was written in time: a new
//!   holder finds what the last one left half done.
//! - Until a new holder comes with its token, the resource does not know of it, and admits the last
//!   one. So a holder that writes what follows from what it read has to read inside its write, or
//!   to begin with an empty write, and read then.
//! - It does not choose between two holders. When the two servers are cut off from each other both
//!   can grant a lock, with different tokens: the holder of the lower one is admitted until the
//!   other one has written, and never again.
//! - It is as good as its source: one that gives the same token to two holders, or lower ones after
//!   higher ones, has two writers admitted, or the right one refused.

mod file;
mod memory;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::types::Token;

pub use file::{FileGate, GateError};
pub use memory::MemoryGate;

/// Admits no token below the highest that it has seen.
///
/// It is for state that one owner stores: store the fence in the same step as the state that it
/// guards.
///
/// ```
/// use lockservice::fencing::{Fence, Stale};
/// use lockservice::types::Token;
///
/// #[derive(Default)]
/// struct Account {
///     balance: i64,
///     fence: Fence,
/// }
///
/// impl Account {
///     fn apply(&mut self, token: Token, change: i64) -> Result<(), Stale> {
///         self.fence.admit(token)?;
///         self.balance += change;
///         Ok(())
///     }
/// }
///
/// let mut account = Account::default();
/// assert!(account.apply(Token::new(34), 5).is_ok());
/// assert!(account.apply(Token::new(33), 7).is_err());
/// assert_eq!(account.balance, 5);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    highest: Token,
}

impl Fence {
    /// Makes the fence of a resource that has seen no token: it admits any.
    #[must_use]
    pub const fn new() -> Self {
        Self::seen(Token::new(0))
    }

    /// Makes the fence of a resource that has seen `highest`, as it was stored.
    #[must_use]
    pub const fn seen(highest: Token) -> Self {
        Self { highest }
    }

    /// The highest token seen so far, 0 when there was none.
    #[must_use]
    pub const fn highest(self) -> Token {
        self.highest
    }

    /// Admits `token`, and none below it from now on. The same one is admitted again: its holder
    /// may write more than once.
    ///
    /// # Errors
    ///
    /// [`Stale`] when a higher one was seen. Nothing has changed, and the write must not be done.
    pub fn admit(&mut self, token: Token) -> Result<(), Stale> {
        if token < self.highest {
            return Err(Stale {
                presented: token,
                highest: self.highest,
            });
        }
        self.highest = token;
        Ok(())
    }
}

/// The token is below one that the resource has seen: a later holder has written. The write was not
/// run.
///
/// A retry fails too: the lock was lost, and has to be acquired again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("token {presented} is stale: a later holder came with {highest}")]
pub struct Stale {
    /// The token of the refused writer.
    pub presented: Token,
    /// The highest token that the resource has seen.
    pub highest: Token,
}
