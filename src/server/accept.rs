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

/// How long to wait when no connection can be accepted: until others have freed descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections, and owns their tasks.
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
    /// Safe: accepted connections continue.
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
                        // A connection that makes room for it frees its descriptor.
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
        // Numbered here, in the order of arrival: a connection that was accepted before a stream
        // must not replace it.
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

    /// Waits until every connection has ended, and stops listening. It does not wait for
    /// connections that arrive meanwhile: the peer's are served, so that its probes are answered;
    /// clients' are closed.
    pub(super) async fn drain(&mut self) {
        let mut connections = std::mem::take(&mut self.connections);
        let ended = async { while connections.join_next().await.is_some() {} };
        self.accept_until(ended).await;
        self.listener = None;
    }
}

/// Counts the connections of clients.
pub(super) struct ConnectionPermits(Arc<AtomicUsize>);

/// A client connection's share of the limit, freed when dropped.
pub(super) struct ConnectionPermit(Arc<AtomicUsize>);

impl ConnectionPermits {
    /// Takes a share, if one is left.
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
