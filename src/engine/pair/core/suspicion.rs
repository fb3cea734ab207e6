//! When the other one seems dead: clocks, questions, and what their answers mean.
//!
//! A peer is asked before anything is decided about it. Being asked, and timers, only ever lead to
//! asking; an answer, a refusal, or a whole `peer_timeout` of silence lead to a
//! [transition](super).

use std::time::Duration;

use super::failure_detector::Lateness;
use super::primary::ReplicationMode;
use super::replication_queue::ReplicationQueue;
use super::{
    Core, Effect, Event, FailureCause, InStream, Now, ProbeId, ProbeResult, Role, StepDownReason,
    Suspicion,
};
use crate::engine::pair::protocol::{Introduction, PeerState, StreamPurpose};
use crate::service::Obstacle;
use crate::types::{ServerId, View};

impl<T> Core<T> {
    pub(super) fn check_clock(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let late = match self.detector.check_clock(now) {
            Lateness::None => return,
            Lateness::Voids => None,
            Lateness::Unconfirmed(late) => Some(late),
        };
        // The same holds for clients: their renewals may lie unread.
        if let Role::Primary(primary) = &mut self.role {
            primary.leader.renew_all(now);
            if let Some((queue, _)) = primary.sending() {
                queue.wait_anew(now);
            }
        }
        // [M1] A verdict counts only if this server ran throughout. The void probe's answer may lie
        // unread beside the timer; it must not be believed either.
        if self.detector.is_probing() {
            self.probe(now, effects);
        }
        let Some(late) = late else { return };
        // [M8] The peer may have taken over, answered clients and died since. An alone primary has
        // nobody who could.
        let can_be_replaced = match &self.role {
            Role::Starting(_) | Role::Retired(_) => false,
            Role::Primary(primary) => matches!(primary.mode, ReplicationMode::Replicated { .. }),
            Role::Backup(_) => true,
        };
        if can_be_replaced {
            self.detector.unconfirmed_from(self.next_frame);
            effects.push(Effect::Event(Event::Unconfirmed { late }));
            self.suspect(now, Suspicion::Unconfirmed, effects);
        }
    }

    pub(super) fn wake(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        match &mut self.role {
            Role::Starting(starting) => {
                if starting.is_receiving() {
                    if self.detector.stream_is_silent(now) {
                        self.drop_transfer(now, effects);
                    }
                    return;
                }
                if self.detector.probe_is_over(now) {
                    if self.settings.standalone {
                        return self.form_standalone(now, effects);
                    }
                    self.detector.back_off(now);
                }
                self.probe_if_due(now, effects);
            }
            Role::Primary(primary) => {
                primary.clock = self.clock;
                primary.wake(now, self.next_frame, effects);
                match &primary.mode {
                    ReplicationMode::Standalone {
                        sync: Some(queue), ..
                    } if self.detector.stream_is_silent(now)
                        || queue.overdue(now, self.settings.peer_timeout).is_some() =>
                    {
                        self.break_sync(now, effects);
                    }
                    ReplicationMode::Standalone { sync: Some(_), .. } => {}
                    ReplicationMode::Standalone { sync: None, .. } => {
                        if self.detector.probe_is_over(now) {
                            self.detector.back_off(now);
                        }
                        self.probe_if_due(now, effects);
                    }
                    ReplicationMode::Replicated { .. } => self.monitor_peer(now, effects),
                }
            }
            Role::Backup(_) => self.monitor_peer(now, effects),
            // A peer that has not asked by now does not wait for this server.
            Role::Retired(retired) => retired.told |= self.detector.stream_is_silent(now),
        }
    }

    /// Asks a quiet peer, and believes the timer of a probe.
    pub(super) fn monitor_peer(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let cut = !self.has_stream();
        if self.detector.probe_is_over(now) {
            if cut || self.detector.stream_is_silent(now) {
                return self.peer_is_dead(now, FailureCause::Silent, effects);
            }
            self.detector.end_probe();
        }
        if self.detector.is_probing() {
            return;
        }
        let due = match (cut, self.is_joined()) {
            (true, _) => self.detector.is_probe_due(now),
            (false, true) => self.detector.is_quiet(now),
            (false, false) => self.detector.stream_is_silent(now),
        };
        if self.is_unacknowledged(now) {
            self.suspect(now, Suspicion::Unacknowledged, effects);
        } else if due {
            self.probe(now, effects);
        }
    }

    /// Whether a frame was not acknowledged for a whole `peer_timeout`, whatever else was heard.
    fn is_unacknowledged(&self, now: Now) -> bool {
        let Role::Primary(primary) = &self.role else {
            return false;
        };
        let mut queue = primary.queue().into_iter();
        queue.any(|queue| queue.overdue(now, self.settings.peer_timeout).is_some())
    }

    /// False of a primary whose backup has not taken the join yet: to be asked makes a starting
    /// server drop the copy that it has, so that must not happen lightly.
    pub(super) fn is_joined(&self) -> bool {
        match &self.role {
            Role::Primary(primary) => primary.queue().is_some_and(ReplicationQueue::is_followed),
            Role::Starting(_) | Role::Backup(_) | Role::Retired(_) => true,
        }
    }

