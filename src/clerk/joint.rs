//! Something that several callers need, and that one of them makes for all.
//!
//! It is made when the first of them needs it, and again when it is of no more use. Callers that need it
//! while it is being made wait for the same making; when all of them are dropped, so is the making.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

#[derive(Debug)]
pub(super) struct Joint<T, E> {
    state: Mutex<State<T, E>>,
}

#[derive(Debug)]
enum State<T, E> {
    Nothing,
    Making(WeakShared<Making<T, E>>),
    Made(Arc<T>),
}

/// How it is made.
pub(super) type Making<T, E> = BoxFuture<'static, Result<Arc<T>, E>>;

impl<T, E> Default for Joint<T, E> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Nothing),
        }
    }
}

impl<T, E: Clone> Joint<T, E> {
    /// What was made and is still `of_use`, or what comes of making it now.
    ///
    /// # Cancel safety
    ///
    /// Safe: the making goes on if others wait for it, and is dropped if not.
    pub(super) async fn get(
        &self,
        of_use: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Making<T, E>,
    ) -> Result<Arc<T>, E> {
        let making = match self.made_or_making(of_use, make) {
            Ok(made) => return Ok(made),
            Err(making) => making,
        };
        let made = making.clone().await;
        self.settle(&making, &made);
        made
    }

    /// Takes out what was made. What is being made is not kept.
    pub(super) fn take(&self) -> Option<Arc<T>> {
        match std::mem::replace(&mut *self.state(), State::Nothing) {
            State::Made(made) => Some(made),
            State::Making(_) | State::Nothing => None,
        }
    }

    fn made_or_making(
        &self,
        of_use: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Making<T, E>,
    ) -> Result<Arc<T>, Shared<Making<T, E>>> {
        let mut state = self.state();
        match &*state {
            State::Made(made) if of_use(made) => return Ok(made.clone()),
            State::Making(making) => {
                if let Some(making) = making.upgrade() {
                    return Err(making);
                }
            }
            State::Made(_) | State::Nothing => {}
        }
        let making = make().shared();
        if let Some(weak) = making.downgrade() {
            *state = State::Making(weak);
        }
        Err(making)
    }

    /// Keeps what was made, unless another making has begun since.
    fn settle(&self, making: &Shared<Making<T, E>>, made: &Result<Arc<T>, E>) {
        let mut state = self.state();
        let current = match &*state {
            State::Making(weak) => weak.upgrade(),
            State::Made(_) | State::Nothing => None,
        };
        if current.is_some_and(|current| current.ptr_eq(making)) {
            *state = made.clone().map_or(State::Nothing, State::Made);
        }
    }

    /// Only whole states come and go under the lock, so a poisoned one is sound.
    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
