//! Why a lock is not to be had.

use super::error::InspectError;
use super::{Clerk, checked};
use crate::inspect::WaitGraph;
use crate::service::QueueEntryInfo;
use crate::types::{LockName, NameError};

/// How often all locks are looked at for a deadlock that is still there when it is looked at again.
const LOOKS: usize = 3;

impl Clerk {
    /// The holder of the lock `name` in whose session this clerk runs, if there is one, as
    /// [`ClerkBuilder::inside`](super::ClerkBuilder::inside) says. A session that waits for that
    /// lock waits for itself, unless the holder lets go of it before this clerk has finished.
    ///
    /// Once the clerk has asked for an owned lock, it knows all sessions that it runs inside;
    /// before that, only the nearest.
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
    pub async fn held_around(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<Option<QueueEntryInfo>, InspectError> {
        let nearest = || self.shared.terms.inside.into_iter().collect();
        let outer = self.sessions.outer().unwrap_or_else(nearest);
        if outer.is_empty() {
            return Ok(None);
        }
        let lock = self.show(name).await?;
        let mut holders = lock.holders().filter(|holder| !holder.is_left);
        Ok(holders
            .find(|holder| outer.contains(&holder.session))
            .cloned())
    }

    /// Who waits for whom: from those who hold the lock `name` to the locks that their sessions
    /// wait for, and so on, and whether they wait for each other in a circle.
    ///
    /// It lists all locks for that. A deadlock is told when it was there in two looks, by the same
    /// tokens. The servers know sessions, not the tasks in them: a session that holds in one task
    /// and waits in another may go on after all. One that waits for what it holds itself does not
    /// count.
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
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::Clerk;
    /// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
    /// let why = clerk.wait_graph("account/7").await?;
    /// for link in why.cycle() {
    ///     eprintln!("session {} waits for {:?}", link.who.session, link.waits_for);
    /// }
    /// if let Some(link) = why.cycle().first() && let Some(token) = link.held_by.token {
    ///     let broken = clerk.break_lock(&link.waits_for, token, "a deadlock").await?;
    ///     eprintln!("{broken:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_graph(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<WaitGraph, InspectError> {
        let name = checked(name)?;
        let mut looks = 1;
        loop {
            let graph = WaitGraph::new(&self.list("").await?, &name);
            let mut later = Vec::new();
            for name in graph.deadlock_set() {
                later.push(self.show(name).await?);
            }
            if graph.stands(&later) {
                return Ok(graph);
            }
            if looks == LOOKS {
                return Ok(graph.without_cycle());
            }
            looks += 1;
        }
    }
}
