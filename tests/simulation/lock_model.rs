//! Who owns which lock, as the owners and whoever looks at the locks see it; and whether that can
//! be.
//!
//! Simulated time is one clock for all, so here it can be said whether a guard still said "held"
//! when another grant had begun, also of a guard whose machine is gone. Hosts take turns within a
//! tick, so what is compared is what their clocks say, not in which order they were asked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt as _;

use lockservice::service::{LockInfo, LockMode, QueueEntryInfo};
use lockservice::testkit::holders::{self, Holders};
use lockservice::types::{LockName, SessionId, Token};
use lockservice::{GuardState, LockGuard, LossReason, ReleaseError};
use tokio::time::Instant;

use super::breaks::{self, Break, BreakId, Breaks};

/// By how much the clocks of two hosts differ at most: they take turns within a tick.
const CLOCKS_DIFFER: Duration = Duration::from_millis(6);

/// Simulated time, as this host has it.
pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// Everything that owners were told in a run.
#[derive(Debug, Default)]
pub(crate) struct LockModel {
    holders: RefCell<Holders<Holder>>,
    grants: RefCell<Vec<Granted>>,
    inspections: RefCell<Vec<Inspection>>,
    breaks: Breaks,
    /// Grants that ended by a release that said so.
    released: RefCell<BTreeSet<(LockName, Token)>>,
    lost: Cell<u64>,
    heard: Cell<u64>,
    retained: Cell<u64>,
}

/// Why a lock is taken.
#[derive(Debug)]
enum Holder {
    Guard(Rc<Held>),
    /// Its owner has let go of it, but it is retained.
    Retained {
        granted: Duration,
        until: Duration,
    },
}

impl Holder {
    fn granted(&self) -> Duration {
        match self {
            Self::Guard(held) => held.granted,
            Self::Retained { granted, .. } => *granted,
        }
    }

    /// Until when nobody else can have the lock, if it is not broken.
    fn until(&self) -> Duration {
        match self {
            Self::Guard(held) => held.safe_until().max(held.retained_until()),
            Self::Retained { until, .. } => *until,
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.until()
    }
}

/// A guard that its owner has.
#[derive(Debug)]
pub(crate) struct Held {
    owner: usize,
    most: u32,
    guard: LockGuard,
    granted: Duration,
    /// The same moment by the clock of the host, which is another one after each start.
    began: Instant,
    /// When the lock was granted to be held alone, by this one or by the other.
    passed_on: Cell<Option<Duration>>,
    /// Until when the servers have agreed to retain the lock.
    retained_until: Cell<Option<Duration>>,
}

impl Held {
    fn new(guard: LockGuard, asked: AcquireAttempt) -> Rc<Self> {
        Rc::new(Self {
            owner: asked.owner,
            most: asked.mode.most_holders(),
            guard,
            granted: now(),
            began: Instant::now(),
            passed_on: Cell::new(None),
            retained_until: Cell::new(None),
        })
    }

    pub(crate) const fn guard(&self) -> &LockGuard {
        &self.guard
    }

    /// Until when it says that it is held, in simulated time: also when its host is gone.
    fn safe_until(&self) -> Duration {
        self.granted + (Instant::from_std(self.guard.safe_until()) - self.began)
    }

    /// Notes that the servers have agreed to retain the lock for `time`, which they were asked for
    /// at that moment.
    pub(crate) fn is_retained(&self, asked: Duration, time: Duration) {
        let until = (asked + time).saturating_sub(CLOCKS_DIFFER);
        self.retained_until.set(Some(until));
    }

    fn retained_until(&self) -> Duration {
        self.retained_until.get().unwrap_or_default()
    }
}

/// A grant that an owner has heard of.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) owner: usize,
    name: LockName,
    mode: LockMode,
    session: SessionId,
    token: Token,
    attempt: Duration,
    heard: Duration,
    /// Whether its place is the only one that its session can have had in the queue.
    is_only: bool,
}

/// What a request was like that led to a grant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcquireAttempt {
    pub(crate) owner: usize,
    pub(crate) at: Duration,
    /// The highest token by then of what was asked for.
    pub(crate) after: Option<Token>,
    pub(crate) mode: LockMode,
    /// No earlier request of this clerk was given up.
    pub(crate) is_only: bool,
}

