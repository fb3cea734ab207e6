//! What the other server asks: all of it is the driver's to answer.

use tarpc::context::Context;

use crate::engine::pair::Pair;
use crate::engine::pair::core::{InLink, Via};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction, Replication};
use crate::service::{Answer, Refusal, Request};
use crate::types::View;

/// Implements [`Replication`] for one connection from the peer.
#[derive(Debug, Clone)]
pub(super) struct ReplicationRpc {
    pair: Pair,
    link: InLink,
}

impl ReplicationRpc {
    pub(super) const fn new(pair: Pair, link: InLink) -> Self {
        Self { pair, link }
    }
}

impl Replication for ReplicationRpc {
    async fn who(self, _: Context, asker: Introduction) -> Introduction {
        match self.pair.who(self.link, asker).await {
            Some(introduction) => introduction,
            // The server is stopping: say nothing, the connection is about to end.
            None => std::future::pending().await,
        }
    }

    async fn deliver(self, _: Context, frame: Frame) -> FrameAnswer {
        self.pair.deliver(self.link, frame).await
    }

    async fn fence(self, _: Context, view: View) {
        self.pair.fence(view).await;
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
