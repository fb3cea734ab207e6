//! What the other server asks: all of it is the driver's to answer.

use tarpc::context::Context;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::PairHandle;
use super::core::InStream;
use super::inbox::FromPeer;
use crate::config::{LONGEST_WAIT, MAX_FRAME_BYTES};
use crate::engine::Via;
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction, Replication};
use crate::rpc::serve::{AdmissionControl, Idle, answer_requests};
use crate::rpc::{accept, server_transport};
use crate::service::{Answer, Refusal, Request};
use crate::transport::Stream;
use crate::types::View;

/// How many requests of the peer may be in flight on one connection: every client's call may be
/// relayed, and is counted against the limit of calls.
const PEER_REQUESTS: usize = usize::MAX;

/// Serves a connection from the peer until it ends, the engine hangs up, or the server stops.
pub(super) async fn serve(
    pair: &PairHandle,
    link: InStream,
    mut stream: Stream,
    stopping: &CancellationToken,
) {
    let hang_up = CancellationToken::new();
    let accepted = FromPeer::Accepted {
        stream: link,
        hang_up: hang_up.clone(),
    };
    pair.peers.send(accepted).await;
    if accept(&mut stream).await.is_ok() {
        let pair = pair.clone();
        let rpc = ReplicationRpc { pair, link }.serve();
        let transport = server_transport(stream, MAX_FRAME_BYTES);
        let quota = AdmissionControl::new(PEER_REQUESTS).quota();
        let idle = Idle::new(LONGEST_WAIT);
        tokio::select! {
            biased;
            () = hang_up.cancelled() => {}
            () = answer_requests(
                transport,
                rpc,
                |_| false,
                PEER_REQUESTS,
                quota,
                idle,
                stopping,
            ) => {}
        }
    }
    let closed = FromPeer::InStreamClosed { stream: link };
    pair.peers.send(closed).await;
}

/// Implements [`Replication`] for one connection from the peer.
#[derive(Debug, Clone)]
struct ReplicationRpc {
    pair: PairHandle,
    link: InStream,
}

impl ReplicationRpc {
    /// Tells the driver, and waits for its introduction.
    async fn introduce(
        &self,
        message: impl FnOnce(oneshot::Sender<Introduction>) -> FromPeer,
    ) -> Introduction {
        let (to, introduction) = oneshot::channel();
        self.pair.peers.send(message(to)).await;
        match introduction.await {
            Ok(introduction) => introduction,
            // The server is stopping: say nothing, the connection is about to end.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Replication for ReplicationRpc {
    async fn probe(self, _: Context, asker: Introduction) -> Introduction {
        let stream = self.link;
        self.introduce(|to| FromPeer::Probe { stream, asker, to })
            .await
    }

    async fn append(self, _: Context, frame: Frame) -> FrameAnswer {
        let (to, answer) = oneshot::channel();
        let stream = self.link;
        let frame = FromPeer::Frame { stream, frame, to };
        self.pair.peers.send(frame).await;
        answer.await.unwrap_or(FrameAnswer::Closed)
    }

    async fn announce_view(self, _: Context, view: View) {
        let announced = FromPeer::ViewAnnounced { view };
        self.pair.peers.send(announced).await;
    }

    async fn relay(self, _: Context, request: Request) -> Result<Answer, Refusal> {
        self.pair.submit(Via::Peer, request).await
    }

    async fn dismiss(self, _: Context, view: View) -> Introduction {
        let stream = self.link;
        self.introduce(|to| FromPeer::Dismissed { stream, view, to })
            .await
    }
}
