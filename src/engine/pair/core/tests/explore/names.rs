//! What a core compares and never counts with: moments and numbers. Two cores that differ in
//! nothing else behave alike, so both become the same state: the numbers in use are counted from 0
//! again, in their order, and of a moment nothing is kept but whether it has come.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cores::{LEASE, NOW, RETENTION, Servant};
use crate::engine::leader::Moments;
use crate::engine::pair::core::primary::ReplicationMode;
use crate::engine::pair::core::{FrameNumber, InStream, Now, OutStream, ProbeId, RelayId, Role};

/// Is shown everything in a core that may have another name.
pub(in super::super::super) trait Names: Moments {
    /// Something that only says how long a pause is.
    fn forget<V: Default>(&mut self, value: &mut V);
    fn frame(&mut self, number: &mut FrameNumber);
    fn probe(&mut self, id: &mut ProbeId);
    fn relay(&mut self, id: &mut RelayId);
    fn out_link(&mut self, stream: &mut OutStream);
    /// The current link.
    fn in_link(&mut self, stream: &mut InStream);
    /// The newest link that is closed, or current.
    fn floor(&mut self, stream: &mut InStream);
}

/// The current link, in a core whose names are canonical; every link that is neither current nor
/// newer than the floor; and the floor, if it is above the current link. Newer links have higher
/// numbers.
pub(super) const CURRENT: InStream = InStream(2);
pub(super) const DEAD: InStream = InStream(1);
pub(super) const FLOOR: InStream = InStream(3);

fn show(core: &mut Servant, names: &mut impl Names) {
    let interval = core.detector.heartbeat_interval();
    let (peer_timeout, feed_timeout) = (core.settings.peer_timeout, core.settings.feed_timeout);
    core.detector.name(names);
    core.minimum_stream.name(names);
    core.relays.name(names);
    names.out_link(&mut core.next_stream);
    names.frame(&mut core.next_frame);
    match &mut core.role {
        Role::Starting(starting) => starting.name(names),
        Role::Retired(_) => {}
        Role::Backup(backup) => backup
            .stream
            .iter_mut()
            .for_each(|stream| names.in_link(stream)),
        Role::Primary(primary) => {
            primary.leader.name(RETENTION, LEASE / 4, names);
            primary.passage.name(feed_timeout, names);
            match &mut primary.mode {
                ReplicationMode::Standalone { since, sync } => {
                    names.forget(since);
                    if let Some(queue) = sync {
                        queue.name(interval, peer_timeout, names);
                    }
                }
                ReplicationMode::Replicated { queue, waiting } => {
                    queue.name(interval, peer_timeout, names);
                    waiting.name(names);
                }
            }
        }
    }
}

/// The names in use.
#[derive(Debug, Default)]
pub(super) struct InUse {
    frames: BTreeSet<FrameNumber>,
    probes: BTreeSet<ProbeId>,
    relays: BTreeSet<RelayId>,
    out_links: BTreeSet<OutStream>,
    current: Option<InStream>,
    floor: Option<InStream>,
}

impl InUse {
    pub(super) fn of(core: &mut Servant) -> Self {
        let mut names = Self::default();
        show(core, &mut names);
        names
    }

    /// The new name of a frame; none if the core does not know it.
    pub(super) fn frame(&self, number: FrameNumber) -> Option<FrameNumber> {
        let known = self.frames.contains(&number);
        known.then(|| FrameNumber(rank(&self.frames, &number)))
    }

    /// The new name of a link that this server accepts; none if it is newer than all that it knows.
    pub(super) fn in_link(&self, stream: InStream) -> Option<InStream> {
        if Some(stream) == self.current {
            Some(CURRENT)
        } else {
            (Some(stream) <= self.floor).then_some(DEAD)
        }
    }

    /// Gives everything its new name.
    pub(super) fn rename(&self, core: &mut Servant, now: Now) {
        show(core, &mut Rename { names: self, now });
        if !core.has_stream() {
            // The silence of a link is nothing without one.
            core.detector.note_seen_on_stream(NOW);
        }
    }
}

fn rank<N: Ord>(names: &BTreeSet<N>, name: &N) -> u64 {
    names.range(..name).count() as u64
}

impl Moments for InUse {
    fn past(&mut self, _: &mut Now, _: Duration) {}
    fn due(&mut self, _: &mut Now, _: Duration) {}
}

impl Names for InUse {
    fn forget<V: Default>(&mut self, _: &mut V) {}
    fn frame(&mut self, number: &mut FrameNumber) {
        self.frames.insert(*number);
    }
    fn probe(&mut self, id: &mut ProbeId) {
        self.probes.insert(*id);
    }
    fn relay(&mut self, id: &mut RelayId) {
        self.relays.insert(*id);
    }
    fn out_link(&mut self, stream: &mut OutStream) {
        self.out_links.insert(*stream);
    }
    fn in_link(&mut self, stream: &mut InStream) {
        self.current = Some(*stream);
    }
    fn floor(&mut self, stream: &mut InStream) {
        self.floor = Some(*stream);
    }
}

struct Rename<'a> {
    names: &'a InUse,
    now: Now,
}

impl Moments for Rename<'_> {
    fn past(&mut self, moment: &mut Now, matters_after: Duration) {
        let over = self.now.since(*moment) >= matters_after;
        *moment = if over {
            Now(NOW.0.saturating_sub(matters_after))
        } else {
            NOW
        };
    }
    fn due(&mut self, moment: &mut Now, at_most: Duration) {
        let is_due = *moment <= self.now;
        *moment = if is_due { NOW } else { NOW.after(at_most) };
    }
}

impl Names for Rename<'_> {
    fn forget<V: Default>(&mut self, value: &mut V) {
        *value = V::default();
    }
    fn frame(&mut self, number: &mut FrameNumber) {
        number.0 = rank(&self.names.frames, number);
    }
    fn probe(&mut self, id: &mut ProbeId) {
        id.0 = rank(&self.names.probes, id);
    }
    fn relay(&mut self, id: &mut RelayId) {
        id.0 = rank(&self.names.relays, id);
    }
    fn out_link(&mut self, stream: &mut OutStream) {
        stream.0 = rank(&self.names.out_links, stream);
    }
    fn in_link(&mut self, stream: &mut InStream) {
        *stream = CURRENT;
    }
    fn floor(&mut self, stream: &mut InStream) {
        let is_current = self.names.current == Some(*stream);
        *stream = if is_current { CURRENT } else { FLOOR };
    }
}
