//! Hands clients' requests to the primary, over a connection that is kept while it works.
//!
//! A primary answers a call soon, or not at all. A connection on which nothing comes for two
//! `peer_timeout`s while a call waits leads nowhere: it is given up, and the next one is dialled
//! with small segments. Polls may wait for long, and say nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::core::RelayId;
use super::inbox::{FromPeer, PeerInbox};
use super::peer::{Connection, Peer, unhurried};
use crate::service::Request;

/// The driver's end of the relay connection. It is hung up when this is dropped.
#[derive(Debug)]
pub(super) struct RelayQueue {
    requests: mpsc::Sender<(RelayId, Request)>,
    led_nowhere: Arc<AtomicBool>,
    _hang_up: DropGuard,
}

impl RelayQueue {
    /// Dials the peer; what is sent meanwhile follows. `capacity`: how many may be on their way.
    /// `patience`: how long nothing may come while a call waits.
    pub(super) fn spawn(peer: Peer, capacity: usize, patience: Duration, inbox: PeerInbox) -> Self {
        let (requests, queue) = mpsc::channel(capacity);
        let hang_up = CancellationToken::new();
        let led_nowhere = Arc::<AtomicBool>::default();
        let (end, nowhere) = (hang_up.clone(), led_nowhere.clone());
        tokio::spawn(async move {
            let relaying = Relaying {
                patience,
                calls: 0,
                heard: Instant::now(),
            };
            if relaying.run(peer, capacity, queue, inbox, end).await == End::Silence {
                nowhere.store(true, Ordering::Relaxed);
            }
        });
        Self {
            requests,
            led_nowhere,
            _hang_up: hang_up.drop_guard(),
        }
    }

    /// Whether the connection was given up since nothing came on it.
    pub(super) fn led_nowhere(&self) -> bool {
        self.led_nowhere.load(Ordering::Relaxed)
    }

    /// Sends a request. False when the connection is gone.
    pub(super) fn send(&self, relay: RelayId, request: &Request) -> bool {
        self.requests.try_send((relay, request.clone())).is_ok()
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    /// A call was waiting, and nothing came.
    Silence,
}

/// What is on its way over a connection.
#[derive(Debug)]
struct Relaying {
    patience: Duration,
    /// How many wait that are no polls.
    calls: usize,
    /// When the last answer came, or the first of the calls that wait was sent.
    heard: Instant,
}

impl Relaying {
    /// Runs until the connection ends. Every request that was taken is reported, answered or not.
    async fn run(
        mut self,
        peer: Peer,
        capacity: usize,
        mut queue: mpsc::Receiver<(RelayId, Request)>,
        inbox: PeerInbox,
        hang_up: CancellationToken,
    ) -> End {
        let mut answers = FuturesUnordered::new();
        let mut end = End::Closed;
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
                let silence = sleep_until(self.heard + self.patience);
                tokio::select! {
                    biased;
                    () = hang_up.cancelled() => break,
                    () = &mut running => break,
                    Some((relay, is_call, result)) = answers.next() => {
                        self.calls -= usize::from(is_call);
                        self.heard = Instant::now();
                        inbox.send(FromPeer::Relayed { relay, result }).await;
                    }
                    Some((relay, request)) = queue.recv() => {
                        let client = client.clone();
                        let is_call = !matches!(request, Request::Poll { .. });
                        if is_call && self.calls == 0 {
                            self.heard = Instant::now();
                        }
                        self.calls += usize::from(is_call);
                        answers.push(async move {
                            (relay, is_call, client.relay(unhurried(), request).await.ok())
                        });
                    }
                    () = silence, if self.calls > 0 => {
                        end = End::Silence;
                        break;
                    }
                }
            }
        }
        queue.close();
        while let Some((relay, _, result)) = answers.next().await {
            inbox.send(FromPeer::Relayed { relay, result }).await;
        }
        while let Some((relay, _)) = queue.recv().await {
            let result = None;
            inbox.send(FromPeer::Relayed { relay, result }).await;
        }
        end
    }
}
