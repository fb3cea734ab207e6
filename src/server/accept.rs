//! The accept loop: takes connections, and keeps count of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::greeting::Greetings;
use super::{Shared, connection};
use crate::engine::ConnectionNumber;
use crate::transport::{Listener, Stream};

/// How long to wait when no connection can be taken: until others have ended and given their
/// descriptors back.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes connections, and owns their tasks.
pub(super) struct Acceptor {
    listener: Option<Listener>,
    shared: Arc<Shared>,
    clients: Arc<AtomicUsize>,
    connections: JoinSet<()>,
    greetings: Greetings,
    next_number: ConnectionNumber,
}

impl Acceptor {
    pub(super) fn new(listener: Listener, shared: Arc<Shared>) -> Self {
        Self {
            listener: Some(listener),
            shared,
            clients: Arc::new(AtomicUsize::new(0)),
            connections: JoinSet::new(),
            greetings: Greetings::default(),
            next_number: ConnectionNumber::default(),
        }
    }

    /// Accepts for ever.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was accepted goes on.
    pub(super) async fn run(&mut self) {
        loop {
            let Some(listener) = &mut self.listener else {
                return;
            };
            tokio::select! {
                biased;
                Some(_) = self.connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, who)) => {
                        self.admit(stream, who);
                        // A connection that makes room for it gives its descriptor back.
                        yield_now().await;
                    }
                    Err(error) => {
                        if let Some(untold) = self.shared.warnings.pass(&error.to_string()) {
                            tracing::warn!("cannot accept a connection: {error}{untold}");
                        }
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn admit(&mut self, stream: Stream, who: String) {
        let limits = &self.shared.config.limits;
        // Numbered here, in the order of arrival: what was accepted before a link must not take its
        // place.
        let number = self.next_number;
        self.next_number = number.next();
        let most = limits.connections + limits.greetings;
        if self.connections.len() >= most && !self.greetings.end_oldest() {
            if let Some(untold) = self.shared.warnings.pass("too many connections") {
                tracing::warn!(%who, "closed a connection: there are {most} already{untold}");
            }
            return;
        }
        let shared = self.shared.clone();
        let permits = ConnectionPermits(self.clients.clone());
        let greeting = self.greetings.begin();
        let serving = connection::serve(shared, permits, number, stream, who, greeting);
        self.connections.spawn(serving);
    }

    /// Accepts until `done` completes.
    pub(super) async fn accept_until(&mut self, done: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = done => {}
            () = self.run() => {}
        }
    }

    /// Waits until every connection has ended, and stops listening. Connections that come meanwhile
    /// are not waited for: the peer's are served, so that it hears what it asks; clients' are
    /// closed.
    pub(super) async fn drain(&mut self) {
        let mut connections = std::mem::take(&mut self.connections);
        let ended = async { while connections.join_next().await.is_some() {} };
        self.accept_until(ended).await;
        self.listener = None;
    }
}

/// Counts the connections of clients.
pub(super) struct ConnectionPermits(Arc<AtomicUsize>);

/// A place among the connections of clients, given back when dropped.
pub(super) struct ConnectionPermit(Arc<AtomicUsize>);

impl ConnectionPermits {
    /// Takes a place, if there is one.
    pub(super) fn take(self, limit: usize) -> Option<ConnectionPermit> {
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        let permit = ConnectionPermit(self.0);
        (taken < limit).then_some(permit)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
