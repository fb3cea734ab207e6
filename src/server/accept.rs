//! The accept loop: takes connections, and keeps count of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Shared, connection};
use crate::net::{Listener, Rejection, Stream, reject};

/// How long to wait when no connection can be taken: until others have ended and given their
/// descriptors back.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections beyond the limit may be saying what they are. One of them may be the peer,
/// which is never turned away.
const GREETING: usize = 1_024;

/// Takes connections, and owns their tasks.
pub(super) struct Acceptor {
    listener: Option<Listener>,
    shared: Arc<Shared>,
    clients: Arc<AtomicUsize>,
    connections: JoinSet<()>,
}

impl Acceptor {
    pub(super) fn new(listener: Listener, shared: Arc<Shared>) -> Self {
        Self {
            listener: Some(listener),
            shared,
            clients: Arc::new(AtomicUsize::new(0)),
            connections: JoinSet::new(),
        }
    }

    /// Accepts for ever.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was accepted goes on.
    pub(super) async fn run(&mut self) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                Some(_) = self.connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, who)) => {
                        failing = false;
                        admit(&mut self.connections, &self.shared, &self.clients, stream, who);
                    }
                    Err(error) => {
                        complain_once(&mut failing, &error);
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Accepts until `done` completes.
    pub(super) async fn accept_until(&mut self, done: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = done => {}
            () = self.run() => {}
        }
    }

    /// Waits until every connection has ended, and stops listening. Connections that come meanwhile are
    /// not waited for: the peer's are served, so that it hears what it asks; clients' are closed.
    pub(super) async fn drain(&mut self) {
        let mut connections = std::mem::take(&mut self.connections);
        let ended = async { while connections.join_next().await.is_some() {} };
        self.accept_until(ended).await;
        self.listener = None;
    }
}

fn admit(
    connections: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    clients: &Arc<AtomicUsize>,
    mut stream: Stream,
    who: String,
) {
    // Numbered here, in the order of arrival: what was accepted before a link must not take its place.
    let link = shared.pair.number_link();
    if connections.len() >= shared.config.limits.connections + GREETING {
        connections.spawn(async move {
            let _ = reject(&mut stream, Rejection::Busy).await;
        });
        return;
    }
    let shared = shared.clone();
    let seat = Seat(clients.clone());
    connections.spawn(connection::serve(shared, seat, link, stream, who));
}

/// Tells that no connection can be taken; not again until one could.
fn complain_once(failing: &mut bool, error: &io::Error) {
    if !*failing {
        tracing::warn!("cannot accept a connection: {error}");
    }
    *failing = true;
}

/// Counts the connections of clients.
pub(super) struct Seat(Arc<AtomicUsize>);

/// A place among the connections of clients, given back when dropped.
pub(super) struct Seated(Arc<AtomicUsize>);

impl Seat {
    /// Takes a place, if there is one.
    pub(super) fn take(self, limit: usize) -> Option<Seated> {
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        let seated = Seated(self.0);
        (taken < limit).then_some(seated)
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
