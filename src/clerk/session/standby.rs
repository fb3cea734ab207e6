//! Keeps a session alive while the runtime that its clerk was connected in does not run.
//!
//! A task that blocks its thread, in a long computation or a call of a library that is not async,
//! holds up the session's own task, which may wait for the same thread. Then the lease would end
//! under a holder that works. So a thread of the process' own, one for all clerks, looks when less
//! of the lease is left than there ever is while renewals are in time, and renews over connections
//! of its own until the session's task has polled again.
//!
//! While that task runs this costs a timer. And where it is gone, with its runtime, so is this:
//! nobody could release the lock any more.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::LeasedSession;
use super::renewal::renew_apart;
use crate::config::LEASE_LEFT_TO_STANDBY;

/// What drives the thread, once there is one. It stays, idle, when there are no sessions.
static THREAD: Mutex<Option<Handle>> = Mutex::new(None);

/// Stands by for the session until what this gives is dropped. None for a network that other
/// runtimes cannot use.
pub(super) fn begin(session: &Arc<LeasedSession>) -> Option<AbortOnDropHandle<()>> {
    if !session.shared.servers.is_reached_from_any_runtime() {
        return None;
    }
    match thread() {
        Ok(runtime) => {
            let standing = runtime.spawn(stand_by(session.clone()));
            Some(AbortOnDropHandle::new(standing))
        }
        Err(error) => {
            tracing::warn!(%error, "no thread to renew leases from: a task that blocks can lose its locks");
            None
        }
    }
}

async fn stand_by(session: Arc<LeasedSession>) {
    let left = session.life.lease * LEASE_LEFT_TO_STANDBY / 100;
    while session.life.loss().is_none() {
        let late = session.life.safe_until() - left;
        if Instant::now() < late {
            sleep_until(late).await;
            continue;
        }
        let mut polls = session.polls.subscribe();
        tracing::debug!(record = %session.opened.id, "renewing for a runtime that does not run");
        tokio::select! {
            biased;
            // Its sender is in the session.
            _ = polls.changed() => {}
            () = renew_apart(&session) => return,
        }
    }
}

/// The runtime of the thread, which is started with the first session.
fn thread() -> io::Result<Handle> {
    let mut running = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*running {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("lock-leases".to_owned())
        .spawn(move || runtime.block_on(pending::<Infallible>()))?;
    Ok(running.insert(handle).clone())
}
