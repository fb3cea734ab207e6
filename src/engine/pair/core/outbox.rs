//! What a primary has for the other server: the commands it has not acknowledged, and the link that
//! carries them.
//!
//! One frame with a payload is on its way at a time; while it is, the next batch fills. Nothing
//! waits for a batch to fill: when the link is free, whatever there is leaves at once. Heartbeats
//! have a place of their own beside the payload.

use std::collections::VecDeque;
use std::time::Duration;

#[cfg(test)]
use super::tests::Names;
use super::{FrameNumber, Now, OutLink};
use crate::config::{Limits, MAX_BATCH_COMMANDS, MAX_UNACKED_COMMANDS};
use crate::engine::pair::protocol::Frame;
use crate::machine::{Command, Machine, Snapshot};
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
    payload: Option<Payload>,
    heartbeat: Option<FrameNumber>,
    last_sent: Now,
}

/// A frame with a payload that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Payload {
    number: FrameNumber,
    sent: Now,
    bytes: usize,
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
            payload: Some(Payload {
                number: frame,
                sent: now,
                bytes: 0,
            }),
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
        if link.payload.is_some_and(|payload| payload.number == frame) {
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
        limit: usize,
        number: FrameNumber,
        now: Now,
    ) -> Option<(OutLink, Frame)> {
        let acked = self.acked;
        let link = self.link.as_mut().filter(|link| link.payload.is_none())?;
        let frame = link
            .next_chunk(limit)
            .or_else(|| link.next_batch(&self.queue, acked, machine, limit))
            .or_else(|| link.next_join())
            .or_else(|| {
                let idle = wanted && matches!(link.stage, Stage::Following);
                idle.then(|| link.heartbeat(acked, machine))
            })?;
        link.payload = Some(Payload {
            number,
            sent: now,
            bytes: payload_bytes(&frame, limit),
        });
        link.last_sent = now;
        Some((link.id, frame))
    }

    /// How much `frame` holds, if it is the payload under way.
    pub(super) fn bytes_of(&self, frame: FrameNumber) -> Option<usize> {
        let payload = self.payload().filter(|payload| payload.number == frame)?;
        Some(payload.bytes)
    }

    /// When the payload under way was sent and how much it holds, if it is not acknowledged within
    /// `span`.
    pub(super) fn overdue(&self, now: Now, span: Duration) -> Option<(Now, usize)> {
        let payload = self.payload()?;
        let late = now.since(payload.sent) >= span;
        late.then_some((payload.sent, payload.bytes))
    }

    /// When the payload under way is overdue.
    pub(super) fn overdue_at(&self, span: Duration) -> Option<Now> {
        self.payload().map(|payload| payload.sent.after(span))
    }

    /// This server did not run for a while: the acknowledgement may lie unread.
    pub(super) fn wait_anew(&mut self, now: Now) {
        if let Some(payload) = self.link.as_mut().and_then(|link| link.payload.as_mut()) {
            payload.sent = now;
        }
    }

    fn payload(&self) -> Option<Payload> {
        self.link.as_ref().and_then(|link| link.payload)
    }

    /// Lets the payload under way be `span` old at `now`. False if there is none.
    #[cfg(test)]
    pub(super) fn delay(&mut self, now: Now, span: Duration) -> bool {
        let sent = Now(now.0.saturating_sub(span));
        let payload = self.link.as_mut().and_then(|link| link.payload.as_mut());
        payload.map(|payload| payload.sent = sent).is_some()
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
    pub(super) fn name(
        &mut self,
        interval: Duration,
        peer_timeout: Duration,
        names: &mut impl Names,
    ) {
        let Some(link) = &mut self.link else { return };
        names.out_link(&mut link.id);
        names.past(&mut link.last_sent, interval);
        if let Some(payload) = &mut link.payload {
            names.frame(&mut payload.number);
            names.past(&mut payload.sent, peer_timeout);
        }
        link.heartbeat
            .iter_mut()
            .for_each(|frame| names.frame(frame));
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

    fn next_chunk(&mut self, limit: usize) -> Option<Frame> {
        let Stage::Copying(snapshot) = &mut self.stage else {
            return None;
        };
        let Some(chunk) = snapshot.next_chunk(limit) else {
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
        limit: usize,
    ) -> Option<Frame> {
        let until = match self.stage {
            Stage::Following => machine.op(),
            Stage::Joining { op, .. } => op,
            _ => return None,
        };
        let unsent = usize::try_from(self.sent.0 - acked.0).ok()?;
        let ready = usize::try_from(until.0 - acked.0).ok()?;
        let commands = batch(queue.range(unsent..ready), limit);
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

    /// An empty `forward`. It starts at what is acknowledged, so that it fits even if it overtakes
    /// the batch that is on its way.
    fn heartbeat(&self, acked: OpNumber, machine: &Machine) -> Frame {
        Frame::Forward {
            view: self.view,
            first_op: acked.next(),
            commands: Vec::new(),
            digest: (acked == machine.op()).then(|| machine.digest()),
        }
    }
}

/// The longest prefix that fits into `limit` bytes, and one command in any case.
fn batch<'a>(commands: impl Iterator<Item = &'a Command>, limit: usize) -> Vec<Command> {
    let mut bytes = 0;
    commands
        .take(MAX_BATCH_COMMANDS)
        .take_while(|command| {
            let is_first = bytes == 0;
            bytes += command.max_encoded_bytes();
            is_first || bytes <= limit
        })
        .cloned()
        .collect()
}

/// How much a frame holds, at most.
fn payload_bytes(frame: &Frame, limit: usize) -> usize {
    match frame {
        Frame::Copy { .. } => limit.max(Snapshot::MIN_CHUNK_BYTES),
        Frame::Forward { commands, .. } => commands.iter().map(Command::max_encoded_bytes).sum(),
        Frame::Open { .. } | Frame::Join { .. } => 0,
    }
}
