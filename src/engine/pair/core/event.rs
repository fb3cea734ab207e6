//! What the role machine reports: every change of role or view, with its reason, in one line.

use std::fmt;
use std::time::Duration;

use super::limits::differ;
use crate::engine::leader::LeaderEvent;
use crate::engine::pair::protocol::{Dropped, StateLimits};
use crate::service::Obstacle;
use crate::types::{Digest, OpNumber, View};

/// Why a peer counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// Nobody listens at its address.
    Refused,
    /// A probe found it starting: it has lost its state.
    Restarted,
    /// A probe went unanswered for a whole `peer_timeout`.
    Silent,
    /// Its op number does not fit this server's log.
    Diverged,
    /// It was asked to end, and has given up its role.
    Retired,
    /// It could not be fed, and has stepped down when it was asked to.
    LetGo,
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "nobody listens at the peer's address",
            Self::Restarted => "the peer was restarted and has lost its state",
            Self::Silent => "the peer did not answer a probe for a whole peer timeout",
            Self::Diverged => "the peer's log does not fit this server's",
            Self::LetGo => "the peer could not be fed and has stepped down, as it was asked to",
            Self::Retired => "the peer was asked to end and has handed over",
        })
    }
}

/// Why a server gives up its role and its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepDownReason {
    /// The peer has a higher view.
    HigherView(View),
    /// This server was stopped for so long that the peer may have taken over, and the peer is gone.
    Unconfirmed(FailureCause),
    /// The primary cannot feed this server, and asked it to.
    Dismissed,
    /// This server's state differs from the primary's.
    Diverged {
        /// Where.
        op: OpNumber,
        /// The primary's digest there.
        theirs: Digest,
        /// This server's.
        ours: Digest,
    },
}

impl fmt::Display for StepDownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dismissed => f.write_str("the primary cannot feed this server, and asked it to"),
            Self::HigherView(view) => write!(f, "the peer has the higher view {view}"),
            Self::Unconfirmed(cause) => write!(
                f,
                "this server was stopped, the peer may have taken over meanwhile, and now {cause}"
            ),
            Self::Diverged { op, theirs, ours } => write!(
                f,
                "its state differs from the primary's at op {op}: digest {ours} here, {theirs} there"
            ),
        }
    }
}

/// Something that an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Both servers were starting: this one became primary of a new pair, with an empty lock table.
    Formed {
        /// The new view.
        view: View,
    },
    /// This server was told to go without a peer, and no peer answered.
    FormedStandalone {
        /// The new view.
        view: View,
    },
    /// This server became backup of the view.
    BecameBackup {
        /// The view.
        view: View,
        /// Where its state stands.
        op: OpNumber,
    },
    /// A backup became an alone primary.
    TookOver {
        /// The new view.
        view: View,
        /// The last op it has.
        op: OpNumber,
        /// Why the primary counts as dead.
        cause: FailureCause,
    },
    /// A primary lost its backup and goes on alone.
    WentStandalone {
        /// The new view.
        view: View,
        /// Why the backup counts as dead.
        cause: FailureCause,
    },
    /// This server gave up its role and its state, and waits to be synced.
    SteppedDown {
        /// The view that it was in.
        view: View,
        /// Why.
        reason: StepDownReason,
        /// What is lost with its state, if it was a primary without a backup.
        dropped: Option<Dropped>,
    },
    /// The peer has dropped what it had done alone, while this server went on without it.
    PeerDropped {
        /// What that was.
        dropped: Dropped,
    },
    /// This server was asked to end, and gave up its role and its state: its peer goes on.
    Retired {
        /// The view that it was in, if any.
        view: Option<View>,
    },
    /// The alone primary sends a copy of its state to the peer.
    SyncBegan {
        /// Where the copy stands.
        op: OpNumber,
    },
    /// The copy was broken off; there will be another.
    SyncBroken,
    /// The peer has nearly caught up: it is backup of a new view.
    BackupJoining {
        /// The new view.
        view: View,
    },
    /// The pair is whole again.
    BackupJoined {
        /// The view.
        view: View,
    },
    /// The link with the peer is suspect: the peer is probed.
    Suspect {
        /// Why.
        reason: Suspicion,
    },
    /// A frame was not acknowledged for a whole `peer_timeout`, while the peer answers probes:
    /// large packets get lost, it seems. From now on frames are small.
    FrameLost {
        /// How much it held.
        bytes: usize,
    },
    /// A frame as large as the one that got lost has passed.
    FramePassed {
        /// How much it held.
        bytes: usize,
    },
    /// The backup answers and cannot be fed: it is asked to step down.
    Dismissing {
        /// The view.
        view: View,
        /// For how long nothing has got through.
        unfed: Duration,
    },
    /// The peer answered as expected: its link goes on.
    Resumed,
    /// This server was not running for so long that the peer may have decided without it.
    Unconfirmed {
        /// How late its clock tick came.
        late: Duration,
    },
    /// This server does not pair with what it finds at the peer's address. Told once.
    Obstructed {
        /// Why.
        obstacle: Obstacle,
    },
    /// The peer's state may become larger or less large than this server's. Told once.
    LimitsDiffer {
        /// Of this server.
        ours: StateLimits,
        /// Of the peer.
        theirs: StateLimits,
    },
    /// What any leader reports.
    Leader(LeaderEvent),
}

