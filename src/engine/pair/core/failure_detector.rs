//! Watching the peer, and oneself: ticks, signs of life, probes, doubt.
//!
//! The race this guards against: a server that was stopped wakes up with its timers long over and
//! the peer's answer unread beside them. So a verdict counts only if this server ran throughout
//! (rule M1), and a server that did not run for long is in doubt until the peer has answered it
//! anew (rule M8). Times here only ever start a probe or time one out; nothing is decided on a
//! clock alone.

use std::time::Duration;

#[cfg(test)]
use super::tests::Names;
use super::{FrameNumber, Now, ProbeId};

/// What this server knows of the peer's and its own liveness.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FailureDetector {
    peer_timeout: Duration,
    /// When this server last looked at its clock.
    ran: Now,
    /// The last sign of life, on the link or in answer to a probe.
    last_seen: Now,
    /// The last sign of life on the link.
    last_seen_on_stream: Now,
    probe: Option<Probe>,
    next_id: ProbeId,
    /// Of a server without a link: when to ask again, and how long to wait after that.
    next_probe: Now,
    pause: Duration,
    /// Set while in doubt: frames from this number on were sent after this server woke.
    unconfirmed_since: Option<FrameNumber>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Probe {
    id: ProbeId,
    begun: Now,
    breaks: u32,
}

/// What a late tick means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lateness {
    /// The server ran throughout.
    None,
    /// A verdict in progress does not count.
    Voids,
    /// The peer may have decided without this server.
    Unconfirmed(Duration),
}

impl FailureDetector {
    pub(super) const fn new(peer_timeout: Duration, now: Now) -> Self {
        Self {
            peer_timeout,
            ran: now,
            last_seen: now,
            last_seen_on_stream: now,
            probe: None,
            next_id: ProbeId(0),
            next_probe: now,
            pause: Duration::ZERO,
            unconfirmed_since: None,
        }
    }

    /// The longest pause between two looks at the clock.
    fn tick(&self) -> Duration {
        self.peer_timeout / 8
    }

    /// The longest pause between two frames of an idle link. Shorter than a tick, so that looking
    /// at the clock costs an idle pair no wakes of their own.
    pub(super) fn heartbeat_interval(&self) -> Duration {
        self.peer_timeout / 9
    }

    /// After this much silence the peer is asked, long before the silence itself is held against
    /// it: so that a hang is found in little more than one `peer_timeout`, not in two.
    pub(super) fn quiet(&self) -> Duration {
        self.peer_timeout / 16 * 3
    }

    /// Looks at the clock. To be called before anything else is done with what has arrived.
    pub(super) fn check_clock(&mut self, now: Now) -> Lateness {
        let late = now.since(self.ran).saturating_sub(self.tick());
        self.ran = now;
        if late > self.peer_timeout / 2 {
            Lateness::Unconfirmed(late)
        } else if late > self.peer_timeout / 4 {
            Lateness::Voids
        } else {
            Lateness::None
        }
    }

    /// Begins a new life in a role or view: earlier probes, doubts and silences do not count.
    pub(super) const fn restart(&mut self, now: Now) {
        self.probe = None;
        self.unconfirmed_since = None;
        self.last_seen = now;
        self.last_seen_on_stream = now;
        self.next_probe = now;
        self.pause = Duration::ZERO;
    }

    pub(super) const fn note_seen_on_stream(&mut self, now: Now) {
        self.last_seen = now;
        self.last_seen_on_stream = now;
    }

    /// Nothing came on the link for a whole `peer_timeout`.
    pub(super) fn stream_is_silent(&self, now: Now) -> bool {
        now.since(self.last_seen_on_stream) >= self.peer_timeout
    }

    /// It is time to ask a peer whose link is open.
    pub(super) fn is_quiet(&self, now: Now) -> bool {
        now.since(self.last_seen) >= self.quiet()
    }

    pub(super) const fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Begins a probe; the one in progress, if any, is void.
    pub(super) fn begin_probe(&mut self, now: Now) -> ProbeId {
        self.begin(now, 0)
    }

    const fn begin(&mut self, now: Now, breaks: u32) -> ProbeId {
        let id = self.next_id;
        self.next_id = ProbeId(id.0 + 1);
        self.probe = Some(Probe {
            id,
            begun: now,
            breaks,
        });
        id
    }