    pub(super) fn probe(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let probe = self.detector.begin_probe(now);
        effects.push(Effect::Probe {
            probe,
            pause: Duration::ZERO,
            asker: self.introduction(),
        });
    }

    pub(super) fn probe_if_due(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        if self.detector.is_probe_due(now) {
            self.probe(now, effects);
        }
    }

    /// Nothing is decided about a suspect peer before it was probed.
    pub(super) fn suspect(&mut self, now: Now, reason: Suspicion, effects: &mut Vec<Effect<T>>) {
        if self.detector.is_probing() {
            return;
        }
        effects.push(Effect::Event(Event::Suspect { reason }));
        self.probe(now, effects);
    }

    pub(super) fn answer_probe(
        &mut self,
        now: Now,
        stream: InStream,
        asker: Introduction,
        effects: &mut Vec<Effect<T>>,
    ) {
        // [M10] It neither forms a pair with this server nor syncs it, so it may be told of any
        // state, and needs no probe in return: its question may be as late as any.
        if matches!(asker.state, PeerState::Retired { .. }) {
            return self.probed_by_retired(effects);
        }
        self.note_limits(asker.limits, effects);
        let fits = self.check_peer_timeout(asker.peer_timeout, effects);
        let asker = asker.state;
        if !fits && asker == PeerState::Starting {
            // It neither forms a pair with this server nor syncs it, and has nothing to yield to.
            return effects.push(Effect::Introduction(self.introduction()));
        }
        // [M10] Being asked decides nothing: a question that does not fit only makes this server
        // ask.
        match &mut self.role {
            Role::Starting(starting) => {
                // [M3] Who hears `Starting` may form a pair with this server, or sync it: nothing
                // that was sent before may reach into that.
                let current = starting.drop_transfer();
                self.minimum_stream.raise(stream, current);
                effects.extend(current.map(Effect::CloseInStream));
                if asker == PeerState::Starting {
                    self.detector.hurry(now);
                    self.probe_if_due(now, effects);
                }
            }
            Role::Primary(primary) => match &primary.mode {
                ReplicationMode::Standalone { sync: None, .. } => {
                    self.detector.hurry(now);
                    self.probe_if_due(now, effects);
                }
                ReplicationMode::Standalone { sync: Some(_), .. }
                    if asker == PeerState::Starting => {}
                // It has not taken the join, or the forming, yet. To suspect it would make it drop
                // its copy.
                ReplicationMode::Replicated { queue, .. }
                    if queue.is_joining() && asker == PeerState::Starting => {}
                ReplicationMode::Replicated { .. } if fits_backup(asker, primary.view) => {}
                ReplicationMode::Standalone { .. } | ReplicationMode::Replicated { .. } => {
                    self.suspect(now, Suspicion::StrangeQuestion, effects);
                }
            },
            Role::Backup(backup) => {
                if !matches!(asker, PeerState::Primary { view, .. } if view == backup.view) {
                    self.suspect(now, Suspicion::StrangeQuestion, effects);
                }
            }
            Role::Retired(retired) => retired.told = true,
        }
        effects.push(Effect::Introduction(self.introduction()));
    }

    pub(super) fn probed(
        &mut self,
        now: Now,
        probe: ProbeId,
        result: ProbeResult,
        effects: &mut Vec<Effect<T>>,
    ) {
        if !self.detector.is_probe(probe) {
            return;
        }
        match result {
            // [M2] A probe whose connection breaks says nothing.
            ProbeResult::Broken => self.repeat_probe(now, effects),
            // Nor does one that somebody else answers.
            ProbeResult::Obstructed(obstacle) => {
                self.note_obstacle(Some(obstacle), effects);
                self.repeat_probe(now, effects);
            }
            ProbeResult::Refused => {
                self.note_obstacle(None, effects);
                self.probe_refused(now, effects);
            }
            ProbeResult::Answered(peer) => self.probe_answered(now, peer, effects),
        }
    }

    fn repeat_probe(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let (probe, pause) = self.detector.repeat_probe(now);
        effects.push(Effect::Probe {
            probe,
            pause,
            asker: self.introduction(),
        });
    }

    /// Notes what keeps the servers apart; reports it when it is new.
    fn note_obstacle(&mut self, obstacle: Option<Obstacle>, effects: &mut Vec<Effect<T>>) {
        if self.obstacle == obstacle {
            return;
        }
        self.obstacle = obstacle;
        let event = obstacle.map(|obstacle| Event::Obstructed { obstacle });
        effects.extend(event.map(Effect::Event));
    }

    /// Whether the peer's timeout is this server's. Each holds the other's silence against it by
    /// its own clock, so with different ones the slower could be replaced while it believes all is
    /// well.
    pub(super) fn check_peer_timeout(
        &mut self,
        theirs: Duration,
        effects: &mut Vec<Effect<T>>,
    ) -> bool {
        let ours = self.settings.peer_timeout;
        let fits = ours == theirs;
        let obstacle = (!fits).then_some(Obstacle::PeerTimeout { ours, theirs });
        self.note_obstacle(obstacle, effects);
        fits
    }

