//! Every state of a single server that was met, kept once, and what became of it, worked out once:
//! the real [`Core`] is run for each state and each thing that can happen to it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash};
use std::rc::Rc;
use std::time::Duration;

use foldhash::quality::FixedState;

use super::names::InUse;
use super::network::PeerQuestion;
use crate::config::{Limits, Timing};
use crate::engine::EngineStatus;
use crate::engine::pair::core::{
    Core, Effect, Event, FrameNumber, InStream, Input, Now, Reply, Role, Settings,
};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction};
use crate::machine::Machine;
use crate::service::{Answer, Refusal, Request, Revision};
use crate::types::{OpNumber, ServerId, SessionId, Token, View};

/// The moment at which every kept core stands.
pub(super) const NOW: Now = Now(Duration::from_secs(10));
const PEER_TIMEOUT: Duration = Duration::from_millis(800);

/// Longer than a server's clock is turned while it runs, so that a backup is let go by
/// [`Drive::Unfed`] alone.
const FEED_TIMEOUT: Duration = Duration::from_secs(8);

/// Longer than a server's clock is turned while it runs, so that a lease ends by
/// [`Drive::LeaseEnds`] alone; shorter than the longest stop, so that a server which held that
/// against its clients would be found out.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// Shorter than the shortest step in which it is counted, so that it ends at once, by
/// [`Drive::RetentionEnds`] alone.
pub(super) const RETENTION: Duration = Duration::from_secs(1);

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// A try of a client's, at a server.
    Client(Try),
    /// The other server, which relays for one.
    Relay(Try),
    /// A copy of a request, for which nobody waits.
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Try {
    pub(super) client: u8,
    pub(super) step: u8,
    pub(super) at: ServerId,
    /// Counts those whose connection broke.
    pub(super) nth: u8,
}

pub(super) type Servant = Core<Caller>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CoreId(u32);

/// How late a server's clock finds it, when it wakes from a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Late {
    /// Not at all.
    No,
    /// More than a quarter of `peer_timeout`: a probe in progress is void.
    Voids,
    /// More than a half: it is in doubt.
    Doubts,
    /// Several times `peer_timeout`: all its timers are over as well.
    Long,
}

/// What makes a server move.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Drive {
    Input(Late, Input<Caller>),
    /// As much time passes as between two heartbeats.
    Beat,
    /// As much time passes as makes a quiet peer suspect.
    Quiet,
    /// Nothing is heard for more than a `peer_timeout`, or until that leads to something.
    Timeout,
    /// The frame under way was not acknowledged for a `peer_timeout`. As below, the clock is not
    /// turned.
    Overdue,
    /// Nor was anything else, for as long as a backup is kept that cannot be fed.
    Unfed,
    /// Nothing was heard of a session for as long as its lease. What else there was in that time
    /// has happened already, so the clock is not turned: the last renewal is put back.
    LeaseEnds(SessionId),
    /// The time is over for which a lock is retained, likewise.
    RetentionEnds(Token),
    /// The poll of a session has waited for a quarter of its lease, likewise.
    PollEnds(SessionId),
}

/// An effect, with canonical names.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Reply(Caller, Result<Answer, Refusal>),
    FrameAnswer(FrameAnswer),
    Introduction(Introduction),
    OpenLink(FrameNumber, Rc<Frame>),
    Send(FrameNumber, Rc<Frame>),
    CloseOutLink,
    /// By its name before the step.
    CloseInLink(InStream),
    Probe(PeerQuestion),
    Fence(View),
    Relay(Caller, Rc<Request>),
    Event(Event),
}

/// What became of a core.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) core: CoreId,
    pub(super) deeds: Vec<Deed>,
    /// How to rename what is on the way.
    pub(super) names: InUse,
}

#[derive(Debug, Default)]
pub(super) struct Cores {
    kept: Vec<Servant>,
    ids: HashMap<u64, CoreId, FixedState>,
    moved: HashMap<(CoreId, Drive, OpNumber), Rc<Moved>, FixedState>,
    judged: RefCell<HashSet<u64, FixedState>>,
}

