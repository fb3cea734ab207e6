//! How much a frame may hold, by what has got through to the other server.
//!
//! A way between two servers can carry small packets and lose large ones, as a tunnel does whose
//! path MTU is wrong. Probes and heartbeats are answered then, and a batch never arrives: they are
//! no evidence for it. So a frame that was not acknowledged for a whole `peer_timeout`, while the
//! peer answers, makes the way suspect until a frame of that size has passed. Meanwhile frames are
//! small, and links are dialled with small segments. Larger frames are tried again after a pause,
//! which doubles each time, for each trial that fails holds everything up for a `peer_timeout`.

use std::time::Duration;

use super::Now;
#[cfg(test)]
use super::tests::Names;
use crate::config::{MAX_PAYLOAD_BYTES, MIN_PAYLOAD_BYTES};

/// What the way to the other server is known to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    limit: usize,
    /// The smallest frame that got lost, until one of that size has passed.
    lost: Option<Lost>,
    /// Since when nothing has got through.
    unfed: Option<Now>,
    small_segments: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Lost {
    bytes: usize,
    /// When frames may grow again, and how long that was put off.
    grow_at: Now,
    pause: Duration,
}

impl Passage {
    pub(super) const fn new() -> Self {
        Self {
            limit: MAX_PAYLOAD_BYTES,
            lost: None,
            unfed: None,
            small_segments: false,
        }
    }

    /// The most that a frame may hold, in bytes. A single command may be larger.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether links are to be dialled with small segments.
    pub(super) const fn needs_small_segments(&self) -> bool {
        self.small_segments
    }

    /// Whether what was sent last has got through, as far as is known.
    pub(super) const fn is_fed(&self) -> bool {
        self.unfed.is_none()
    }

    /// For how long nothing has got through.
    pub(super) fn unfed_for(&self, now: Now) -> Duration {
        self.unfed.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// A frame of `bytes`, sent at `sent`, was not acknowledged for a whole `peer_timeout`. Returns
    /// whether all was well before.
    pub(super) fn lose(
        &mut self,
        bytes: usize,
        sent: Now,
        now: Now,
        peer_timeout: Duration,
    ) -> bool {
        let bytes = bytes.max(MIN_PAYLOAD_BYTES);
        let before = self.lost.take();
        let pause = before
            .as_ref()
            .map_or(peer_timeout * 8, |lost| lost.pause * 2);
        let pause = pause.min(peer_timeout * 512);
        self.lost = Some(Lost {
            bytes: before.as_ref().map_or(bytes, |lost| lost.bytes.min(bytes)),
            grow_at: now.after(pause),
            pause,
        });
        self.limit = MIN_PAYLOAD_BYTES;
        self.unfed.get_or_insert(sent);
        self.small_segments = true;
        before.is_none()
    }

    /// Something has got through after all.
    pub(super) const fn feed(&mut self) {
        self.unfed = None;
    }

    /// A frame of `bytes` was acknowledged. Returns whether that ends a suspicion.
    pub(super) fn pass(&mut self, bytes: usize, now: Now) -> bool {
        if bytes == 0 {
            return false;
        }
        self.feed();
        let Some(lost) = &self.lost else { return false };
        if bytes >= lost.bytes {
            self.lost = None;
            self.limit = MAX_PAYLOAD_BYTES;
            return true;
        }
        if now >= lost.grow_at && bytes * 2 > self.limit {
            self.limit = (self.limit * 2).min(MAX_PAYLOAD_BYTES);
        }
        false
    }

    /// Lets nothing have got through for `span`.
    #[cfg(test)]
    pub(super) fn starve(&mut self, now: Now, span: Duration) {
        self.unfed = Some(Now(now.0.saturating_sub(span)));
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, feed_timeout: Duration, names: &mut impl Names) {
        self.unfed
            .iter_mut()
            .for_each(|since| names.past(since, feed_timeout));
        self.limit = MAX_PAYLOAD_BYTES;
        names.forget(&mut self.lost);
        names.forget(&mut self.small_segments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER_TIMEOUT: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Now {
        Now(Duration::from_secs(seconds))
    }

    fn lose(passage: &mut Passage, bytes: usize, second: u64) -> bool {
        passage.lose(bytes, at(second - 1), at(second), PEER_TIMEOUT)
    }

    #[test]
    fn a_frame_that_got_lost_makes_frames_small_until_one_of_its_size_has_passed() {
        let mut passage = Passage::new();
        assert_eq!(passage.limit(), MAX_PAYLOAD_BYTES);
        assert!(lose(&mut passage, 4_000, 1));
        assert_eq!(passage.limit(), MIN_PAYLOAD_BYTES);
        assert!(passage.needs_small_segments());
        assert!(!passage.pass(1_000, at(8)));
        assert_eq!(passage.limit(), MIN_PAYLOAD_BYTES, "not before its time");
        assert!(!passage.pass(100, at(9)));
        assert_eq!(
            passage.limit(),
            MIN_PAYLOAD_BYTES,
            "small frames say nothing"
        );
        assert!(!passage.pass(1_000, at(9)));
        assert!(!passage.pass(2_000, at(9)));
        assert_eq!(passage.limit(), 4 * MIN_PAYLOAD_BYTES);
        assert!(passage.pass(4_000, at(9)));
        assert_eq!(passage.limit(), MAX_PAYLOAD_BYTES);
    }

    #[test]
    fn larger_frames_are_tried_ever_less_often() {
        let mut passage = Passage::new();
        assert!(lose(&mut passage, 4_000, 1));
        assert!(!lose(&mut passage, 2_000, 10));
        passage.pass(1_000, at(25));
        assert_eq!(passage.limit(), MIN_PAYLOAD_BYTES);
        passage.pass(1_000, at(26));
        assert_eq!(passage.limit(), 2 * MIN_PAYLOAD_BYTES);
        for _ in 0..10 {
            lose(&mut passage, 2_000, 30);
        }
        passage.pass(1_000, at(30 + 511));
        assert_eq!(passage.limit(), MIN_PAYLOAD_BYTES);
        passage.pass(1_000, at(30 + 512));
        assert_eq!(passage.limit(), 2 * MIN_PAYLOAD_BYTES);
    }

    #[test]
    fn nothing_gets_through_from_the_first_frame_that_is_lost_until_one_passes() {
        let mut passage = Passage::new();
        assert_eq!(passage.unfed_for(at(9)), Duration::ZERO);
        lose(&mut passage, 4_000, 1);
        lose(&mut passage, 1_000, 2);
        assert_eq!(passage.unfed_for(at(9)), Duration::from_secs(9));
        passage.pass(0, at(9));
        assert_eq!(passage.unfed_for(at(9)), Duration::from_secs(9));
        passage.pass(1, at(9));
        assert_eq!(passage.unfed_for(at(9)), Duration::ZERO);
    }
}
