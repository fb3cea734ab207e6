//! The role machine of a server of the pair: what it does, as a pure `step(now, input) -> effects`.
//!
//! No clock, no IO, no randomness, no tasks: the shell (the driver) hands in what happened and
//! when, and carries out what comes back. So the very code that runs can be explored, replayed and
//! simulated. The rules M1 to M12 of `docs/protocol.md` are marked where they are kept. Leaving any
//! of them out loses an acknowledged call, splits the pair or hangs a call within a few steps.
//!
//! A *link* is a connection on which a primary feeds the other server. It is [`OutStream`] to the
//! primary, which dials it, and [`InStream`] to the other side, which accepts it.

mod dismissal;
mod event;
mod failure_detector;
mod io;
mod limits;
mod overview;
mod passage;
mod primary;
mod receiver;
mod relays;
mod replication_queue;
mod retire;
mod sender;
mod suspicion;
#[cfg(test)]
mod tests;
mod transitions;
mod waiting;

pub use event::{Event, FailureCause, StepDownReason, Suspicion};
pub use io::{
    Effect, FrameNumber, InStream, Input, OutStream, ProbeId, ProbeResult, RelayId, Reply, Settings,
};

use self::failure_detector::FailureDetector;
use self::primary::Primary;
use self::receiver::{Backup, MinimumStream, Starting};
use self::relays::RelayTable;
use self::retire::Retired;
use super::protocol::{Dropped, StateLimits};
use crate::engine::{EngineStatus, Now, Via};
use crate::service::Obstacle;
use crate::types::{OpNumber, UnixTime, View};

/// The role machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core<T> {
    /// Its limits are the smaller ones of the two servers.
    settings: Settings,
    /// How large this server's state may become.
    limits: StateLimits,
    /// The same of the peer, which counts as alike until it says otherwise.
    peer_limits: StateLimits,
    role: Role<T>,
    detector: FailureDetector,
    /// Why this server does not pair with what it finds at the peer's address.
    obstacle: Option<Obstacle>,
    minimum_stream: MinimumStream,
    relays: RelayTable<T>,
    /// It was asked to end.
    retiring: bool,
    next_stream: OutStream,
    next_frame: FrameNumber,
    /// The highest number that this server may have given to a command or a grant, in a state that
    /// it had before. What earlier processes of this server gave is below the time of its start.
    highest: OpNumber,
    /// What it had done alone when it stepped down, until it has a state again.
    dropped: Option<Dropped>,
    /// The view in which the peer had done what was reported last as dropped.
    peer_dropped: Option<View>,
    /// What time it is by the wall clock, for [`Command::Clock`](crate::machine::Command::Clock)
    /// alone.
    clock: UnixTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Role<T> {
    Starting(Starting),
    Primary(Box<Primary<T>>),
    Backup(Backup),
    Retired(Retired),
}

impl<T> Core<T> {
    /// A server that has just started.
    #[must_use]
    pub fn new(settings: Settings, now: Now) -> Self {
        let limits = settings.limits.into();
        Self {
            limits,
            peer_limits: limits,
            role: Role::Starting(Starting::new()),
            detector: FailureDetector::new(settings.peer_timeout, now),
            obstacle: None,
            minimum_stream: MinimumStream::new(),
            relays: RelayTable::new(),
            retiring: false,
            dropped: None,
            peer_dropped: None,
            next_stream: OutStream(0),
            next_frame: FrameNumber(0),
            highest: OpNumber(settings.wall_clock(now).0.saturating_sub(1)),
            clock: UnixTime(0),
            settings,
        }
    }

    /// Says what time it is. The core goes by `now` alone: this is only handed on, for people to
    /// read.
    pub const fn tell_time(&mut self, clock: UnixTime) {
        self.clock = clock;
    }

    /// Takes what happened; adds to `effects` what is to be done.
    ///
    /// The shell calls [`Self::flush`] once it has handed in everything that was ready.
    pub fn step(&mut self, now: Now, input: Input<T>, effects: &mut Vec<Effect<T>>) {
        self.check_clock(now, effects);
        match input {
            Input::Wake => self.wake(now, effects),
            Input::Request { to, via, request } => self.request(now, to, via, request, effects),
            Input::Probe { stream, asker } => self.answer_probe(now, stream, asker, effects),
            Input::Frame { stream, frame } => {
                let answer = self.frame(now, stream, frame, effects);
                effects.push(Effect::FrameAnswer(answer));
            }
            Input::InStreamClosed { stream } => self.in_stream_closed(now, stream, effects),
            Input::FrameAnswered {
                stream,
                frame,
                answer,
            } => self.frame_answered(now, stream, frame, answer, effects),
            Input::OutStreamClosed { stream } => self.out_stream_closed(now, stream, effects),
            Input::Probed { probe, result } => self.probed(now, probe, result, effects),
            Input::Relayed { relay, result } => self.relayed(now, relay, result, effects),
            Input::ViewAnnounced { view } => self.view_announced(now, view, effects),
            Input::Dismissed { stream, view } => self.dismissed(now, stream, view, effects),
            Input::End => self.retiring = true,
        }
    }
}