impl Cores {
    /// How many states of a single server there are, and how often the core was run.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.kept.len(), self.moved.len())
    }

    /// A server that has just been started.
    pub(super) fn start(&mut self, me: ServerId) -> CoreId {
        let timing = Timing {
            peer_timeout: PEER_TIMEOUT,
            feed_timeout: FEED_TIMEOUT,
            session_time_to_live: Duration::from_hours(1_000_000),
            ..Timing::default()
        };
        let settings = Settings::new(me, false, timing, Limits::default(), 0);
        let mut core = Core::new(settings, NOW);
        InUse::of(&mut core).rename(&mut core, NOW);
        self.keep(core)
    }

    /// Whether this has not been asked of the same thing before.
    pub(super) fn is_new(&self, what: &impl Hash) -> bool {
        let hash = FixedState::default().hash_one(what);
        self.judged.borrow_mut().insert(hash)
    }

    fn keep(&mut self, core: Servant) -> CoreId {
        let hash = FixedState::default().hash_one(format!("{core:?}"));
        let next = CoreId(u32::try_from(self.kept.len()).expect("few cores"));
        *self.ids.entry(hash).or_insert_with(|| {
            self.kept.push(core);
            next
        })
    }

    pub(super) fn look(&self, id: CoreId) -> &Servant {
        &self.kept[id.0 as usize]
    }

    /// Moves a core. `base`: where the ops of a pair begin that it might form now.
    pub(super) fn drive(&mut self, id: CoreId, drive: Drive, base: OpNumber) -> Rc<Moved> {
        let key = (id, drive, base);
        if let Some(moved) = self.moved.get(&key) {
            return moved.clone();
        }
        let (_, drive, _) = key.clone();
        let mut core = self.look(id).clone();
        let mut effects = Vec::new();
        let now = drive_core(&mut core, drive, base, &mut effects);
        let names = InUse::of(&mut core);
        let deeds = effects.into_iter();
        let deeds = deeds
            .filter_map(|effect| deed(effect, &names, &core))
            .collect();
        names.rename(&mut core, now);
        let core = self.keep(core);
        let moved = Rc::new(Moved { core, deeds, names });
        self.moved.insert(key, moved.clone());
        moved
    }
}

fn drive_core(
    core: &mut Servant,
    drive: Drive,
    base: OpNumber,
    effects: &mut Vec<Effect<Caller>>,
) -> Now {
    let (beat, quiet) = (core.detector.heartbeat_interval(), core.detector.quiet());
    if let Role::Primary(primary) = &mut core.role {
        match drive {
            Drive::LeaseEnds(session) => primary.leader.let_lease_end(session, NOW),
            Drive::RetentionEnds(token) => primary.leader.let_retention_end(token, NOW),
            Drive::PollEnds(session) => primary.leader.let_poll_end(session, NOW),
            Drive::Overdue | Drive::Unfed => {
                if let Some((queue, _)) = primary.sending() {
                    queue.delay(NOW, PEER_TIMEOUT);
                }
                if drive == Drive::Unfed {
                    primary.passage.starve(NOW, FEED_TIMEOUT);
                }
            }
            _ => {}
        }
    }
    let mut step = |now: Now, input| {
        let running = u64::try_from(now.0.as_micros()).expect("not long");
        core.settings.started_at = base.0 - running;
        core.step(now, input, effects);
        core.flush(now, effects);
        core.settings.started_at = 0;
        let something = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Event(_)));
        (core.next_wake(), something)
    };
    match drive {
        Drive::Input(late, input) => {
            let now = NOW.after(lateness(late));
            step(now, input);
            now
        }
        Drive::LeaseEnds(_)
        | Drive::PollEnds(_)
        | Drive::RetentionEnds(_)
        | Drive::Overdue
        | Drive::Unfed => {
            step(NOW, Input::Wake);
            NOW
        }
        Drive::Beat => {
            let now = NOW.after(beat);
            step(now, Input::Wake);
            now
        }
        Drive::Quiet => {
            let now = NOW.after(quiet);
            step(now, Input::Wake);
            now
        }
        Drive::Timeout => {
            let mut now = NOW;
            let mut wake = NOW.after(TICK);
            while now < NOW.after(PEER_TIMEOUT * 9 / 4) {
                now = wake.max(now.after(Duration::from_millis(1)));
                let (next, something) = step(now, Input::Wake);
                if something {
                    break;
                }
                wake = next;
            }
            now
        }
    }
}

