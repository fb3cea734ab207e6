//! Decides whether a history is linearizable: explained by locks that do one call at a time.
//!
//! Each lock is checked by itself: is there an order of its calls that respects real time and in
//! which every answer is right? A call without an answer may take effect at any time after its
//! start, or never. The search is that of Wing and Gong (1993) in Lowe's just-in-time form (2017):
//! go through the history in time order, and order calls only when an answer is due that is not
//! explained yet.
//!
//! In general that search has to keep many configurations, and may have to give up. For a lock
//! three rules leave one to follow; each turns any order that would do into one that obeys it:
//! - A call that changes nothing (`false`) is ordered as soon as its answer is right: the others do
//!   not depend on it.
//! - Of the calls under way that would make the same change, the one that is answered first makes
//!   it, and one that is never answered comes last: in an order that has two of them the other way
//!   round, they can be swapped.
//! - No more changes are made than the due answer needs. In an order with two more before it, the
//!   due call can be swapped with the first of the same kind; the rest can wait.
//!
//! So it takes `n log n` steps for `n` calls, also for a history that is wrong. The tests compare
//! it with a search through all orders.

mod search;

#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use self::search::Known;
use self::search::Search;
use super::history::{History, Operation};

/// The first answer that no order of the calls explains, and what went on around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexplicable {
    /// The call whose answer cannot be explained.
    pub call: Operation,
    /// The calls of the same lock since the last change that was over before it, at most
    /// [`Self::MAX_CALLS`] of them.
    pub around: Vec<Operation>,
}

impl Inexplicable {
    /// The longest excerpt.
    pub const MAX_CALLS: usize = 24;

    fn new(operations: &[&Operation], call: &Operation) -> Self {
        let since = operations
            .iter()
            .filter(|other| other.result() == Some(true) && !other.may_be_after(call.called))
            .max_by_key(|other| other.answered())
            .map_or(call.called, |change| change.called);
        let mut around: Vec<_> = operations
            .iter()
            .filter(|other| other.may_be_after(since) && !call.is_over_before(other))
            .filter(|other| other.answered().is_some() || other.called >= since)
            .map(|&other| other.clone())
            .collect();
        around.drain(..around.len().saturating_sub(Self::MAX_CALLS));
        Self {
            call: call.clone(),
            around,
        }
    }
}

impl fmt::Display for Inexplicable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order of the calls of {:?} explains", self.call.name)?;
        writeln!(f, "    {}", self.call)?;
        write!(f, "which came in the middle of")?;
        self.around
            .iter()
            .try_for_each(|operation| write!(f, "\n    {operation}"))
    }
}

impl std::error::Error for Inexplicable {}

/// Checks a history that began with every lock free.
///
/// # Errors
///
/// [`Inexplicable`] when it is not linearizable.
///
/// # Examples
///
/// ```
/// use lockservice::testkit::{History, linearizability};
///
/// let granted_twice: History = "c1 lock 0..3 true jobs\n\
///                               c2 lock 1..2 true jobs\n"
///     .parse()?;
/// assert!(linearizability::check(&granted_twice).is_err());
/// # Ok::<(), lockservice::testkit::HistoryError>(())
/// ```
pub fn check(history: &History) -> Result<(), Inexplicable> {
    history.by_name().values().try_for_each(|operations| {
        check_lock(operations, Known::default())?;
        Ok(())
    })
}

/// Checks the calls of one lock, from the state `before` that earlier calls left, and returns the
/// state after them. Every earlier call that is ever answered must have been answered before the
/// first of these was made.
pub(crate) fn check_lock(operations: &[&Operation], before: Known) -> Result<Known, Inexplicable> {
    Search::new(operations, before)
        .run()
        .map_err(|call| Inexplicable::new(operations, operations[call]))
}
