//! The forwarder: one task for each link that this server dials as primary.
//!
//! It sends what the core gives it, in order, and brings the answers back. It decides nothing: what
//! to send, what an answer means and when a link is too slow is the core's business.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::core::{FrameNumber, OutStream};
use super::inbox::{FromPeer, PeerInbox};
use super::peer::{Connection, Peer, unhurried};
use crate::engine::pair::protocol::Frame;

/// A frame with a payload and a heartbeat are on their way at a time, so there is always room.
const FRAMES_IN_FLIGHT: usize = 4;

/// The driver's end of a link. The link is hung up when this is dropped.
#[derive(Debug)]
pub(super) struct Forwarder {
    frames: mpsc::Sender<(FrameNumber, Frame)>,
    _hang_up: DropGuard,
}

impl Forwarder {
    /// Dials the peer; what is sent meanwhile follows.
    pub(super) fn spawn(peer: Peer, stream: OutStream, inbox: PeerInbox) -> Self {
        let (frames, queue) = mpsc::channel(FRAMES_IN_FLIGHT);
        let hang_up = CancellationToken::new();
        let end = hang_up.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                () = run(&peer, stream, queue, &inbox) => {
                    inbox.send(FromPeer::OutStreamClosed { stream }).await;
                }
            }
        });
        Self {
            frames,
            _hang_up: hang_up.drop_guard(),
        }
    }

    /// Sends a frame. A link that is gone says so itself.
    pub(super) fn send(&self, number: FrameNumber, frame: Frame) {
        let _ = self.frames.try_send((number, frame));
    }
}

/// Runs until the connection ends.
async fn run(
    peer: &Peer,
    stream: OutStream,
    mut queue: mpsc::Receiver<(FrameNumber, Frame)>,
    inbox: &PeerInbox,
) {
    let Ok(Connection {
        client,
        mut running,
    }) = peer.connect("replication", FRAMES_IN_FLIGHT).await
    else {
        return;
    };
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((frame, answer)) = answers.next() => {
                let Ok(answer) = answer else { return };
                inbox.send(FromPeer::FrameAnswered { stream, frame, answer }).await;
            }
            () = &mut running => return,
            Some((number, frame)) = queue.recv() => {
                let client = client.clone();
                answers.push(async move {
                    (number, client.append(unhurried(), frame).await)
                });
            }
        }
    }
}
