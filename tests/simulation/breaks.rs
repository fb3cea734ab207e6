//! Locks that are broken: which grants can have ended by it, and whether what was said of it can
//! be.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use lockservice::types::{LockName, Token};

use super::lock_model::now;

/// Everything that was asked to be broken in a run.
#[derive(Debug, Default)]
pub(crate) struct Breaks(RefCell<Vec<Break>>);

/// A lock that is to be taken from whoever holds it by a token.
#[derive(Debug, Clone)]
pub(crate) struct Break {
    pub(crate) name: LockName,
    pub(crate) token: Token,
    pub(crate) asked: Duration,
    /// When it was answered whether the lock was held so.
    answered: Option<(Duration, bool)>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakId(usize);

impl Break {
    fn is_of(&self, name: &LockName, token: Token) -> bool {
        (&self.name, self.token) == (name, token)
    }

    /// It has broken the lock, or can have, or can still.
    fn may_happen(&self) -> bool {
        self.answered.is_none_or(|(_, was_held)| was_held)
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, asked) = (&self.name, self.asked.as_millis());
        match self.answered {
            Some((at, was_held)) => {
                write!(f, "break {name} {asked}..{} {was_held}", at.as_millis())
            }
            None => write!(f, "break {name} {asked}..?"),
        }
    }
}

impl Breaks {
    /// Somebody is about to ask for it.
    pub(crate) fn ask(&self, name: LockName, token: Token) -> BreakId {
        let mut breaks = self.0.borrow_mut();
        breaks.push(Break {
            name,
            token,
            asked: now(),
            answered: None,
        });
        BreakId(breaks.len() - 1)
    }

    /// It was answered. A lock is not broken twice.
    pub(crate) fn answer(&self, id: BreakId, was_held: bool) -> Result<Break, String> {
        let known = self.0.borrow()[id.0].clone();
        let before = self.since(&known.name, known.token);
        self.0.borrow_mut()[id.0].answered = Some((now(), was_held));
        if let Some(before) = before.filter(|_| was_held) {
            let Break { name, token, .. } = known;
            return Err(format!(
                "{name}: token {token} was broken at {before:?} and again at {:?}",
                now()
            ));
        }
        Ok(known)
    }

    /// Whether the lock can have been broken that somebody holds by this token.
    pub(crate) fn may_be_broken(&self, name: &LockName, token: Token) -> bool {
        let breaks = self.0.borrow();
        let mut breaks = breaks.iter().filter(|it| it.is_of(name, token));
        breaks.any(Break::may_happen)
    }

    /// Whether a grant of this lock that was asked for at that moment can have been broken before
    /// it was heard of.
    pub(crate) fn may_have_come_before(&self, name: &LockName, asked: Duration) -> bool {
        let breaks = self.0.borrow();
        let mut breaks = breaks.iter().filter(|it| it.name == *name);
        breaks.any(|it| it.asked >= asked && it.may_happen())
    }

    /// Since when it was known that this grant was broken.
    pub(crate) fn since(&self, name: &LockName, token: Token) -> Option<Duration> {
        let breaks = self.0.borrow();
        let breaks = breaks.iter().filter(|it| it.is_of(name, token));
        let known = breaks.filter_map(|it| it.answered.filter(|(_, was_held)| *was_held));
        known.map(|(at, _)| at).min()
    }

    /// All of them, in the order in which they were asked for.
    pub(crate) fn take(&self) -> Vec<Break> {
        self.0.take()
    }
}

/// How many have broken a lock.
pub(crate) fn broken(breaks: &[Break]) -> u64 {
    let broken = breaks
        .iter()
        .filter(|it| matches!(it.answered, Some((_, true))));
    broken.count() as u64
}
