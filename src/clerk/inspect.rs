//! What there is to be seen of locks.

use super::error::{CallError, InspectError};
use super::{BreakOutcome, Clerk, checked};
use crate::config::MAX_PLACES_LISTED;
use crate::service::{Answer, Cursor, LockInfo, Page, Request};
use crate::types::{LockName, NameError, Token};

impl Clerk {
    /// Who holds the lock `name`, and who waits for it.
    ///
    /// # Errors
    ///
    /// [`InspectError`]; nothing was changed.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn show(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<LockInfo, InspectError> {
        let name = checked(name)?;
        match self.shared.inspect(&Request::Show { name }).await? {
            Answer::Lock(lock) => Ok(*lock),
            answer => unreachable!("show was answered with {answer:?}"),
        }
    }

    /// The held locks whose names begin with `prefix`, by name, each as [`show`](Self::show) tells
    /// it.
    ///
    /// It is made of many answers, between which locks can change hands: what is held all the while
    /// is in it.
    ///
    /// # Errors
    ///
    /// [`InspectError`]; nothing was changed.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn list(&self, prefix: &str) -> Result<Vec<LockInfo>, InspectError> {
        let mut locks = Vec::new();
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let page = self.page(prefix, from).await?;
            locks.extend(page.locks);
            next = page.next;
        }
        for lock in locks.iter_mut().filter(|lock| may_be_cut(lock)) {
            *lock = self.show(&lock.name).await?;
        }
        locks.retain(LockInfo::is_held);
        locks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(locks)
    }

    /// The locks whose names begin with `prefix`: some of them, from `from` on.
    async fn page(&self, prefix: &str, from: Cursor) -> Result<Page, InspectError> {
        let prefix = prefix.to_owned();
        match self.shared.inspect(&Request::List { prefix, from }).await? {
            Answer::Page(page) => Ok(*page),
            answer => unreachable!("list was answered with {answer:?}"),
        }
    }

    /// Takes the lock `name` from the holder that has it by `token`, and says whether there was
    /// one. That holder is told, and the lock goes to the next in the queue. The servers log
    /// `reason`.
    ///
    /// It does not stop what the holder does: only something that looks at tokens keeps its late
    /// writes off.
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation can have happened.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the operation has happened entirely or not at all, or does so a little later; the
    /// clerk stays usable.
    pub async fn break_lock(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
        token: Token,
        reason: &str,
    ) -> Result<BreakOutcome, CallError> {
        let name = checked(name)?;
        let was_held = self.shared.break_lock(name, token, reason).await?;
        Ok(if was_held {
            BreakOutcome::Broken
        } else {
            BreakOutcome::NotHeld
        })
    }
}

#[cfg(feature = "internals")]
#[doc(hidden)]
impl Clerk {
    /// For the completion of names, which needs a few locks of many.
    ///
    /// # Errors
    ///
    /// As [`Self::list`].
    pub async fn list_page(&self, prefix: &str, from: Cursor) -> Result<Page, InspectError> {
        self.page(prefix, from).await
    }
}

/// Whether a page may have left places of this lock out: waiters it counts, holders it does not.
fn may_be_cut(lock: &LockInfo) -> bool {
    (lock.queue().count() as u64) < lock.waiters || lock.holders().count() >= MAX_PLACES_LISTED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::samples::{lock, shared, unowned};

    #[test]
    fn a_listing_is_completed_where_places_may_be_missing() {
        let four = [(1, 10), (2, 11), (3, 12), (4, 13)];
        assert!(may_be_cut(&shared("a", &four, &[])));
        assert!(!may_be_cut(&shared("a", &four[..3], &[5])));
        assert!(!may_be_cut(&unowned("a", &[1, 2, 3, 4])));
        let mut more_wait = lock("a", &[(1, 10)], &[2, 3, 4]);
        assert!(!may_be_cut(&more_wait));
        more_wait.waiters = 4;
        assert!(may_be_cut(&more_wait));
    }
}