/// Who waited for a lock at some moment between two.
#[derive(Debug)]
struct Inspection {
    name: LockName,
    asked: Duration,
    answered: Duration,
    waiting: Vec<SessionId>,
}

/// What the owners of a run came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ownership {
    grants: Vec<Granted>,
    /// Guards that were lost while they were held.
    pub(crate) lost: u64,
    /// Pairs of which it was seen that one waited behind the other.
    pub(crate) in_order: u64,
    breaks: Vec<Break>,
    /// Guards that were told that their lock was broken.
    pub(crate) heard: u64,
    /// Locks that stayed taken, as their owners had asked, when those had let go of them.
    pub(crate) retained: u64,
}

impl Ownership {
    pub(crate) const fn granted(&self) -> u64 {
        self.grants.len() as u64
    }

    /// Locks that were broken.
    pub(crate) fn broken(&self) -> u64 {
        breaks::broken(&self.breaks)
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for grant in &self.grants {
            let (owner, name, mode) = (grant.owner, &grant.name, grant.mode);
            let (asked, heard) = (grant.attempt.as_millis(), grant.heard.as_millis());
            writeln!(f, "o{owner} {mode:?} {name} {asked}..{heard}")?;
        }
        for broken in &self.breaks {
            writeln!(f, "{broken}")?;
        }
        Ok(())
    }
}

impl LockModel {
    /// An owner was granted a lock.
    pub(crate) fn granted(
        &self,
        guard: LockGuard,
        asked: AcquireAttempt,
    ) -> Result<Rc<Held>, String> {
        let held = Held::new(guard, asked);
        let (name, token) = (held.guard.name().clone(), held.guard.token());
        let heard = held.granted;
        self.grants.borrow_mut().push(Granted {
            owner: asked.owner,
            name: name.clone(),
            mode: asked.mode,
            session: held.guard.session(),
            token,
            attempt: asked.at,
            heard,
            is_only: asked.is_only,
        });
        let most = held.most;
        let is_over = |holder: &Holder| {
            if let Holder::Guard(other) = holder {
                let before = other.guard.token();
                // One that was broken is heard of late, when the lock has been passed on to the
                // other already.
                let is_next = before < token && !self.breaks.may_be_broken(&name, before);
                if is_next && (most == 1 || other.most == 1) {
                    other.passed_on.set(Some(heard));
                }
            }
            holder.is_over(heard)
        };
        let grant = holders::Granted {
            token,
            most,
            asked_after: asked.after,
        };
        let mut holders = self.holders.borrow_mut();
        let holder = Holder::Guard(held.clone());
        let granted = holders.granted(&name, grant, holder, is_over);
        granted.map_err(|wrong| format!("{name}, owner {}: {wrong}", asked.owner))?;
        Ok(held)
    }

    /// An owner is about to give the lock back; or has lost it, as its guard says then.
    pub(crate) fn given_up(&self, held: Rc<Held>) -> Result<GivenUp, String> {
        let (name, token) = (held.guard.name().clone(), held.guard.token());
        let now = now();
        let retained_until = held.retained_until.get().filter(|until| now < *until);
        if let Some(until) = retained_until {
            let granted = held.granted;
            let retained = Holder::Retained { granted, until };
            self.holders.borrow_mut().left(&name, token, retained);
            self.retained.set(self.retained.get() + 1);
        } else {
            self.holders.borrow_mut().given_up(&name, token);
        }
        let is_lost = held.guard.state() == GuardState::Lost;
        self.lost.set(self.lost.get() + u64::from(is_lost));
        if let Some(reason) = held.guard.lost().now_or_never() {
            self.has_lost(&held, reason)?;
            let is_broken = reason == LossReason::Broken;
            self.heard.set(self.heard.get() + u64::from(is_broken));
        }
        let passed_on = held.passed_on.get().filter(|at| now >= *at);
        if let Some(at) = passed_on
            && !is_lost
        {
            return Err(format!(
                "{name}: held by token {token} at {now:?}, and passed on at {at:?}"
            ));
        }
        let held = Rc::into_inner(held).expect("nobody else has it any more");
        Ok(GivenUp {
            is_retained: held.retained_until.get().is_some(),
            guard: held.guard,
            passed_on,
        })
    }

