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
use super::{FrameNumber, Now, OutStream};
use crate::config::{Limits, MAX_BATCH_COMMANDS, MAX_UNACKED_COMMANDS};
use crate::engine::pair::protocol::Frame;
use crate::machine::{Command, Machine, Snapshot};
use crate::types::{OpNumber, View};

/// The unacknowledged commands, in op order, and the current link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplicationQueue {
    stream: Option<ReplicationStream>,
    /// The commands after `acked`.
    commands: VecDeque<Command>,
    /// What they take in memory.
    bytes: u64,
    acked: OpNumber,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ReplicationStream {
    id: OutStream,
    /// The view that its frames carry.
    view: View,
    stage: Stage,
    /// The last op that was sent on it.
    sent: OpNumber,
    payload: Option<InFlight>,
    heartbeat: Option<FrameNumber>,
    last_sent: Now,
}

/// A frame with a payload that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InFlight {
    number: FrameNumber,
    sent: Now,
    bytes: usize,
}

/// How far a link has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Its opening frame is not answered yet.
    Opening { snapshot: Option<Snapshot> },
    /// A copy of the machine is under way.
    Transferring(Snapshot),
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

impl ReplicationQueue {
    /// For a receiver that has everything up to `acked`.
    pub(super) const fn new(acked: OpNumber) -> Self {
        Self {
            stream: None,
            commands: VecDeque::new(),
            bytes: 0,
            acked,
        }
    }

    pub(super) const fn acked(&self) -> OpNumber {
        self.acked
    }

