//! Something that several callers need, and that one of them makes for all.
//!
//! It is made when the first of them needs it, and again when it is of no more use. Callers that
//! need it while it is being made wait for the same work; when all of them are dropped, so is the
//! work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

#[derive(Debug)]
pub(super) struct SingleFlight<T, E> {
    state: Mutex<State<T, E>>,
}

#[derive(Debug)]
enum State<T, E> {
    Nothing,
    Underway(WeakShared<Work<T, E>>),
    Ready(Arc<T>),
}

/// What makes it.
pub(super) type Work<T, E> = BoxFuture<'static, Result<Arc<T>, E>>;

impl<T, E> Default for SingleFlight<T, E> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Nothing),
        }
    }
}

impl<T, E: Clone> SingleFlight<T, E> {
    /// What is there and still `of_use`, or what comes of making it now.
    ///
    /// # Cancel safety
    ///
    /// Safe: the work goes on if others wait for it, and is dropped if not.
    pub(super) async fn get(
        &self,
        of_use: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Work<T, E>,
    ) -> Result<Arc<T>, E> {
        let work = match self.ready_or_work(of_use, make) {
            Ok(ready) => return Ok(ready),
            Err(work) => work,
        };
        let outcome = work.clone().await;
        self.store_result(&work, &outcome);
        outcome
    }

    /// What is there.
    pub(super) fn peek(&self) -> Option<Arc<T>> {
        match &*self.state() {
            State::Ready(ready) => Some(ready.clone()),
            State::Underway(_) | State::Nothing => None,
        }
    }

    /// Takes out what is there. What is being made is not kept.
    pub(super) fn take(&self) -> Option<Arc<T>> {
        match std::mem::replace(&mut *self.state(), State::Nothing) {
            State::Ready(ready) => Some(ready),
            State::Underway(_) | State::Nothing => None,
        }
    }

    fn ready_or_work(
        &self,
        of_use: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Work<T, E>,
    ) -> Result<Arc<T>, Shared<Work<T, E>>> {
        let mut state = self.state();
        match &*state {
            State::Ready(ready) if of_use(ready) => return Ok(ready.clone()),
            State::Underway(work) => {
                if let Some(work) = work.upgrade() {
                    return Err(work);
                }
            }
            State::Ready(_) | State::Nothing => {}
        }
        let work = make().shared();
        if let Some(weak) = work.downgrade() {
            *state = State::Underway(weak);
        }
        Err(work)
    }

    /// Keeps what was made, unless other work has begun since.
    fn store_result(&self, work: &Shared<Work<T, E>>, outcome: &Result<Arc<T>, E>) {
        let mut state = self.state();
        let current = match &*state {
            State::Underway(weak) => weak.upgrade(),
            State::Ready(_) | State::Nothing => None,
        };
        if current.is_some_and(|current| current.ptr_eq(work)) {
            *state = outcome.clone().map_or(State::Nothing, State::Ready);
        }
    }

    /// Only whole states come and go under the lock, so a poisoned one is sound.
    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
