//! What the other server asks: all of it is the driver's to answer.

use tarpc::context::Context;

use crate::engine::pair::PairHandle;
use crate::engine::pair::core::{InStream, Via};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction, Replication};
use crate::service::{Answer, Refusal, Request};
use crate::types::View;

/// Implements [`Replication`] for one connection from the peer.
#[derive(Debug, Clone)]
pub(super) struct ReplicationRpc {
    pair: PairHandle,
    link: InStream,
}

impl ReplicationRpc {
    pub(super) const fn new(pair: PairHandle, stream_id: InStream) -> Self {
        Self {
            pair,
            link: stream_id,
        }
    }
}

impl Replication for ReplicationRpc {
    async fn probe(self, _: Context, asker: Introduction) -> Introduction {
        match self.pair.answer_probe(self.link, asker).await {
            Some(introduction) => introduction,
            // The server is stopping: say nothing, the connection is about to end.
            None => std::future::pending().await,
        }
    }

    async fn append(self, _: Context, frame: Frame) -> FrameAnswer {
        self.pair.append(self.link, frame).await
    }

    async fn announce_view(self, _: Context, view: View) {
        self.pair.view_announced(view).await;
    }

    async fn relay(self, _: Context, request: Request) -> Result<Answer, Refusal> {
        self.pair.submit(Via::Peer, request).await
    }

    async fn dismiss(self, _: Context, view: View) -> Introduction {
        match self.pair.dismissed(self.link, view).await {
            Some(introduction) => introduction,
            // The server is stopping, as above.
            None => std::future::pending().await,
        }
    }
}
