//! What a primary has for the other server: the commands it has not acknowledged, and the link that
//! carries them.
//!
//! One frame with a payload is on its way at a time; while it is, the next batch fills. Nothing waits
//! for a batch to fill: when the link is free, whatever there is leaves at once. Heartbeats have a
//! place of their own beside the payload.

use std::collections::VecDeque;
use std::time::Duration;

#[cfg(test)]
use super::tests::Names;
use super::{FrameNumber, Now, OutLink};
use crate::config::{Limits, MAX_BATCH_COMMANDS, MAX_PAYLOAD_BYTES, MAX_UNACKED_COMMANDS};
use crate::machine::{Command, Machine, Snapshot};
use crate::service::Frame;
use crate::types::{OpNumber, View};

/// The unacknowledged commands, in op order, and the current link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outbox {
    link: Option<Link>,
    /// The commands after `acked`.
    queue: VecDeque<Command>,
    /// What they take in memory.
    bytes: u64,
    acked: OpNumber,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    id: OutLink,
    /// The view that its frames carry.
    view: View,
    stage: Stage,
    /// The last op that was sent on it.
    sent: OpNumber,
    payload: Option<FrameNumber>,
    heartbeat: Option<FrameNumber>,
    last_sent: Now,
}

/// How far a link has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Its opening frame is not answered yet.
    Opening { copy: Option<Snapshot> },
    /// A copy of the machine is under way.
    Copying(Snapshot),
    /// Commands flow.
    Following,
    /// Commands flow up to `op`; then the receiver joins as backup of `view`.
    Joining { view: View, op: OpNumber },
    /// The join is sent and not answered yet.
    Joined,
}

/// What an acknowledgement meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acked {
    /// More of the log is with the receiver, or it is alive.
    Progress,
    /// The receiver has become backup.
    Joined,
    /// It belongs to no frame of the current link: believe nothing.
    Stale,
    /// It names an op that does not exist.
    Impossible,
}

impl Outbox {
    /// For a receiver that has everything up to `acked`.
    pub(super) const fn new(acked: OpNumber) -> Self {
        Self {
            link: None,
            queue: VecDeque::new(),
            bytes: 0,
            acked,
        }
    }

    pub(super) const fn acked(&self) -> OpNumber {
        self.acked
    }

    /// How many commands are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether as many commands wait as there may, or as much memory is taken by them.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.queue.len() >= MAX_UNACKED_COMMANDS || self.bytes >= limits.unacked_bytes()
    }

    /// Whether more wait than a sync can catch up with, or than there is memory for.
    pub(super) fn overflows(&self, limits: &Limits) -> bool {
        self.queue.len() > MAX_UNACKED_COMMANDS || self.bytes > limits.unacked_bytes()
    }

    /// Adds the command that has just been given the next op number.
    pub(super) fn push(&mut self, command: Command) {
        self.bytes += command.queued_bytes();
        self.queue.push_back(command);
    }

    pub(super) fn link(&self) -> Option<OutLink> {
        self.link.as_ref().map(|link| link.id)
    }

    pub(super) fn is_current(&self, id: OutLink) -> bool {
        self.link() == Some(id)
    }

    /// Whether the receiver follows, as a backup, on an open link.
    pub(super) fn is_followed(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| matches!(link.stage, Stage::Following))
    }

    /// Whether the receiver may not know yet that it is a backup.
    pub(super) fn is_joining(&self) -> bool {
        self.link.is_some() && !self.is_followed()
    }

    /// Whether the copy is over and what is left fits into one frame.
    pub(super) fn has_nearly_caught_up(&self) -> bool {
        self.is_followed() && self.queue.len() <= MAX_BATCH_COMMANDS
    }

    /// Makes `id` the current link. `copy` is what to send before the commands.
    pub(super) fn open(
        &mut self,
        id: OutLink,
        view: View,
        frame: FrameNumber,
        copy: Option<Snapshot>,
        now: Now,
    ) {
        self.link = Some(Link {
            id,
            view,
            stage: Stage::Opening { copy },
            sent: self.acked,
            payload: Some(frame),
            heartbeat: None,
            last_sent: now,
        });
    }

    /// Forgets the current link, and says which it was.
    pub(super) fn close(&mut self) -> Option<OutLink> {
        self.link.take().map(|link| link.id)
    }

    /// From here on the receiver is wanted as backup of `view`, behind everything up to `op`.
    pub(super) fn join(&mut self, view: View, op: OpNumber) {
        if let Some(link) = &mut self.link {
            link.stage = Stage::Joining { view, op };
        }
    }

    /// The receiver has everything up to `op`: takes it off the queue.
    ///
    /// False when `op` is ahead of all there is, or behind what was acknowledged before.
    pub(super) fn settle(&mut self, op: OpNumber) -> bool {
        let Some(count) = op.0.checked_sub(self.acked.0) else {
            return false;
        };
        let Some(count) = usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.queue.len())
        else {
            return false;
        };
        let drained = self.queue.drain(..count);
        self.bytes -= drained.map(|command| command.queued_bytes()).sum::<u64>();
        self.acked = op;
        if let Some(link) = &mut self.link {
            // It may have come on an older link, while this one was being opened.
            link.sent = link.sent.max(op);
        }
        true
    }

    /// Takes the answer to a frame of a link.
    pub(super) fn acknowledge(&mut self, id: OutLink, frame: FrameNumber, op: OpNumber) -> Acked {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id) else {
            return Acked::Stale;
        };
        let mut joined = false;
        if link.payload == Some(frame) {
            link.payload = None;
            joined = link.advance();
        } else if link.heartbeat == Some(frame) {
            link.heartbeat = None;
        } else {
            return Acked::Stale;
        }
        // A heartbeat can overtake a batch, and a copy stands below everything that follows it.
        if op > self.acked && !self.settle(op) {
            return Acked::Impossible;
        }
        if joined {
            Acked::Joined
        } else {
            Acked::Progress
        }
    }

    /// The next frame with a payload, if the link is free and there is something to send. `wanted`:
    /// somebody waits for an acknowledgement, even of nothing.
    pub(super) fn next_payload(
        &mut self,
        machine: &Machine,
        wanted: bool,
        number: FrameNumber,
        now: Now,
    ) -> Option<(OutLink, Frame)> {
        let acked = self.acked;
        let link = self.link.as_mut().filter(|link| link.payload.is_none())?;
        let frame = link
            .next_chunk()
            .or_else(|| link.next_batch(&self.queue, acked, machine))
            .or_else(|| link.next_join())
            .or_else(|| {
                let idle = wanted && matches!(link.stage, Stage::Following);
                idle.then(|| link.heartbeat(acked, machine))
            })?;
        link.payload = Some(number);
        link.last_sent = now;
        Some((link.id, frame))
    }

    /// A heartbeat, when nothing was sent for `interval` and none is on its way.
    pub(super) fn next_heartbeat(
        &mut self,
        machine: &Machine,
        interval: Duration,
        number: FrameNumber,
        now: Now,
    ) -> Option<(OutLink, Frame)> {
        let acked = self.acked;
        let link = self.link.as_mut()?;
        if link.heartbeat.is_some() || now < link.last_sent.after(interval) {
            return None;
        }
        if matches!(link.stage, Stage::Opening { .. }) {
            return None;
        }
        link.heartbeat = Some(number);
        link.last_sent = now;
        Some((link.id, link.heartbeat(acked, machine)))
    }

    /// When the next heartbeat is due, if nothing else is sent before.
    pub(super) fn heartbeat_due(&self, interval: Duration) -> Option<Now> {
        let link = self.link.as_ref()?;
        let can = link.heartbeat.is_none() && !matches!(link.stage, Stage::Opening { .. });
        can.then(|| link.last_sent.after(interval))
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, interval: Duration, names: &mut impl Names) {
        let Some(link) = &mut self.link else { return };
        names.out_link(&mut link.id);
        names.past(&mut link.last_sent, interval);
        let frames = link.payload.iter_mut().chain(&mut link.heartbeat);
        frames.for_each(|frame| names.frame(frame));
    }
}