/// Why a link is suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// Its connection ended.
    StreamClosed,
    /// Nothing came for too long.
    Silence,
    /// A relayed request failed on the way.
    RelayFailed,
    /// The peer asked in a way that does not fit what this server believes of it.
    StrangeQuestion,
    /// A frame did not fit the link.
    BadFrame,
    /// A frame was not acknowledged for too long.
    Unacknowledged,
    /// This server was not running for a while.
    Unconfirmed,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StreamClosed => "its connection ended",
            Self::Silence => "nothing came from it",
            Self::RelayFailed => "a relayed request failed on the way",
            Self::StrangeQuestion => "the peer's view is not the expected one",
            Self::BadFrame => "a frame did not fit",
            Self::Unacknowledged => "a frame was not acknowledged",
            Self::Unconfirmed => "this server was not running for a while",
        })
    }
}

fn stepped_down(
    f: &mut fmt::Formatter<'_>,
    view: View,
    reason: StepDownReason,
    dropped: Option<Dropped>,
) -> fmt::Result {
    write!(f, "stepped down from view {view}, state dropped: {reason}")?;
    dropped.iter().try_for_each(|dropped| {
        write!(
            f,
            ". Both servers had gone on without the other, and what this one did is lost: {dropped}"
        )
    })
}

fn peer_dropped(f: &mut fmt::Formatter<'_>, dropped: &Dropped) -> fmt::Result {
    let Dropped { view, .. } = dropped;
    write!(
        f,
        "both servers had gone on without the other, and what the peer did in view {view} is lost: \
         {dropped}"
    )
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Formed { view } => write!(
                f,
                "primary of view {view}: both servers were starting, the lock table is empty"
            ),
            Self::FormedStandalone { view } => write!(
                f,
                "primary of view {view}, alone: told so, and no peer answered; the lock table is empty"
            ),
            Self::BecameBackup { view, op } => write!(f, "backup of view {view} at op {op}"),
            Self::TookOver { view, op, cause } => {
                write!(
                    f,
                    "took over as primary of view {view}, alone, at op {op}: {cause}"
                )
            }
            Self::WentStandalone { view, cause: death } => {
                write!(f, "primary of view {view}, going on alone: {death}")
            }
            Self::SteppedDown {
                view,
                reason: step_down,
                dropped,
            } => stepped_down(f, *view, *step_down, *dropped),
            Self::PeerDropped { dropped } => peer_dropped(f, dropped),
            Self::Retired { view: Some(view) } => {
                write!(f, "handed over, asked to end: gave up view {view}")
            }
            Self::Retired { view: None } => {
                f.write_str("asked to end; there is nothing to hand over")
            }
            Self::SyncBegan { op } => write!(f, "syncing the peer from op {op}"),
            Self::SyncBroken => f.write_str("the sync of the peer broke off"),
            Self::BackupJoining { view } => {
                write!(
                    f,
                    "primary of view {view}: the peer has caught up and joins as backup"
                )
            }
            Self::BackupJoined { view } => {
                write!(f, "the pair is whole: the peer is backup of view {view}")
            }
            Self::Suspect { reason } => write!(f, "the link with the peer is suspect: {reason}"),
            Self::FrameLost { bytes } => write!(
                f,
                "a frame of {bytes} bytes was not acknowledged, though the peer answers: large packets \
                 seem to get lost between the servers; frames are small from now on"
            ),
            Self::FramePassed { bytes } => {
                write!(
                    f,
                    "a frame of {bytes} bytes has passed: frames may be large again"
                )
            }
            Self::Dismissing { view, unfed } => write!(
                f,
                "the backup of view {view} answers, but nothing got through to it for {unfed:?}: \
                 asking it to step down"
            ),
            Self::Resumed => f.write_str("the peer answered: the link goes on"),
            Self::Unconfirmed { late } => write!(
                f,
                "this server was not running for {late:?}: it is in doubt until its peer has answered"
            ),
            Self::Obstructed { obstacle } => {
                write!(f, "cannot pair with the peer: {obstacle}")
            }
            Self::LimitsDiffer { ours, theirs } => differ(f, *ours, *theirs),
            Self::Leader(event) => event.fmt(f),
        }
    }
}

impl From<LeaderEvent> for Event {
    fn from(event: LeaderEvent) -> Self {
        Self::Leader(event)
    }
}
