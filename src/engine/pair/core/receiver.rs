//! The receiving end of a link: what a backup, or a server that is being synced, does with frames.

#[cfg(test)]
use super::tests::Names;
use super::{Core, Effect, Event, InStream, Now, Role, StepDownReason, Suspicion};
use crate::engine::pair::protocol::{Frame, FrameAnswer, StreamPurpose};
use crate::machine::{Chunk, Command, Machine, SnapshotReceiver};
use crate::types::{Digest, OpNumber, ServerId, View};

/// A server without a view. It may be receiving a copy of the primary's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Starting {
    incoming: Option<IncomingSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct IncomingSnapshot {
    stream: InStream,
    view: View,
    transfer: SnapshotTransfer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SnapshotTransfer {
    /// Chunks are coming in.
    Chunks(SnapshotReceiver),
    /// The copy is complete, and commands that came after it are.
    Complete(Machine),
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backup {
    pub(super) view: View,
    pub(super) machine: Machine,
    /// The current link; none while it is broken.
    pub(super) stream: Option<InStream>,
}

impl Starting {
    pub(super) const fn new() -> Self {
        Self { incoming: None }
    }

    pub(super) const fn is_receiving(&self) -> bool {
        self.incoming.is_some()
    }

    /// Forgets a half-received copy, and says on which link it came.
    pub(super) fn drop_transfer(&mut self) -> Option<InStream> {
        self.incoming.take().map(|incoming| incoming.stream)
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, names: &mut impl Names) {
        let incoming = self.incoming.iter_mut();
        incoming.for_each(|incoming| names.in_link(&mut incoming.stream));
    }
}

/// Which connections of the peer are too old to open a link.
///
/// A connection that was accepted before another one took its place, or before this server said
/// that it has no state, may still hold frames that nobody has read. They must never be (rule M3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MinimumStream {
    last_closed: Option<InStream>,
}

impl MinimumStream {
    pub(super) const fn new() -> Self {
        Self { last_closed: None }
    }

    /// Closes everything up to `stream` and `current`.
    pub(super) fn raise(&mut self, stream: InStream, current: Option<InStream>) {
        self.last_closed = self.last_closed.max(current).max(Some(stream));
    }

    /// Whether `stream` is newer than everything that was opened or closed.
    pub(super) fn is_below(&self, stream: InStream) -> bool {
        Some(stream) > self.last_closed
    }

    /// Whether `stream` may open: it is newer than everything that was opened or closed. From here
    /// on only newer ones may.
    fn admit(&mut self, stream: InStream) -> bool {
        let newer = self.is_below(stream);
        if newer {
            self.last_closed = Some(stream);
        }
        newer
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, names: &mut impl Names) {
        let last_closed = self.last_closed.iter_mut();
        last_closed.for_each(|stream| names.floor(stream));
    }
}

/// Why a frame of the current link cannot be taken.
enum Misfit {
    /// Something is missing before it, or it is not what should come now.
    Gap,
    /// The primary's state is not this server's.
    Diverged {
        op: OpNumber,
        theirs: Digest,
        ours: Digest,
    },
}

impl<T> Core<T> {
    /// Takes a frame, and says what to answer.
    pub(super) fn frame(
        &mut self,
        now: Now,
        stream: InStream,
        frame: Frame,
        effects: &mut Vec<Effect<T>>,
    ) -> FrameAnswer {
        // [M7] Whatever was sent under a lower view is fenced, before anything else is looked at.
        let theirs = frame.view();
        if let Some(view) = self.peer_state().view()
            && theirs < view
        {
            return FrameAnswer::HigherView { view };
        }
        match frame {
            Frame::Open {
                view,
                purpose,
                peer_timeout,
            } => {
                if !self.check_peer_timeout(peer_timeout, effects) {
                    let theirs = self.settings.peer_timeout;
                    return FrameAnswer::PeerTimeout { theirs };
                }
                self.open(now, stream, view, purpose, effects)
            }
            frame => match &self.role {
                Role::Starting(starting) if starting.takes_from(stream) => {
                    self.receive_snapshot(now, frame, effects)
                }
                Role::Backup(backup) if backup.stream == Some(stream) => {
                    self.follow(now, frame, effects)
                }
                _ => FrameAnswer::Closed,
            },
        }
    }

    fn open(
        &mut self,
        now: Now,
        stream: InStream,
        view: View,
        purpose: StreamPurpose,
        effects: &mut Vec<Effect<T>>,
    ) -> FrameAnswer {
        let op = match (&mut self.role, purpose) {
            (Role::Starting(starting), StreamPurpose::Form { base, cluster }) => {
                if !self.minimum_stream.admit(stream) {
                    return FrameAnswer::Closed;
                }
                effects.extend(starting.drop_transfer().map(Effect::CloseInStream));
                let backup = Backup {
                    view,
                    machine: Machine::new(base).of_cluster(cluster),
                    stream: Some(stream),
                };
                let event = Event::BecameBackup { view, op: base };
                self.enter(now, Role::Backup(backup), event, effects);
                base
            }
            (Role::Starting(starting), StreamPurpose::Sync) => {
                if !self.minimum_stream.admit(stream) {
                    return FrameAnswer::Closed;
                }
                effects.extend(starting.drop_transfer().map(Effect::CloseInStream));
                starting.incoming = Some(IncomingSnapshot {
                    stream,
                    view,
                    transfer: SnapshotTransfer::Chunks(SnapshotReceiver::new()),
                });
                self.detector.restart(now);
                OpNumber(0)
            }
            (Role::Backup(backup), StreamPurpose::Resume) if backup.view == view => {
                if !self.minimum_stream.admit(stream) {
                    return FrameAnswer::Closed;
                }
                effects.extend(backup.stream.replace(stream).map(Effect::CloseInStream));
                self.detector.note_seen_on_stream(now);
                backup.machine.op()
            }
            (Role::Starting(_), StreamPurpose::Resume) | (Role::Retired(_), _) => {
                return FrameAnswer::Closed;
            }
            (Role::Backup(_) | Role::Primary(_), _) => {
                self.suspect(now, Suspicion::BadFrame, effects);
                return FrameAnswer::Closed;
            }
        };
        FrameAnswer::Ack { op }
    }

    fn receive_snapshot(
        &mut self,
        now: Now,
        frame: Frame,
        effects: &mut Vec<Effect<T>>,
    ) -> FrameAnswer {
        let Role::Starting(starting) = &mut self.role else {
            return FrameAnswer::Closed;
        };
        match starting.receive(frame) {
            Ok(Received::Op(op)) => {
                self.detector.note_seen_on_stream(now);
                FrameAnswer::Ack { op }
            }
            Ok(Received::Join(backup)) => {
                let (view, op) = (backup.view, backup.machine.op());
                let event = Event::BecameBackup { view, op };
                self.enter(now, Role::Backup(*backup), event, effects);
                FrameAnswer::Ack { op }
            }
            Err(_) => {
                self.drop_transfer(now, effects);
                FrameAnswer::Closed
            }
        }
    }

    pub(super) fn drop_transfer(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let Role::Starting(starting) = &mut self.role else {
            return;
        };
        if let Some(stream) = starting.drop_transfer() {
            effects.push(Effect::CloseInStream(stream));
            effects.push(Effect::Event(Event::SyncBroken));
            self.detector.restart(now);
        }
        self.probe_if_due(now, effects);
    }

    fn follow(&mut self, now: Now, frame: Frame, effects: &mut Vec<Effect<T>>) -> FrameAnswer {
        let Role::Backup(backup) = &mut self.role else {
            return FrameAnswer::Closed;
        };
        match backup.take(frame) {
            Ok(op) => {
                self.detector.note_seen_on_stream(now);
                FrameAnswer::Ack { op }
            }
            Err(Misfit::Gap) => {
                effects.extend(backup.stream.take().map(Effect::CloseInStream));
                self.suspect(now, Suspicion::BadFrame, effects);
                FrameAnswer::Closed
            }
            Err(Misfit::Diverged { op, theirs, ours }) => {
                let reason = StepDownReason::Diverged { op, theirs, ours };
                self.step_down(now, reason, effects);
                FrameAnswer::Closed
            }
        }
    }

    pub(super) fn in_stream_closed(
        &mut self,
        now: Now,
        stream: InStream,
        effects: &mut Vec<Effect<T>>,
    ) {
        match &mut self.role {
            Role::Starting(starting) if starting.takes_from(stream) => {
                self.drop_transfer(now, effects);
            }
            Role::Backup(backup) if backup.stream == Some(stream) => {
                backup.stream = None;
                self.suspect(now, Suspicion::StreamClosed, effects);
            }
            _ => {}
        }
    }
}

/// What a frame of a copy led to.
enum Received {
    /// The copy stands at this op.
    Op(OpNumber),
    /// The copy is the state of a backup.
    Join(Box<Backup>),
}

impl Starting {
    fn takes_from(&self, stream: InStream) -> bool {
        self.incoming
            .as_ref()
            .is_some_and(|incoming| incoming.stream == stream)
    }

    fn receive(&mut self, frame: Frame) -> Result<Received, Misfit> {
        let incoming = self.incoming.as_mut().ok_or(Misfit::Gap)?;
        match frame {
            Frame::SnapshotChunk { view, chunk } if view == incoming.view => {
                incoming.add(chunk).map(Received::Op)
            }
            Frame::Forward {
                view,
                first_op,
                commands,
                digest,
            } if view == incoming.view => incoming
                .forward(first_op, &commands, digest)
                .map(Received::Op),
            Frame::Join { view, op } => {
                let Some(IncomingSnapshot {
                    stream,
                    transfer: SnapshotTransfer::Complete(machine),
                    ..
                }) = self.incoming.take_if(|incoming| incoming.op() == Some(op))
                else {
                    return Err(Misfit::Gap);
                };
                let stream = Some(stream);
                Ok(Received::Join(Box::new(Backup {
                    view,
                    machine,
                    stream,
                })))
            }
            _ => Err(Misfit::Gap),
        }
    }
}

impl IncomingSnapshot {
    /// Where the copy stands, once it is complete.
    const fn op(&self) -> Option<OpNumber> {
        match &self.transfer {
            SnapshotTransfer::Chunks(_) => None,
            SnapshotTransfer::Complete(machine) => Some(machine.op()),
        }
    }

    fn add(&mut self, chunk: Chunk) -> Result<OpNumber, Misfit> {
        let SnapshotTransfer::Chunks(restore) = &mut self.transfer else {
            return Err(Misfit::Gap);
        };
        let Some(machine) = restore.add(chunk).map_err(|_| Misfit::Gap)? else {
            return Ok(OpNumber(0));
        };
        let op = machine.op();
        self.transfer = SnapshotTransfer::Complete(machine);
        Ok(op)
    }

    fn forward(
        &mut self,
        first_op: OpNumber,
        commands: &[Command],
        digest: Option<Digest>,
    ) -> Result<OpNumber, Misfit> {
        match &mut self.transfer {
            SnapshotTransfer::Complete(machine) => {
                apply(machine, self.view.primary, first_op, commands, digest)
            }
            SnapshotTransfer::Chunks(_) if commands.is_empty() => Ok(OpNumber(0)),
            SnapshotTransfer::Chunks(_) => Err(Misfit::Gap),
        }
    }
}

impl Backup {
    fn take(&mut self, frame: Frame) -> Result<OpNumber, Misfit> {
        match frame {
            Frame::Forward {
                view,
                first_op,
                commands,
                digest,
            } if view == self.view => {
                let issuer = view.primary;
                apply(&mut self.machine, issuer, first_op, &commands, digest)
            }
            _ => Err(Misfit::Gap),
        }
    }
}

/// Applies what is new of a batch of `issuer`'s, in order, and compares digests where the sender's
/// state is known.
fn apply(
    machine: &mut Machine,
    issuer: ServerId,
    first_op: OpNumber,
    commands: &[Command],
    digest: Option<Digest>,
) -> Result<OpNumber, Misfit> {
    let next = machine.op().next();
    let known = next.0.checked_sub(first_op.0).ok_or(Misfit::Gap)?;
    let known = usize::try_from(known).map_err(|_| Misfit::Gap)?;
    for command in commands.iter().skip(known) {
        machine.apply(command, issuer);
    }
    let op = machine.op();
    let ours = machine.digest();
    match digest {
        Some(theirs) if known <= commands.len() && theirs != ours => {
            Err(Misfit::Diverged { op, theirs, ours })
        }
        _ => Ok(op),
    }
}
