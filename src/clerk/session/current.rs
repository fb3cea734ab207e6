//! The session that a clerk's requests use: opened with the first of them, and again when it was
//! lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{AcquireError, SessionHandle};
use crate::clerk::shared::Shared;
use crate::clerk::single_flight::SingleFlight;
use crate::types::SessionId;

/// How long something is tried.
#[derive(Debug, Clone, Copy)]
pub(in crate::clerk) struct Within {
    pub(in crate::clerk) after: Duration,
    pub(in crate::clerk) deadline: Instant,
}

impl Within {
    /// From now on.
    pub(in crate::clerk) fn new(after: Duration) -> Self {
        Self {
            after,
            deadline: Instant::now() + after,
        }
    }
}

/// The clerk's current session.
#[derive(Debug, Default)]
pub(in crate::clerk) struct CurrentSession {
    current: SingleFlight<SessionHandle, AcquireError>,
    is_closed: AtomicBool,
}

impl CurrentSession {
    /// Returns the current session. Opens one if needed, after the clerk's session without a lease.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(in crate::clerk) async fn current(
        &self,
        shared: &Arc<Shared>,
        within: Within,
    ) -> Result<Arc<SessionHandle>, AcquireError> {
        self.check()?;
        let session = shared.session(within.deadline).await;
        let session = session.map_err(|error| shared.not_acquired(error, within.after))?;
        session.ok_or(AcquireError::Closed)?;
        let open = || SessionHandle::open(shared.clone());
        let current = self.current.get(SessionHandle::is_of_use, open);
        let handle = timeout_at(within.deadline, current)
            .await
            .unwrap_or_else(|_| Err(shared.not_opened(within.after)))?;
        self.check()?;
        Ok(handle)
    }

    /// The sessions that the current one runs inside, the nearest first; none if there is no
    /// current one.
    pub(in crate::clerk) fn outer(&self) -> Option<Vec<SessionId>> {
        let handle = self.current.peek()?;
        Some(handle.session.inside.clone())
    }

    /// Opens no more sessions from here on, and gives the current one. One that is being opened
    /// meanwhile is not kept, and a call that waits for it finds this closed.
    pub(in crate::clerk) fn close(&self) -> Option<Arc<SessionHandle>> {
        self.is_closed.store(true, Ordering::SeqCst);
        self.current.take()
    }

    fn check(&self) -> Result<(), AcquireError> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(AcquireError::Closed);
        }
        Ok(())
    }
}
