//! What the driver is told. Two queues, so that clients cannot crowd out the other server.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::core::{FrameNumber, InLink, OutLink, Overview, ProbeId, ProbeResult, RelayId, Via};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction};
use crate::service::{Answer, Refusal, Request};
use crate::types::View;

/// Where the answer to a request goes.
pub(super) type ReplyTo = oneshot::Sender<Result<Answer, Refusal>>;

/// From clients, and from the peer on their behalf.
#[derive(Debug)]
pub(super) enum FromClient {
    Request {
        via: Via,
        request: Request,
        to: ReplyTo,
    },
    Overview {
        to: oneshot::Sender<Overview>,
    },
    /// The server is asked to end. Answered when it has handed over.
    End {
        handed_over: oneshot::Sender<()>,
    },
}

/// From the other server, and from the tasks that talk to it.
#[derive(Debug)]
pub(super) enum FromPeer {
    /// A connection was accepted from the peer. Comes before anything that is said on it.
    Accepted {
        link: InLink,
        hang_up: CancellationToken,
    },
    Who {
        link: InLink,
        asker: Introduction,
        to: oneshot::Sender<Introduction>,
    },
    Frame {
        link: InLink,
        frame: Frame,
        to: oneshot::Sender<FrameAnswer>,
    },
    Fence {
        view: View,
    },
    Dismissed {
        link: InLink,
        view: View,
        to: oneshot::Sender<Introduction>,
    },
    InLinkClosed {
        link: InLink,
    },
    FrameAnswered {
        link: OutLink,
        frame: FrameNumber,
        answer: FrameAnswer,
    },
    OutLinkClosed {
        link: OutLink,
    },
    Probed {
        probe: ProbeId,
        result: ProbeResult,
    },
    Relayed {
        relay: RelayId,
        result: Option<Result<Answer, Refusal>>,
    },
}

/// The way in for what concerns the other server.
#[derive(Debug, Clone)]
pub(super) struct PeerInbox(pub(super) mpsc::Sender<FromPeer>);

impl PeerInbox {
    /// Tells the driver. There is nobody to tell once the server has stopped.
    pub(super) async fn send(&self, message: FromPeer) {
        let _ = self.0.send(message).await;
    }
}