impl Link {
    /// The payload under way was taken. True when it was the join.
    fn advance(&mut self) -> bool {
        match &mut self.stage {
            Stage::Opening { copy } => {
                self.stage = copy.take().map_or(Stage::Following, Stage::Copying);
                false
            }
            Stage::Joined => {
                self.stage = Stage::Following;
                true
            }
            Stage::Copying(_) | Stage::Following | Stage::Joining { .. } => false,
        }
    }

    fn next_chunk(&mut self) -> Option<Frame> {
        let Stage::Copying(snapshot) = &mut self.stage else {
            return None;
        };
        let Some(chunk) = snapshot.next_chunk(MAX_PAYLOAD_BYTES) else {
            self.stage = Stage::Following;
            return None;
        };
        Some(Frame::Copy {
            view: self.view,
            chunk,
        })
    }

    fn next_batch(
        &mut self,
        queue: &VecDeque<Command>,
        acked: OpNumber,
        machine: &Machine,
    ) -> Option<Frame> {
        let until = match self.stage {
            Stage::Following => machine.op(),
            Stage::Joining { op, .. } => op,
            _ => return None,
        };
        let unsent = usize::try_from(self.sent.0 - acked.0).ok()?;
        let ready = usize::try_from(until.0 - acked.0).ok()?;
        let commands = batch(queue.range(unsent..ready));
        if commands.is_empty() {
            return None;
        }
        let first_op = self.sent.next();
        self.sent = OpNumber(self.sent.0 + commands.len() as u64);
        Some(Frame::Forward {
            view: self.view,
            first_op,
            commands,
            digest: (self.sent == machine.op()).then(|| machine.digest()),
        })
    }

    fn next_join(&mut self) -> Option<Frame> {
        let Stage::Joining { view, op } = self.stage else {
            return None;
        };
        self.view = view;
        self.stage = Stage::Joined;
        Some(Frame::Join { view, op })
    }

    /// An empty `forward`. It starts at what is acknowledged, so that it fits even if it overtakes the
    /// batch that is on its way.
    fn heartbeat(&self, acked: OpNumber, machine: &Machine) -> Frame {
        Frame::Forward {
            view: self.view,
            first_op: acked.next(),
            commands: Vec::new(),
            digest: (acked == machine.op()).then(|| machine.digest()),
        }
    }
}

/// The longest prefix that fits into one frame.
fn batch<'a>(commands: impl Iterator<Item = &'a Command>) -> Vec<Command> {
    let mut room = MAX_PAYLOAD_BYTES;
    commands
        .take(MAX_BATCH_COMMANDS)
        .take_while(|command| {
            let fits = command.max_encoded_bytes() <= room;
            room = room.saturating_sub(command.max_encoded_bytes());
            fits
        })
        .cloned()
        .collect()
}