    /// An owner is told why it has lost a lock. No server loses its state here, so it is by its
    /// lease, or because somebody breaks it.
    pub(crate) fn has_lost(&self, held: &Held, reason: LossReason) -> Result<(), String> {
        let (name, token) = (held.guard.name(), held.guard.token());
        let is_honest = match reason {
            LossReason::Expired => true,
            LossReason::Broken => self.breaks.may_be_broken(name, token),
            _ => false,
        };
        if is_honest {
            Ok(())
        } else {
            let at = now();
            Err(format!("{name}: token {token} is lost at {at:?}: {reason}"))
        }
    }

    /// An owner is told that its lock is not retained, or may not be.
    pub(crate) fn is_not_retained(&self, held: &Held, error: &ReleaseError) -> Result<(), String> {
        let (name, token) = (held.guard.name(), held.guard.token());
        if is_honest(error, self.breaks.may_be_broken(name, token)) {
            return Ok(());
        }
        let at = now();
        Err(format!(
            "{name}: token {token} is not retained at {at:?}: {error}"
        ))
    }

    /// Since when it is known that the lock was broken, if it was.
    pub(crate) fn broken_since(&self, held: &Held) -> Option<Duration> {
        let (name, token) = (held.guard.name(), held.guard.token());
        self.breaks.since(name, token)
    }

    /// Whether what was asked for can have been granted, and broken before that was heard of.
    pub(crate) fn may_have_ended(&self, name: &LockName, asked: Duration) -> bool {
        self.breaks.may_have_come_before(name, asked)
    }

    /// Somebody is about to break the lock that is held by this token.
    pub(crate) fn breaks(&self, name: &LockName, token: Token) -> BreakId {
        self.holders.borrow_mut().breaks(name, token);
        self.breaks.ask(name.clone(), token)
    }

    /// It was answered whether the lock was held by that token.
    pub(crate) fn broke(&self, id: BreakId, was_held: bool) -> Result<(), String> {
        let answered = now();
        let Break {
            name, token, asked, ..
        } = self.breaks.answer(id, was_held)?;
        let mut holders = self.holders.borrow_mut();
        holders.broke(&name, token, was_held);
        if was_held {
            return self.ends_once(&name, token);
        }
        let holder = holders.of(&name).find(|(held, _)| *held == token);
        let certainly = holder.filter(|(_, it)| it.granted() <= asked && !it.is_over(answered));
        if certainly.is_some() && !self.breaks.may_be_broken(&name, token) {
            return Err(format!(
                "{name}: held by token {token}, and from {asked:?} to {answered:?} it is not broken"
            ));
        }
        Ok(())
    }

    fn released(&self, name: &LockName, token: Token) -> Result<(), String> {
        self.released.borrow_mut().insert((name.clone(), token));
        self.ends_once(name, token)
    }

    /// A grant is released or broken, and not both.
    fn ends_once(&self, name: &LockName, token: Token) -> Result<(), String> {
        let is_released = self.released.borrow().contains(&(name.clone(), token));
        match self.breaks.since(name, token) {
            Some(since) if is_released => Err(format!(
                "{name}: token {token} was broken by {since:?}, and released as one that was held"
            )),
            _ => Ok(()),
        }
    }

    /// Somebody has looked at a lock: asked at this moment, was answered now.
    pub(crate) fn inspected(&self, lock: LockInfo, asked: Duration) -> Result<(), String> {
        let answered = now();
        let places = lock.entries.iter();
        let (holders, waiting): (Vec<&QueueEntryInfo>, Vec<_>) =
            places.partition(|place| place.token.is_some());
        if holders.is_empty() && !waiting.is_empty() && !lock.is_unowned {
            return Err(format!("nobody has what others wait for: {lock:?}"));
        }
        for (token, holder) in self.holders.borrow().of(&lock.name) {
            let is_there = holders.iter().any(|place| place.token == Some(token));
            let may_be_broken = self.breaks.may_be_broken(&lock.name, token);
            let is_over = holder.is_over(answered);
            let is_certain = holder.granted() <= asked && !is_over && !may_be_broken;
            if is_certain && !is_there {
                return Err(format!(
                    "token {token} is held until {:?} at least, and at {answered:?} there is {lock:?}",
                    holder.until()
                ));
            }
        }
        let tokens = holders.iter().filter_map(|place| place.token);
        let mut broken = tokens.filter_map(|token| self.breaks.since(&lock.name, token));
        if broken.any(|since| since <= asked) {
            return Err(format!("what was broken is there at {asked:?}: {lock:?}"));
        }
        let waiting = waiting.iter().map(|place| place.session).collect();
        self.inspections.borrow_mut().push(Inspection {
            name: lock.name,
            asked,
            answered,
            waiting,
        });
        Ok(())
    }

