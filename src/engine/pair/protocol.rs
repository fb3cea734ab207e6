//! What crosses the wire between the two servers of a pair: a tarpc service, and what it carries.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::machine::{Chunk, Command};
use crate::service::{Answer, Refusal, Request, kinds};
use crate::types::{ClusterId, Digest, OpNumber, View};

/// What the two servers of a pair ask of each other. `docs/protocol.md` tells the protocol.
#[tarpc::service]
pub trait Replication {
    /// A probe: who are you, and where do you stand? Answered by the task that owns the state.
    async fn probe(asker: Introduction) -> Introduction;
    /// A frame of the link from the primary to its backup.
    async fn append(frame: Frame) -> FrameAnswer;
    /// Tells a server of a lower view that a higher one exists.
    async fn announce_view(view: View);
    /// A client's request that a backup hands on to its primary.
    async fn relay(request: Request) -> Result<Answer, Refusal>;
    /// Asks a backup of `view` that cannot be fed to step down. Answered like `probe`.
    async fn dismiss(view: View) -> Introduction;
}

kinds!(ReplicationRequest, ReplicationResponse: Probe, Append, AnnounceView, Relay, Dismiss);

/// The question of a probe, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Introduction {
    /// Where the server stands.
    pub state: PeerState,
    /// The server's `peer_timeout`; two servers only pair if they have the same.
    pub peer_timeout: Duration,
    /// The highest number that it may have given to a command or a grant, in this life or an
    /// earlier one. A server that pairs with it gives higher ones.
    pub highest: OpNumber,
    /// What it had done alone when it gave its state up, until it has a state again.
    pub dropped: Option<Dropped>,
    /// How large its state may become.
    pub limits: StateLimits,
}

/// How large the state of a server may become. Either server may have to keep all of it, so the
/// smaller limits of the two apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateLimits {
    /// See [`Limits::clients`].
    pub clients: u64,
    /// See [`Limits::locks`].
    pub locks: u64,
    /// See [`Limits::memory`].
    pub memory: Option<u64>,
}

impl From<Limits> for StateLimits {
    fn from(limits: Limits) -> Self {
        let Limits {
            clients,
            locks,
            memory,
            ..
        } = limits;
        Self {
            clients,
            locks,
            memory,
        }
    }
}

/// What a primary without a backup had done when it gave its state up, since the other server had
/// gone on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dropped {
    /// The view that it was in.
    pub view: View,
    /// How many operations it had carried out since it had no backup.
    pub operations: u64,
    /// How many locks were held then.
    pub locks: u64,
    /// How many clients it knew then.
    pub clients: u64,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operations,
            locks,
            clients,
            ..
        } = self;
        write!(
            f,
            "operations since it had no backup: {operations}, locks held: {locks}, \
             clients known: {clients}"
        )
    }
}

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerState {
    /// It has no view and no state.
    Starting,
    /// It is the primary of `view`.
    Primary {
        /// Its view.
        view: View,
        /// The last op it applied.
        op: OpNumber,
    },
    /// It is the backup of `view`.
    Backup {
        /// Its view.
        view: View,
        /// The last op it applied.
        op: OpNumber,
    },
    /// It was asked to end, and has given up its role and its state.
    Retired {
        /// The view that it was in, if any.
        view: Option<View>,
    },
}

impl PeerState {
    /// The view that the server is in, or was in when it retired; none while it is starting.
    #[must_use]
    pub const fn view(self) -> Option<View> {
        match self {
            Self::Starting => None,
            Self::Primary { view, .. } | Self::Backup { view, .. } => Some(view),
            Self::Retired { view } => view,
        }
    }
}

/// A frame of the link from a primary to the other server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Frame {
    /// The first frame of a link. It closes every older link of the receiver, unread.
    Open {
        /// The sender's view.
        view: View,
        /// What the link is for.
        purpose: StreamPurpose,
        /// The sender's `peer_timeout`; both sides must have the same.
        peer_timeout: Duration,
    },
    /// A part of a consistent copy of the machine.
    SnapshotChunk {
        /// The sender's view.
        view: View,
        /// The part.
        chunk: Chunk,
    },
    /// Commands in op order. Without any it is a heartbeat.
    Forward {
        /// The sender's view.
        view: View,
        /// The op number of the first command, or of the next one that there will be.
        first_op: OpNumber,
        /// The commands.
        commands: Vec<Command>,
        /// The sender's digest after the last command, to compare with: a divergence must not go on
        /// unseen. None where the sender has since applied more.
        digest: Option<Digest>,
    },
    /// The receiver has everything up to `op`: it becomes backup of the new view.
    Join {
        /// The new view.
        view: View,
        /// The last op before it.
        op: OpNumber,
    },
}

impl Frame {
    /// The view under which the frame was sent.
    #[must_use]
    pub const fn view(&self) -> View {
        match self {
            Self::Open { view, .. }
            | Self::SnapshotChunk { view, .. }
            | Self::Forward { view, .. }
            | Self::Join { view, .. } => *view,
        }
    }
}

/// What a primary opens a link for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StreamPurpose {
    /// Both are starting: the receiver becomes backup with an empty machine.
    Form {
        /// The op number at which the empty machine stands.
        base: OpNumber,
        /// The cluster that begins.
        cluster: ClusterId,
    },
    /// The receiver is backup of the view: go on where the last link stopped.
    Resume,
    /// The receiver is starting: a copy of the machine follows.
    Sync,
}

/// The answer to a [`Frame`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FrameAnswer {
    /// The frame is taken, and everything up to `op` is applied.
    Ack {
        /// The last op that the receiver applied; where its copy stands while it is being synced.
        op: OpNumber,
    },
    /// The receiver has a higher view.
    HigherView {
        /// That view.
        view: View,
    },
    /// The link is closed: it is not the current one, or the frame did not fit.
    Closed,
    /// The link is closed: the two servers have different `peer_timeout`s.
    PeerTimeout {
        /// The receiver's.
        theirs: Duration,
    },
}