    /// How many commands are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether as many commands wait as there may, or as much memory is taken by them.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.commands.len() >= MAX_UNACKED_COMMANDS || self.bytes >= limits.unacked_bytes()
    }

    /// Whether more wait than a sync can catch up with, or than there is memory for.
    pub(super) fn overflows(&self, limits: &Limits) -> bool {
        self.commands.len() > MAX_UNACKED_COMMANDS || self.bytes > limits.unacked_bytes()
    }

    /// Adds the command that has just been given the next op number.
    pub(super) fn push(&mut self, command: Command) {
        self.bytes += command.queued_bytes();
        self.commands.push_back(command);
    }

    pub(super) fn stream(&self) -> Option<OutStream> {
        self.stream.as_ref().map(|stream| stream.id)
    }

    pub(super) fn is_current(&self, id: OutStream) -> bool {
        self.stream() == Some(id)
    }

    /// Whether the receiver follows, as a backup, on an open link.
    pub(super) fn is_followed(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| matches!(stream.stage, Stage::Following))
    }

    /// Whether the receiver may not know yet that it is a backup.
    pub(super) fn is_joining(&self) -> bool {
        self.stream.is_some() && !self.is_followed()
    }

    /// Whether the copy is over and what is left fits into one frame.
    pub(super) fn has_nearly_caught_up(&self) -> bool {
        self.is_followed() && self.commands.len() <= MAX_BATCH_COMMANDS
    }

    /// Makes `id` the current link. `snapshot` is what to send before the commands.
    pub(super) fn open(
        &mut self,
        id: OutStream,
        view: View,
        frame: FrameNumber,
        copy: Option<Snapshot>,
        now: Now,
    ) {
        self.stream = Some(ReplicationStream {
            id,
            view,
            stage: Stage::Opening { snapshot: copy },
            sent: self.acked,
            payload: Some(InFlight {
                number: frame,
                sent: now,
                bytes: 0,
            }),
            heartbeat: None,
            last_sent: now,
        });
    }

    /// Forgets the current link, and says which it was.
    pub(super) fn close(&mut self) -> Option<OutStream> {
        self.stream.take().map(|stream| stream.id)
    }

    /// From here on the receiver is wanted as backup of `view`, behind everything up to `op`.
    pub(super) fn join(&mut self, view: View, op: OpNumber) {
        if let Some(stream) = &mut self.stream {
            stream.stage = Stage::Joining { view, op };
        }
    }

    /// The receiver has everything up to `op`: takes it off the queue.
    ///
    /// False when `op` is ahead of all there is, or behind what was acknowledged before.
    pub(super) fn advance_acked(&mut self, op: OpNumber) -> bool {
        let Some(count) = op.0.checked_sub(self.acked.0) else {
            return false;
        };
        let Some(count) = usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.commands.len())
        else {
            return false;
        };
        let drained = self.commands.drain(..count);
        self.bytes -= drained.map(|command| command.queued_bytes()).sum::<u64>();
        self.acked = op;
        if let Some(stream) = &mut self.stream {
            // It may have come on an older link, while this one was being opened.
            stream.sent = stream.sent.max(op);
        }
        true
    }

    /// Takes the answer to a frame of a link.
    pub(super) fn acknowledge(&mut self, id: OutStream, frame: FrameNumber, op: OpNumber) -> Acked {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.id == id) else {
            return Acked::Stale;
        };
        let mut joined = false;
        if stream
            .payload
            .is_some_and(|payload| payload.number == frame)
        {
            stream.payload = None;
            joined = stream.advance();
        } else if stream.heartbeat == Some(frame) {
            stream.heartbeat = None;
        } else {
            return Acked::Stale;
        }
        // A heartbeat can overtake a batch, and a copy stands below everything that follows it.
        if op > self.acked && !self.advance_acked(op) {
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
    ) -> Option<(OutStream, Frame)> {
        let acked = self.acked;
        let stream = self
            .stream
            .as_mut()
            .filter(|stream| stream.payload.is_none())?;
        let frame = stream
            .next_chunk(limit)
            .or_else(|| stream.next_batch(&self.commands, acked, machine, limit))
            .or_else(|| stream.next_join())
            .or_else(|| {
                let idle = wanted && matches!(stream.stage, Stage::Following);
                idle.then(|| stream.heartbeat(acked, machine))
            })?;
        stream.payload = Some(InFlight {
            number,
            sent: now,
            bytes: payload_bytes(&frame, limit),
        });
        stream.last_sent = now;
        Some((stream.id, frame))
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
        if let Some(payload) = self
            .stream
            .as_mut()
            .and_then(|stream| stream.payload.as_mut())
        {
            payload.sent = now;
        }
    }

    fn payload(&self) -> Option<InFlight> {
        self.stream.as_ref().and_then(|stream| stream.payload)
    }

    /// Lets the payload under way be `span` old at `now`. False if there is none.
    #[cfg(test)]
    pub(super) fn delay(&mut self, now: Now, span: Duration) -> bool {
        let sent = Now(now.0.saturating_sub(span));
        let payload = self
            .stream
            .as_mut()
            .and_then(|stream| stream.payload.as_mut());
        payload.map(|payload| payload.sent = sent).is_some()
    }

    /// A heartbeat, when nothing was sent for `interval` and none is on its way.
    pub(super) fn next_heartbeat(
        &mut self,
        machine: &Machine,
        interval: Duration,
        number: FrameNumber,
        now: Now,
    ) -> Option<(OutStream, Frame)> {
        let acked = self.acked;
        let stream = self.stream.as_mut()?;
        if stream.heartbeat.is_some() || now < stream.last_sent.after(interval) {
            return None;
        }
        if matches!(stream.stage, Stage::Opening { .. }) {
            return None;
        }
        stream.heartbeat = Some(number);
        stream.last_sent = now;
        Some((stream.id, stream.heartbeat(acked, machine)))
    }

    /// When the next heartbeat is due, if nothing else is sent before.
    pub(super) fn heartbeat_due(&self, interval: Duration) -> Option<Now> {
        let stream = self.stream.as_ref()?;
        let can = stream.heartbeat.is_none() && !matches!(stream.stage, Stage::Opening { .. });
        can.then(|| stream.last_sent.after(interval))
    }

    #[cfg(test)]
    pub(super) fn name(
        &mut self,
        interval: Duration,
        peer_timeout: Duration,
        names: &mut impl Names,
    ) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        names.out_link(&mut stream.id);
        names.past(&mut stream.last_sent, interval);
        if let Some(payload) = &mut stream.payload {
            names.frame(&mut payload.number);
            names.past(&mut payload.sent, peer_timeout);
        }
        stream
            .heartbeat
            .iter_mut()
            .for_each(|frame| names.frame(frame));
    }
}

impl ReplicationStream {
    /// The payload under way was taken. True when it was the join.
    fn advance(&mut self) -> bool {
        match &mut self.stage {
            Stage::Opening { snapshot: copy } => {
                self.stage = copy.take().map_or(Stage::Following, Stage::Transferring);
                false
            }
            Stage::Joined => {
                self.stage = Stage::Following;
                true
            }
            Stage::Transferring(_) | Stage::Following | Stage::Joining { .. } => false,
        }
    }

    fn next_chunk(&mut self, limit: usize) -> Option<Frame> {
        let Stage::Transferring(snapshot) = &mut self.stage else {
            return None;
        };
        let Some(chunk) = snapshot.next_chunk(limit) else {
            self.stage = Stage::Following;
            return None;
        };
        Some(Frame::SnapshotChunk {
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
        Frame::SnapshotChunk { .. } => limit.max(Snapshot::MIN_CHUNK_BYTES),
        Frame::Forward { commands, .. } => commands.iter().map(Command::max_encoded_bytes).sum(),
        Frame::Open { .. } | Frame::Join { .. } => 0,
    }
}