    /// The highest token of a lock that was heard of.
    pub(crate) fn highest(&self, name: &LockName) -> Option<Token> {
        self.holders.borrow().highest(name)
    }

    /// Who holds a lock, or had one when its host was lost.
    pub(crate) fn holder(&self, name: &LockName) -> Option<usize> {
        let holders = self.holders.borrow();
        let owner = |(_, holder): (_, &Holder)| match holder {
            Holder::Guard(held) => Some(held.owner),
            Holder::Retained { .. } => None,
        };
        holders.of(name).filter_map(owner).last()
    }

    /// What it all came to.
    pub(crate) fn close(&self) -> Result<Ownership, String> {
        let grants = self.grants.take();
        let mut tokens = BTreeSet::new();
        if let Some(twice) = grants
            .iter()
            .find(|grant| !tokens.insert((&grant.name, grant.token)))
        {
            return Err(format!("two grants have one token: {twice:?}"));
        }
        let mut in_order = 0;
        for look in self.inspections.take() {
            let tokens: Vec<_> = look.tokens(&grants).collect();
            in_order += tokens.len().saturating_sub(1) as u64;
            if !tokens.is_sorted() {
                return Err(format!(
                    "the queue was not kept: {look:?}, granted by {tokens:?}"
                ));
            }
        }
        Ok(Ownership {
            grants,
            lost: self.lost.get(),
            in_order,
            breaks: self.breaks.take(),
            heard: self.heard.get(),
            retained: self.retained.get(),
        })
    }
}

impl Inspection {
    /// The tokens that those who waited have got since, in the order in which they waited; not of
    /// those of whom it is not certain which request it was that waited.
    fn tokens(&self, grants: &[Granted]) -> impl Iterator<Item = Token> {
        self.waiting.iter().filter_map(|session| {
            let waited = |grant: &&Granted| {
                let was_there = grant.attempt <= self.asked && self.answered <= grant.heard;
                let is_it = (&grant.name, grant.session) == (&self.name, *session);
                is_it && was_there && grant.is_only
            };
            grants.iter().find(waited).map(|grant| grant.token)
        })
    }
}

/// A guard that is about to go.
#[derive(Debug)]
#[must_use = "the guard is still there"]
pub(crate) struct GivenUp {
    guard: LockGuard,
    passed_on: Option<Duration>,
    /// Whether it can be broken also after its release.
    is_retained: bool,
}

impl GivenUp {
    /// Gives the lock back, and looks whether the answer agrees with what is known.
    pub(crate) async fn release(self, model: &LockModel) -> Result<(), String> {
        let (name, token) = (self.guard.name().clone(), self.guard.token());
        let begun = now();
        match (self.guard.release().await, self.passed_on) {
            (Ok(()), Some(at)) => Err(format!(
                "{name}: token {token} was said to be held until {begun:?}, and was passed on at {at:?}"
            )),
            (Ok(()), None) if self.is_retained => Ok(()),
            (Ok(()), None) => model.released(&name, token),
            (Err(error), _) if !is_honest(&error, model.breaks.may_be_broken(&name, token)) => Err(
                format!("{name}: token {token} was given back at {begun:?} with: {error}"),
            ),
            _ => Ok(()),
        }
    }
}

/// No server loses its state here, so whatever is lost is lost by its lease, or because it was
/// broken.
const fn is_honest(error: &ReleaseError, may_be_broken: bool) -> bool {
    match error {
        ReleaseError::NotHeld | ReleaseError::Lost(LossReason::Broken) => may_be_broken,
        ReleaseError::Lost(LossReason::SessionLost | LossReason::Diverged | LossReason::Closed) => {
            false
        }
        _ => true,
    }
}
