//! What the driver is told. Two queues, so that clients cannot crowd out the other server.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::core::{FrameNumber, InStream, OutStream, ProbeId, ProbeResult, RelayId};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction};
use crate::engine::{EngineStatus, Via};
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
    Status {
        to: oneshot::Sender<EngineStatus>,
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
        stream: InStream,
        hang_up: CancellationToken,
    },
    Probe {
        stream: InStream,
        asker: Introduction,
        to: oneshot::Sender<Introduction>,
    },
    Frame {
        stream: InStream,
        frame: Frame,
        to: oneshot::Sender<FrameAnswer>,
    },
    ViewAnnounced {
        view: View,
    },
    Dismissed {
        stream: InStream,
        view: View,
        to: oneshot::Sender<Introduction>,
    },
    InStreamClosed {
        stream: InStream,
    },
    FrameAnswered {
        stream: OutStream,
        frame: FrameNumber,
        answer: FrameAnswer,
    },
    OutStreamClosed {
        stream: OutStream,
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
