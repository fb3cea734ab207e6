//! The sending end of a link: what a primary does to feed the other server, be it a backup or one
//! that is being synced.

use super::outbox::{Acked, Outbox};
use super::primary::Mode;
use super::waiting::Waiting;
use super::{Core, Death, Effect, Event, FrameNumber, Now, OutLink, Role, Suspicion};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction, LinkPurpose};

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
        let interval = self.watch.heartbeat_interval();
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some((outbox, _)) = primary.sending() else {
            return;
        };
        // What is acknowledged already needs no frame: the outcome of a repeated call.
        let acked = outbox.is_followed().then(|| outbox.acked());
        if let Some((outbox, machine)) = primary.sending() {
            let heartbeat = outbox.next_heartbeat(machine, interval, self.next_frame, now);
            send(heartbeat, &mut self.next_frame, effects);
        }
        if let Some(acked) = acked {
            primary.release(acked, None, effects);
        }
    }

    fn send_payload(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let wanted = primary.waits_for_frame();
        let limit = primary.passage.limit();
        if let Some((outbox, machine)) = primary.sending() {
            let payload = outbox.next_payload(machine, wanted, limit, self.next_frame, now);
            send(payload, &mut self.next_frame, effects);
        }
    }

    /// Takes in a peer. It may have granted locks while it was cut off from this server, and may
    /// grant some when it has taken over: marks go on above those that it gave.
    pub(super) fn sync(&mut self, now: Now, peer: &Introduction, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Mode::Alone {
            sync: sync @ None, ..
        } = &mut primary.mode
        else {
            return;
        };
        primary.machine.give_marks_above(peer.highest);
        let op = primary.machine.op();
        *sync = Some(Outbox::new(op));
        self.watch.end_probe();
        if let Some(dropped) = peer.dropped
            && self.peer_dropped.replace(dropped.view) != Some(dropped.view)
        {
            effects.push(Effect::Event(Event::PeerDropped { dropped }));
        }
        effects.push(Effect::Event(Event::SyncBegan { op }));
        self.open_link(now, LinkPurpose::Sync, effects);
    }

    pub(super) fn break_sync(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let peer_timeout = self.settings.peer_timeout;
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let lost = primary.lose_payload(now, peer_timeout);
        let Mode::Alone { sync, .. } = &mut primary.mode else {
            return;
        };
        let Some(mut outbox) = sync.take() else {
            return;
        };
        effects.extend(lost.map(Effect::Event));
        effects.extend(outbox.close().map(Effect::CloseOutLink));
        effects.push(Effect::Event(Event::SyncBroken));
        self.watch.back_off(now);
    }

    /// [M4] When the peer has nearly caught up, the primary makes the new view and, in the same
    /// step, stops answering on its own: the peer may take over from the moment it has the join.
    fn consider_join(&mut self, now: Now, effects: &mut Vec<Effect<T>>) -> bool {
        let Role::Primary(primary) = &mut self.role else {
            return false;
        };
        let Mode::Alone { sync, .. } = &mut primary.mode else {
            return false;
        };
        if sync
            .as_ref()
            .is_some_and(|outbox| outbox.overflows(&self.settings.limits))
        {
            self.break_sync(now, effects);
            return false;
        }
        let Some(mut outbox) = sync.take_if(|outbox| outbox.has_nearly_caught_up()) else {
            return false;
        };
        primary.view = primary.view.next(self.settings.me);
        let view = primary.view;
        outbox.join(view, primary.machine.op());
        primary.mode = Mode::Paired {
            outbox,
            waiting: Waiting::new(),
        };
        self.watch.restart(now);
        effects.push(Effect::Event(Event::BackupJoining { view }));
        true
    }

    pub(super) fn open_link(
        &mut self,
        now: Now,
        purpose: LinkPurpose,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let view = primary.view;
        let small_segments = primary.passage.needs_small_segments();
        let Some((outbox, machine)) = primary.sending() else {
            return;
        };
        effects.extend(outbox.close().map(Effect::CloseOutLink));
        let link = self.next_link;
        self.next_link = OutLink(link.0 + 1);
        let number = self.next_frame;
        self.next_frame = FrameNumber(number.0 + 1);
        let copy = (purpose == LinkPurpose::Sync).then(|| machine.snapshot());
        outbox.open(link, view, number, copy, now);
        self.watch.hear_on_link(now);
        effects.push(Effect::OpenLink {
            link,
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
        link: OutLink,
        frame: FrameNumber,
        answer: FrameAnswer,
        effects: &mut Vec<Effect<T>>,
    ) {
        if let FrameAnswer::Fenced { view } = answer {
            return self.fenced(now, view, effects);
        }
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let view = primary.view;
        let Some((outbox, _)) = primary.sending() else {
            return;
        };
        let op = match answer {
            FrameAnswer::Ack { op } => op,
            FrameAnswer::PeerTimeout { theirs } => {
                self.check_peer_timeout(theirs, effects);
                return self.out_link_closed(now, link, effects);
            }
            _ => return self.out_link_closed(now, link, effects),
        };
        let bytes = outbox.bytes_of(frame);
        let acked = outbox.acknowledge(link, frame, op);
        let safe = outbox.acked();
        match acked {
            Acked::Stale => return,
            Acked::Impossible => return self.peer_is_dead(now, Death::Diverged, effects),
            Acked::Joined => effects.push(Effect::Event(Event::BackupJoined { view })),
            Acked::Progress => {}
        }
        if let Some(bytes) = bytes
            && primary.passage.pass(bytes, now)
        {
            effects.push(Effect::Event(Event::FramePassed { bytes }));
        }
        if primary.outbox().is_some_and(|outbox| outbox.len() == 0) {
            primary.passage.feed();
        }
        self.watch.hear_on_link(now);
        self.watch.note_acked(frame);
        primary.release(safe, Some(frame), effects);
    }

    pub(super) fn out_link_closed(
        &mut self,
        now: Now,
        link: OutLink,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        match &mut primary.mode {
            Mode::Alone {
                sync: Some(outbox), ..
            } if outbox.is_current(link) => {
                self.break_sync(now, effects);
            }
            Mode::Paired { outbox, .. } if outbox.is_current(link) => {
                effects.extend(outbox.close().map(Effect::CloseOutLink));
                self.suspect(now, Suspicion::LinkClosed, effects);
            }
            Mode::Alone { .. } | Mode::Paired { .. } => {}
        }
    }
}

fn send<T>(frame: Option<(OutLink, Frame)>, next: &mut FrameNumber, effects: &mut Vec<Effect<T>>) {
    let Some((link, frame)) = frame else { return };
    effects.push(Effect::Send {
        link,
        number: *next,
        frame,
    });
    *next = FrameNumber(next.0 + 1);
}