    /// Whether `id` is the probe in progress.
    pub(super) fn is_probe(&self, id: ProbeId) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.id == id)
    }

    /// The probe in progress was answered, or refused.
    pub(super) const fn end_probe(&mut self) {
        self.probe = None;
    }

    /// The connection of the probe in progress broke before the answer (rule M2): begins it again.
    /// Says after which pause, which is none at first.
    pub(super) fn repeat_probe(&mut self, now: Now) -> (ProbeId, Duration) {
        let breaks = self.probe.take().map_or(0, |probe| probe.breaks);
        let pause = self.peer_timeout / 64 * breaks.min(8);
        (self.begin(now.after(pause), breaks + 1), pause)
    }

    /// The probe in progress went unanswered for a whole `peer_timeout`.
    pub(super) fn probe_is_over(&self, now: Now) -> bool {
        self.probe
            .as_ref()
            .is_some_and(|probe| now.since(probe.begun) >= self.peer_timeout)
    }

    /// The probe in progress was answered as hoped.
    pub(super) const fn satisfy(&mut self, now: Now) {
        self.probe = None;
        self.unconfirmed_since = None;
        self.last_seen = now;
    }

    /// Whether it is time to ask a peer with which there is no link, and none is being asked.
    pub(super) fn is_probe_due(&self, now: Now) -> bool {
        self.probe.is_none() && now >= self.next_probe
    }

    /// Asks again soon, and ever later: doubling up to two `peer_timeout`s.
    pub(super) fn back_off(&mut self, now: Now) {
        self.probe = None;
        let first = self.peer_timeout / 16;
        self.pause = (self.pause * 2).clamp(first, self.peer_timeout * 2);
        self.next_probe = now.after(self.pause);
    }

    /// Asks at once, and forgets how long it had been backing off.
    pub(super) const fn hurry(&mut self, now: Now) {
        self.pause = Duration::ZERO;
        self.next_probe = now;
    }

    pub(super) const fn unconfirmed_from(&mut self, frame: FrameNumber) {
        self.unconfirmed_since = Some(frame);
    }

    pub(super) const fn is_unconfirmed(&self) -> bool {
        self.unconfirmed_since.is_some()
    }

    /// An acknowledgement of `frame` in this server's own view ends a doubt that is older than the
    /// frame.
    pub(super) fn note_acked(&mut self, frame: FrameNumber) {
        if self.unconfirmed_since.is_some_and(|since| frame >= since) {
            self.unconfirmed_since = None;
        }
    }

    /// When to look at the clock, if nothing happens before.
    pub(super) fn tick_due(&self) -> Now {
        self.ran.after(self.tick())
    }

    /// When the probe in progress is over.
    pub(super) fn probe_deadline(&self) -> Option<Now> {
        self.probe
            .as_ref()
            .map(|probe| probe.begun.after(self.peer_timeout))
    }

    /// When a peer whose link is open is to be asked.
    pub(super) fn quiet_deadline(&self) -> Now {
        self.last_seen.after(self.quiet())
    }

    /// When the silence of a link is over.
    pub(super) fn silence_deadline(&self) -> Now {
        self.last_seen_on_stream.after(self.peer_timeout)
    }

    pub(super) const fn next_probe(&self) -> Now {
        self.next_probe
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, names: &mut impl Names) {
        let (tick, quiet) = (self.tick(), self.quiet());
        names.past(&mut self.ran, tick);
        names.past(&mut self.last_seen, quiet);
        names.past(&mut self.last_seen_on_stream, self.peer_timeout);
        names.due(&mut self.next_probe, self.peer_timeout / 16);
        names.forget(&mut self.pause);
        if let Some(probe) = &mut self.probe {
            names.past(&mut probe.begun, self.peer_timeout);
            names.probe(&mut probe.id);
            names.forget(&mut probe.breaks);
        }
        names.probe(&mut self.next_id);
        self.unconfirmed_since
            .iter_mut()
            .for_each(|frame| names.frame(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER_TIMEOUT: Duration = Duration::from_millis(640);
    const INSTANT: Duration = Duration::from_millis(1);

    fn watch() -> FailureDetector {
        FailureDetector::new(PEER_TIMEOUT, Now(Duration::ZERO))
    }

    #[test]
    fn a_tick_that_is_late_by_a_quarter_voids_and_one_by_a_half_makes_doubt() {
        let late = |late| watch().check_clock(Now(watch().tick() + late));
        let (quarter, half) = (PEER_TIMEOUT / 4, PEER_TIMEOUT / 2);
        assert_eq!(late(quarter), Lateness::None);
        assert_eq!(late(quarter + INSTANT), Lateness::Voids);
        assert_eq!(late(half), Lateness::Voids);
        assert_eq!(late(half + INSTANT), Lateness::Unconfirmed(half + INSTANT));
    }

    #[test]
    fn a_probe_that_breaks_is_repeated_at_once_and_then_ever_later() {
        let mut watch = watch();
        watch.begin_probe(Now::default());
        let pauses = (0..11).map(|_| watch.repeat_probe(Now::default()).1);
        let sixty_fourths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8];
        assert!(pauses.eq(sixty_fourths.map(|pause| PEER_TIMEOUT / 64 * pause)));
        watch.end_probe();
        assert!(!watch.is_probing());
    }

    #[test]
    fn a_peer_without_a_link_is_asked_ever_less_often() {
        let mut watch = watch();
        let paces = (0..8).map(|_| {
            watch.back_off(Now::default());
            watch.next_probe().0
        });
        let sixteenths = [1, 2, 4, 8, 16, 32, 32, 32];
        assert!(paces.eq(sixteenths.map(|pace| PEER_TIMEOUT / 16 * pace)));
    }

    #[test]
    fn doubt_ends_with_a_frame_that_was_sent_since() {
        let mut watch = watch();
        watch.unconfirmed_from(FrameNumber(5));
        watch.note_acked(FrameNumber(4));
        assert!(watch.is_unconfirmed());
        watch.note_acked(FrameNumber(5));
        assert!(!watch.is_unconfirmed());
    }
}
