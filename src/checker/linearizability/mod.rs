//! Decides whether a history of calls can have come from one lock that does one thing at a time.
//!
//! Each lock is judged by itself: does some order of its calls exist that respects real time and in
//! which every answer is right? A call without an answer may take effect at any time after its
//! start, or never. The search is that of Wing and Gong (1993) in Lowe's just-in-time form (2017):
//! go through the history in time order, and order calls only when an answer is due that is not
//! explained yet.
//!
//! In general that search has to keep many configurations, and may have to give up. For a lock
//! three rules leave one to follow; each turns any order that would do into one that obeys it:
//! - A call that changes nothing (`false`) takes its place as soon as it is right there: that is
//!   all the same to the others.
//! - Of the calls under way that would make the same change the one answered first makes it, and
//!   one that is never answered comes last: if an order has them the other way round, let them
//!   change places.
//! - No more changes are made than the answer that is due needs. If an order has two more before
//!   it, let the call that is due change places with the first of the same kind; the rest can wait.
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
    /// The call that was answered so.
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

/// Judges a history that began with every lock free.
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

/// Judges the calls of one lock, of which `before` is known from earlier ones, and tells what is
/// known then. Every call that is ever answered must have been answered before the first of these
/// was made.
pub(crate) fn check_lock(operations: &[&Operation], before: Known) -> Result<Known, Inexplicable> {
    Search::new(operations, before)
        .run()
        .map_err(|call| Inexplicable::new(operations, operations[call]))
}