/// The longest that a running server does nothing.
const TICK: Duration = PEER_TIMEOUT.checked_div(8).expect("not by zero");

fn lateness(late: Late) -> Duration {
    match late {
        Late::No => Duration::ZERO,
        Late::Voids => TICK + PEER_TIMEOUT * 3 / 8,
        Late::Doubts => TICK + PEER_TIMEOUT * 5 / 8,
        Late::Long => PEER_TIMEOUT * 4,
    }
}

fn deed(effect: Effect<Caller>, names: &InUse, core: &Servant) -> Option<Deed> {
    let unknown = FrameNumber(u64::MAX);
    Some(match effect {
        Effect::Reply(Reply { to, result }) => Deed::Reply(to, result),
        Effect::FrameAnswer(answer) => Deed::FrameAnswer(answer),
        Effect::Introduction(introduction) => Deed::Introduction(introduction),
        Effect::OpenStream { number, frame, .. } => {
            Deed::OpenLink(names.frame(number).unwrap_or(unknown), Rc::new(frame))
        }
        Effect::Send { number, frame, .. } => {
            Deed::Send(names.frame(number).unwrap_or(unknown), Rc::new(frame))
        }
        Effect::CloseOutStream(_) => Deed::CloseOutLink,
        Effect::CloseInStream(stream) => Deed::CloseInLink(stream),
        Effect::Probe { asker, .. } => Deed::Probe(PeerQuestion::Who(asker)),
        Effect::Dismiss { view, .. } => Deed::Probe(PeerQuestion::StepDown(view)),
        Effect::AnnounceView { view } => Deed::Fence(view),
        Effect::Relay { relay, request } => {
            let (_, caller) = core.relays.callers().find(|(id, _)| *id == relay)?;
            Deed::Relay(*caller, Rc::new(request))
        }
        Effect::AbandonRelays => return None,
        Effect::Event(event) => Deed::Event(event),
    })
}

/// What the explorer asks of a core.
pub(super) trait Look {
    fn status_now(&self) -> EngineStatus;
    fn machine(&self) -> Option<&Machine>;
    fn is_starting(&self) -> bool;
    fn is_retired(&self) -> bool;
    /// It has sent a frame with a payload, and no answer has come.
    fn has_payload_under_way(&self) -> bool;
    fn is_probing(&self) -> bool;
    fn is_primary(&self) -> bool;
    /// It is a primary that may find the lease of this session over.
    fn leases(&self, session: SessionId) -> bool;
    /// The locks that are retained, at a primary that counts the time.
    fn retentions(&self) -> Vec<Token>;
    /// It is a primary at which a poll of this session waits: for what is after this mark.
    fn lets_wait(&self, session: SessionId) -> Option<Revision>;
}

impl Look for Servant {
    fn status_now(&self) -> EngineStatus {
        self.status(NOW)
    }

    fn machine(&self) -> Option<&Machine> {
        match &self.role {
            Role::Starting(_) | Role::Retired(_) => None,
            Role::Primary(primary) => Some(&primary.machine),
            Role::Backup(backup) => Some(&backup.machine),
        }
    }

    fn is_starting(&self) -> bool {
        matches!(self.role, Role::Starting(_))
    }

    fn is_retired(&self) -> bool {
        matches!(self.role, Role::Retired(_))
    }

    fn has_payload_under_way(&self) -> bool {
        let Role::Primary(primary) = &self.role else {
            return false;
        };
        let mut queue = primary.queue().into_iter();
        queue.any(|queue| queue.overdue_at(Duration::ZERO).is_some())
    }

    fn is_primary(&self) -> bool {
        matches!(self.role, Role::Primary(_))
    }

    fn leases(&self, session: SessionId) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.leader.knows_lease(session))
    }

    fn retentions(&self) -> Vec<Token> {
        match &self.role {
            Role::Primary(primary) => primary.leader.retained_tokens().collect(),
            _ => Vec::new(),
        }
    }

    fn lets_wait(&self, session: SessionId) -> Option<Revision> {
        match &self.role {
            Role::Primary(primary) => primary.leader.poll_waits_from(session),
            Role::Starting(_) | Role::Backup(_) | Role::Retired(_) => None,
        }
    }

    fn is_probing(&self) -> bool {
        self.detector.is_probing()
    }
}
