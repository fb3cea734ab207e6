//! Hands clients' requests to the primary, over a connection that is kept while it works.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::core::RelayId;
use super::inbox::{FromPeer, PeerInbox};
use super::peer::{Connection, Peer, unhurried};
use crate::service::Request;

/// The driver's end of the relay connection. It is hung up when this is dropped.
#[derive(Debug)]
pub(super) struct Relays {
    requests: mpsc::Sender<(RelayId, Request)>,
    _hang_up: DropGuard,
}

impl Relays {
    /// Dials the peer; what is sent meanwhile follows. `capacity`: how many may be on their way.
    pub(super) fn spawn(peer: Peer, capacity: usize, inbox: PeerInbox) -> Self {
        let (requests, queue) = mpsc::channel(capacity);
        let hang_up = CancellationToken::new();
        tokio::spawn(run(peer, capacity, queue, inbox, hang_up.clone()));
        Self {
            requests,
            _hang_up: hang_up.drop_guard(),
        }
    }

    /// Sends a request. False when the connection is gone.
    pub(super) fn send(&self, relay: RelayId, request: &Request) -> bool {
        self.requests.try_send((relay, request.clone())).is_ok()
    }
}

/// Runs until the connection ends. Every request that was taken is reported, answered or not.
async fn run(
    peer: Peer,
    capacity: usize,
    mut queue: mpsc::Receiver<(RelayId, Request)>,
    inbox: PeerInbox,
    hang_up: CancellationToken,
) {
    let mut answers = FuturesUnordered::new();
    let connection = tokio::select! {
        biased;
        () = hang_up.cancelled() => None,
        connection = peer.connect("relayed requests", capacity) => connection.ok(),
    };
    if let Some(Connection {
        client,
        mut running,
    }) = connection
    {
        loop {
            tokio::select! {
                biased;
                () = hang_up.cancelled() => break,
                () = &mut running => break,
                Some((relay, result)) = answers.next() => {
                    inbox.send(FromPeer::Relayed { relay, result }).await;
                }
                Some((relay, request)) = queue.recv() => {
                    let client = client.clone();
                    answers.push(async move {
                        (relay, client.relay(unhurried(), request).await.ok())
                    });
                }
            }
        }
    }
    queue.close();
    while let Some((relay, result)) = answers.next().await {
        inbox.send(FromPeer::Relayed { relay, result }).await;
    }
    while let Some((relay, _)) = queue.recv().await {
        let result = None;
        inbox.send(FromPeer::Relayed { relay, result }).await;
    }
}
