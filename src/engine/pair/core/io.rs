//! What goes into the role machine and what comes out of it.

use std::time::Duration;

use super::Event;
use crate::config::{Limits, Timing};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction};
use crate::engine::{Now, Via};
use crate::service::{Answer, Obstacle, Refusal, Request};
use crate::types::{OpNumber, ServerId, View};

/// A link that this server dialled. Numbered by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutStream(pub u64);

/// A connection from the peer that this server accepted. Numbered by the shell, in the order in
/// which they were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InStream(pub u64);

/// A frame that this server sent. Numbers rise across links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNumber(pub u64);

/// A probe of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// A request on its way to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub u64);

/// What a server is told when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which server of the pair it is.
    pub me: ServerId,
    /// Whether it may form a pair of one when no peer answers.
    pub standalone: bool,
    /// See [`Timing::peer_timeout`].
    pub peer_timeout: Duration,
    /// See [`Timing::feed_timeout`].
    pub feed_timeout: Duration,
    /// See [`Timing::session_time_to_live`].
    pub session_time_to_live: Duration,
    /// Its limits.
    pub limits: Limits,
    /// The wall clock when it started, in microseconds since 1970. A new pair's op numbers begin at
    /// the wall clock, and a server that joins is given no marks below the time of its start, so
    /// that they are above all that were given before.
    pub started_at: u64,
    /// What makes the [`ClusterId`](crate::types::ClusterId) of a pair that it forms: random, from
    /// the shell.
    pub cluster_seed: u64,
}

impl Settings {
    /// The settings of server `me`, with a seed of 0.
    #[must_use]
    pub const fn new(
        me: ServerId,
        alone: bool,
        timing: Timing,
        limits: Limits,
        started_at: u64,
    ) -> Self {
        Self {
            me,
            standalone: alone,
            peer_timeout: timing.peer_timeout,
            feed_timeout: timing.feed_timeout,
            session_time_to_live: timing.session_time_to_live,
            limits,
            started_at,
            cluster_seed: 0,
        }
    }

    /// What the wall clock says, as an op number, if nobody has set it since the server started.
    pub(super) fn wall_clock(&self, now: Now) -> OpNumber {
        let running = u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX);
        OpNumber(self.started_at.saturating_add(running))
    }
}

/// What happened. `T` is whatever the shell answers a request with; the core only hands it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input<T> {
    /// Nothing but that time has passed. Due at [`Core::next_wake`](super::Core::next_wake).
    Wake,
    /// A client asks. Answered by [`Effect::Reply`], sooner or later.
    Request {
        /// Where the answer goes.
        to: T,
        /// How it came.
        via: Via,
        /// What is asked.
        request: Request,
    },
    /// The peer probes this server. Answered in the same step by [`Effect::Introduction`].
    Probe {
        /// The connection that it came on.
        stream: InStream,
        /// What the peer says of itself.
        asker: Introduction,
    },
    /// A frame of the peer's. Answered in the same step by [`Effect::FrameAnswer`].
    Frame {
        /// The connection that it came on.
        stream: InStream,
        /// The frame.
        frame: Frame,
    },
    /// A connection from the peer ended.
    InStreamClosed {
        /// Which.
        stream: InStream,
    },
    /// The answer to a frame that this server sent.
    FrameAnswered {
        /// On which link.
        stream: OutStream,
        /// Which frame.
        frame: FrameNumber,
        /// The answer.
        answer: FrameAnswer,
    },
    /// A link that this server dialled could not be opened, or ended.
    OutStreamClosed {
        /// Which.
        stream: OutStream,
    },
    /// A probe ended.
    Probed {
        /// Which.
        probe: ProbeId,
        /// How.
        result: ProbeResult,
    },
    /// A relayed request ended.
    Relayed {
        /// Which.
        relay: RelayId,
        /// The primary's answer; none if the connection failed.
        result: Option<Result<Answer, Refusal>>,
    },
    /// The peer says that it has a higher view.
    ViewAnnounced {
        /// That view.
        view: View,
    },
    /// The peer asks this server to step down as its backup. Answered in the same step by
    /// [`Effect::Introduction`].
    Dismissed {
        /// The connection that it came on.
        stream: InStream,
        /// The peer's view.
        view: View,
    },
    /// This server is asked to end: it hands over to its peer first. Done at
    /// [`Core::has_handed_over`](super::Core::has_handed_over).
    End,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeResult {
    /// The peer answered.
    Answered(Introduction),
    /// Nobody listens at the peer's address.
    Refused,
    /// The connection broke before the answer.
    Broken,
    /// What answered is not the peer, or cannot be.
    Obstructed(Obstacle),
}

/// An answer to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// Where it goes.
    pub to: T,
    /// What it is.
    pub result: Result<Answer, Refusal>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<T> {
    /// Answer a client.
    Reply(Reply<T>),
    /// Answer the frame of this step.
    FrameAnswer(FrameAnswer),
    /// Answer the probe of this step.
    Introduction(Introduction),
    /// Dial the peer and send the opening frame.
    OpenStream {
        /// The new link.
        stream: OutStream,
        /// The number of the opening frame.
        number: FrameNumber,
        /// The opening frame.
        frame: Frame,
        /// Large packets may get lost on the way.
        small_segments: bool,
    },
    /// Send a frame on a link.
    Send {
        /// Which link.
        stream: OutStream,
        /// The number of the frame.
        number: FrameNumber,
        /// The frame.
        frame: Frame,
    },
    /// Hang up a link that this server dialled.
    CloseOutStream(OutStream),
    /// Hang up a link that this server accepted.
    CloseInStream(InStream),
    /// Dial the peer anew and ask who it is.
    Probe {
        /// Which probe this is.
        probe: ProbeId,
        /// How long to wait before.
        pause: Duration,
        /// What this server says of itself.
        asker: Introduction,
    },
    /// Dial the peer anew and ask it to step down as backup of `view`. Its answer is that of a
    /// probe.
    Dismiss {
        /// As a probe.
        probe: ProbeId,
        /// This server's view.
        view: View,
    },
    /// Tell the peer that this server has a higher view.
    AnnounceView {
        /// That view.
        view: View,
    },
    /// Hand a request to the primary.
    Relay {
        /// Which relay this is.
        relay: RelayId,
        /// What is asked.
        request: Request,
    },
    /// Stop waiting for relayed requests: the peer is not primary any more.
    AbandonRelays,
    /// Report.
    Event(Event),
}
