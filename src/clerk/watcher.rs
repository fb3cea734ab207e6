//! Another task's view of a guard.

use std::sync::Arc;

use super::session::{GuardState, GuardView, LossReason};
use crate::types::LockName;

/// Watches a guard from another task. [`LockGuard::watcher`](super::LockGuard::watcher) makes it;
/// clones watch the same guard.
///
/// It holds nothing: the lock is released with its guard, and not with its watchers.
#[derive(Debug, Clone)]
#[must_use = "it says when the guard is lost"]
pub struct GuardWatcher(Arc<GuardView>);

impl GuardWatcher {
    pub(super) fn new(view: GuardView) -> Self {
        Self(Arc::new(view))
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &LockName {
        self.0.name()
    }

    /// The guard's state now; [`Lost`](GuardState::Lost) also once the guard is released or
    /// dropped.
    #[must_use]
    pub fn state(&self) -> GuardState {
        self.0.state()
    }

    /// Waits until the guard is lost, and says why; none when it was released or dropped.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn lost(&self) -> Option<LossReason> {
        self.0.lost().await
    }
}