    fn probe_refused(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        match &mut self.role {
            Role::Starting(starting) if starting.is_receiving() => self.detector.end_probe(),
            Role::Starting(_) if self.settings.standalone => self.form_standalone(now, effects),
            Role::Starting(_) => self.detector.back_off(now),
            Role::Primary(primary)
                if matches!(primary.mode, ReplicationMode::Standalone { .. }) =>
            {
                self.detector.back_off(now);
            }
            Role::Primary(_) | Role::Backup(_) => {
                self.peer_is_dead(now, FailureCause::Refused, effects);
            }
            Role::Retired(retired) => {
                retired.told = true;
                self.detector.end_probe();
            }
        }
    }

    fn probe_answered(&mut self, now: Now, peer: Introduction, effects: &mut Vec<Effect<T>>) {
        self.note_limits(peer.limits, effects);
        let fits = self.check_peer_timeout(peer.peer_timeout, effects);
        let (view, alone) = match &mut self.role {
            Role::Starting(starting) => {
                let receiving = starting.is_receiving();
                let peer = fits.then_some(peer);
                return self.met_while_starting(now, peer, receiving, effects);
            }
            Role::Primary(primary) => (
                primary.view,
                matches!(primary.mode, ReplicationMode::Standalone { .. }),
            ),
            Role::Backup(backup) => (backup.view, false),
            Role::Retired(retired) => {
                retired.told |= matches!(peer.state, PeerState::Retired { .. });
                return self.detector.end_probe();
            }
        };
        match peer.state.view() {
            theirs if matches!(peer.state, PeerState::Retired { .. }) && theirs <= Some(view) => {
                self.peer_retired(now, theirs, view, effects);
            }
            None if alone && !fits => self.detector.back_off(now),
            None => {
                if !alone {
                    // [M12]
                    let is_let_go = self.gives_up_feeding(now);
                    let cause = if is_let_go {
                        FailureCause::LetGo
                    } else {
                        FailureCause::Restarted
                    };
                    self.peer_is_dead(now, cause, effects);
                }
                if fits {
                    self.sync(now, &peer, effects);
                }
            }
            Some(theirs) if theirs > view => {
                self.step_down(now, StepDownReason::HigherView(theirs), effects);
            }
            Some(theirs) if theirs < view => {
                effects.push(Effect::AnnounceView { view });
                self.detector.back_off(now);
            }
            Some(_) => self.resume(now, peer.state, effects),
        }
    }

    fn met_while_starting(
        &mut self,
        now: Now,
        peer: Option<Introduction>,
        receiving: bool,
        effects: &mut Vec<Effect<T>>,
    ) {
        if receiving {
            return self.detector.end_probe();
        }
        if let Some(peer) = peer
            && peer.state == PeerState::Starting
            && self.settings.me == ServerId::A
        {
            return self.form(now, peer.highest, effects);
        }
        // The server with the state finds out by its own probe, and dials.
        self.detector.back_off(now);
    }

    /// The peer is where it should be.
    fn resume(&mut self, now: Now, peer: PeerState, effects: &mut Vec<Effect<T>>) {
        let silent = self.detector.stream_is_silent(now);
        let peer_timeout = self.settings.peer_timeout;
        self.detector.satisfy(now);
        match (&mut self.role, peer) {
            (Role::Primary(primary), PeerState::Backup { op, .. }) => {
                let ReplicationMode::Replicated { queue, .. } = &mut primary.mode else {
                    return;
                };
                // [M9] The op that it names counts as its acknowledgement: the one it sent may be
                // lost with the link, and no further call may come. It may also be older than one
                // that has arrived since.
                let is_fed = op > queue.acked();
                if is_fed && !queue.advance_acked(op) {
                    return self.peer_is_dead(now, FailureCause::Diverged, effects);
                }
                let acked = queue.acked();
                let cut = queue.stream().is_none();
                let overdue = queue.overdue(now, peer_timeout).is_some();
                effects.extend(primary.lose_payload(now, peer_timeout).map(Effect::Event));
                if is_fed {
                    primary.passage.feed();
                }
                primary.advance_commit(acked, None, effects);
                if self.gives_up_feeding(now) {
                    return self.dismiss(now, effects);
                }
                if cut || silent || overdue {
                    self.open_stream(now, StreamPurpose::Resume, effects);
                }
                if (cut || silent) && !overdue {
                    effects.push(Effect::Event(Event::Resumed));
                }
            }
            (Role::Backup(_), PeerState::Primary { .. }) => self.resend_relays(effects),
            _ => {}
        }
    }
}

/// Whether `asker` is the backup that the primary of `view` believes in.
fn fits_backup(asker: PeerState, view: View) -> bool {
    matches!(asker, PeerState::Backup { view: theirs, .. } if theirs == view)
}
