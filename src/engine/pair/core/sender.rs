//! The sending end of a link: what a primary does to feed the other server, be it a backup or one
//! that is being synced.

use super::primary::ReplicationMode;
use super::replication_queue::{Acked, ReplicationQueue};
use super::waiting::Waiting;
use super::{Core, Effect, Event, FailureCause, FrameNumber, Now, OutStream, Role, Suspicion};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction, StreamPurpose};

impl<T> Core<T> {
    /// Sends what there is for the other server. One forward carries everything that has queued up
    /// since the last one left.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        self.send_what_there_is(now, effects);
        self.consider_retiring(now, effects);
    }

    fn send_what_there_is(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        self.send_payload(now, effects);
        // The last chunk of a copy may just have been acknowledged.
        if self.consider_join(now, effects) {
            self.send_payload(now, effects);
        }
        let interval = self.detector.heartbeat_interval();
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some((queue, _)) = primary.sending() else {
            return;
        };
        // What is acknowledged already needs no frame: the outcome of a repeated call.
        let acked = queue.is_followed().then(|| queue.acked());
        if let Some((queue, machine)) = primary.sending() {
            let heartbeat = queue.next_heartbeat(machine, interval, self.next_frame, now);
            send(heartbeat, &mut self.next_frame, effects);
        }
        if let Some(acked) = acked {
            primary.advance_commit(acked, None, effects);
        }
    }

    fn send_payload(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let wanted = primary.waits_for_frame();
        let limit = primary.passage.limit();
        if let Some((queue, machine)) = primary.sending() {
            let payload = queue.next_payload(machine, wanted, limit, self.next_frame, now);
            send(payload, &mut self.next_frame, effects);
        }
    }

    /// Takes in a peer. It may have granted locks while it was cut off from this server, and may
    /// grant some when it has taken over: marks go on above those that it gave.
    pub(super) fn sync(&mut self, now: Now, peer: &Introduction, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let ReplicationMode::Standalone {
            sync: sync @ None, ..
        } = &mut primary.mode
        else {
            return;
        };
        primary.machine.give_marks_above(peer.highest);
        let op = primary.machine.op();
        *sync = Some(ReplicationQueue::new(op));
        self.detector.end_probe();
        if let Some(dropped) = peer.dropped
            && self.peer_dropped.replace(dropped.view) != Some(dropped.view)
        {
            effects.push(Effect::Event(Event::PeerDropped { dropped }));
        }
        effects.push(Effect::Event(Event::SyncBegan { op }));
        self.open_stream(now, StreamPurpose::Sync, effects);
    }

    pub(super) fn break_sync(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let peer_timeout = self.settings.peer_timeout;
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let lost = primary.lose_payload(now, peer_timeout);
        let ReplicationMode::Standalone { sync, .. } = &mut primary.mode else {
            return;
        };
        let Some(mut queue) = sync.take() else {
            return;
        };
        effects.extend(lost.map(Effect::Event));
        effects.extend(queue.close().map(Effect::CloseOutStream));
        effects.push(Effect::Event(Event::SyncBroken));
        self.detector.back_off(now);
    }

    /// [M4] When the peer has nearly caught up, the primary makes the new view and, in the same
    /// step, stops answering on its own: the peer may take over from the moment it has the join.
    fn consider_join(&mut self, now: Now, effects: &mut Vec<Effect<T>>) -> bool {
        let Role::Primary(primary) = &mut self.role else {
            return false;
        };
        let ReplicationMode::Standalone { sync, .. } = &mut primary.mode else {
            return false;
        };
        if sync
            .as_ref()
            .is_some_and(|queue| queue.overflows(&self.settings.limits))
        {
            self.break_sync(now, effects);
            return false;
        }
        let Some(mut queue) = sync.take_if(|queue| queue.has_nearly_caught_up()) else {
            return false;
        };
        primary.view = primary.view.next(self.settings.me);
        let view = primary.view;
        queue.join(view, primary.machine.op());
        primary.mode = ReplicationMode::Replicated {
            queue,
            waiting: Waiting::new(),
        };
        self.detector.restart(now);
        effects.push(Effect::Event(Event::BackupJoining { view }));
        true
    }

    pub(super) fn open_stream(
        &mut self,
        now: Now,
        purpose: StreamPurpose,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let view = primary.view;
        let small_segments = primary.passage.needs_small_segments();
        let Some((queue, machine)) = primary.sending() else {
            return;
        };
        effects.extend(queue.close().map(Effect::CloseOutStream));
        let stream = self.next_stream;
        self.next_stream = OutStream(stream.0 + 1);
        let number = self.next_frame;
        self.next_frame = FrameNumber(number.0 + 1);
        let copy = (purpose == StreamPurpose::Sync).then(|| machine.snapshot());
        queue.open(stream, view, number, copy, now);
        self.detector.note_seen_on_stream(now);
        effects.push(Effect::OpenStream {
            stream,
            number,
            frame: Frame::Open {
                view,
                purpose,
                peer_timeout: self.settings.peer_timeout,
            },
            small_segments,
        });
    }

    pub(super) fn frame_answered(
        &mut self,
        now: Now,
        stream: OutStream,
        frame: FrameNumber,
        answer: FrameAnswer,
        effects: &mut Vec<Effect<T>>,
    ) {
        if let FrameAnswer::HigherView { view } = answer {
            return self.view_announced(now, view, effects);
        }
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let view = primary.view;
        let Some((queue, _)) = primary.sending() else {
            return;
        };
        let op = match answer {
            FrameAnswer::Ack { op } => op,
            FrameAnswer::PeerTimeout { theirs } => {
                self.check_peer_timeout(theirs, effects);
                return self.out_stream_closed(now, stream, effects);
            }
            _ => return self.out_stream_closed(now, stream, effects),
        };
        let bytes = queue.bytes_of(frame);
        let acked = queue.acknowledge(stream, frame, op);
        let safe = queue.acked();
        match acked {
            Acked::Stale => return,
            Acked::Impossible => return self.peer_is_dead(now, FailureCause::Diverged, effects),
            Acked::Joined => effects.push(Effect::Event(Event::BackupJoined { view })),
            Acked::Progress => {}
        }
        if let Some(bytes) = bytes
            && primary.passage.pass(bytes, now)
        {
            effects.push(Effect::Event(Event::FramePassed { bytes }));
        }
        if primary.queue().is_some_and(|queue| queue.len() == 0) {
            primary.passage.feed();
        }
        self.detector.note_seen_on_stream(now);
        self.detector.note_acked(frame);
        primary.advance_commit(safe, Some(frame), effects);
    }

    pub(super) fn out_stream_closed(
        &mut self,
        now: Now,
        stream: OutStream,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        match &mut primary.mode {
            ReplicationMode::Standalone {
                sync: Some(queue), ..
            } if queue.is_current(stream) => {
                self.break_sync(now, effects);
            }
            ReplicationMode::Replicated { queue, .. } if queue.is_current(stream) => {
                effects.extend(queue.close().map(Effect::CloseOutStream));
                self.suspect(now, Suspicion::StreamClosed, effects);
            }
            ReplicationMode::Standalone { .. } | ReplicationMode::Replicated { .. } => {}
        }
    }
}

fn send<T>(
    frame: Option<(OutStream, Frame)>,
    next: &mut FrameNumber,
    effects: &mut Vec<Effect<T>>,
) {
    let Some((stream, frame)) = frame else { return };
    effects.push(Effect::Send {
        stream,
        number: *next,
        frame,
    });
    *next = FrameNumber(next.0 + 1);
}
