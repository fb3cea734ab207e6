//! What a clerk holds itself, so that a request that waits for it can be told.
//!
//! Such a request may be right: another task can release the lock, or unlock it. So it is no error;
//! but one that waits for what its own task holds is nearly always a mistake, and would wait for
//! ever without a word.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio::task;

use crate::config::MAX_REMEMBERED_LOCKS;
use crate::service::LockMode;
use crate::types::LockName;

/// What the clones of a clerk hold, as far as they know.
#[derive(Debug, Default)]
pub(super) struct OwnLocks {
    table: Mutex<HashMap<LockName, Own, RandomState>>,
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    /// By `lock`.
    is_locked: bool,
    guards: u32,
    /// What the last of the guards was acquired with, and by which task.
    mode: LockMode,
    task: Option<task::Id>,
    is_told: bool,
}

impl OwnLocks {
    pub(super) fn locked(&self, name: &LockName) {
        let mut table = self.table();
        if table.len() < MAX_REMEMBERED_LOCKS {
            table.entry(name.clone()).or_default().is_locked = true;
        }
    }

    pub(super) fn unlocked(&self, name: &LockName) {
        self.change(name, |own| own.is_locked = false);
    }

    pub(super) fn acquired(&self, name: &LockName, mode: LockMode) {
        let mut table = self.table();
        let own = table.entry(name.clone()).or_default();
        own.guards += 1;
        own.mode = mode;
        own.task = task::try_id();
        own.is_told = false;
    }

    pub(super) fn released(&self, name: &LockName) {
        self.change(name, |own| own.guards = own.guards.saturating_sub(1));
    }

    /// Whether who asks for `name` waits for this clerk.
    pub(super) fn are_waited_for(&self, name: &LockName, mode: LockMode) -> bool {
        self.table().get(name).is_some_and(|own| own.excludes(mode))
    }

    /// Says so, once a grant, when a task that asks for `name` waits for itself, or for a lock that
    /// no guard releases.
    pub(super) fn warn_if_waited_for(&self, name: &LockName, mode: LockMode) {
        let mut table = self.table();
        let Some(own) = table.get_mut(name).filter(|own| own.excludes(mode)) else {
            return;
        };
        let is_locked = own.is_locked;
        let is_mistaken = is_locked || own.task == task::try_id();
        if !is_mistaken || std::mem::replace(&mut own.is_told, true) {
            return;
        }
        drop(table);
        if is_locked {
            tracing::warn!(
                "acquiring {name:?} waits for its own clerk, which has locked it: until somebody unlocks it"
            );
        } else {
            tracing::warn!(
                "acquiring {name:?} waits for its own task, which holds it: until another task releases it"
            );
        }
    }

    fn change(&self, name: &LockName, change: impl FnOnce(&mut Own)) {
        let mut table = self.table();
        if let Some(own) = table.get_mut(name) {
            change(own);
            if !own.is_locked && own.guards == 0 {
                table.remove(name);
            }
        }
    }

    /// The table is whole after every step, so a poisoned lock is sound.
    fn table(&self) -> MutexGuard<'_, HashMap<LockName, Own, RandomState>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Own {
    fn excludes(&self, mode: LockMode) -> bool {
        self.is_locked || self.guards >= self.mode.most_holders().min(mode.most_holders())
    }
}
