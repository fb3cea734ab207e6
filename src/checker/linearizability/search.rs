//! The search over the calls of one lock.

use std::collections::BTreeSet;

use crate::checker::history::{Moment, Operation};
use crate::service::Verb;

/// The index of a call in the order of calls.
type Index = usize;

/// What happens to a call; at the same moment, calls come before answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Called(Index),
    Answered(Index),
}

/// The state of a lock when all calls that will be answered have been. Later calls depend on
/// nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) held: bool,
    /// Calls that were never answered, and that explain no answer so far.
    pub(crate) unanswered_locks: u32,
    pub(crate) unanswered_unlocks: u32,
}

/// The one configuration that the search follows.
pub(super) struct Search<'a> {
    operations: &'a [&'a Operation],
    now: Known,
    /// The calls under way that will be answered and are not ordered yet, by the time of their
    /// answers.
    waiting: BTreeSet<(Moment, Index)>,
}

impl<'a> Search<'a> {
    /// `before` is the state that the calls left which were over before the first of `operations`.
    pub(super) const fn new(operations: &'a [&'a Operation], before: Known) -> Self {
        Self {
            operations,
            now: before,
            waiting: BTreeSet::new(),
        }
    }

    /// Orders the calls, or returns the first one whose answer cannot be explained.
    pub(super) fn run(mut self) -> Result<Known, Index> {
        for (moment, event) in self.events() {
            match event {
                Event::Called(call) => self.called(call),
                Event::Answered(call) => {
                    while self.waiting.contains(&(moment, call)) {
                        self.change().ok_or(call)?;
                    }
                }
            }
        }
        Ok(self.now)
    }

    fn events(&self) -> Vec<(Moment, Event)> {
        let mut events = Vec::with_capacity(2 * self.operations.len());
        for (call, operation) in self.operations.iter().enumerate() {
            events.push((operation.called, Event::Called(call)));
            events.extend(
                operation
                    .answered()
                    .map(|moment| (moment, Event::Answered(call))),
            );
        }
        events.sort_unstable();
        events
    }

    fn called(&mut self, call: Index) {
        let operation = self.operations[call];
        match operation.answered() {
            None => *self.unanswered(operation.verb) += 1,
            Some(_) if is_right_and_changes_nothing(operation, self.now.held) => {}
            Some(answered) => {
                self.waiting.insert((answered, call));
            }
        }
    }

    /// Orders one call that changes the lock, and then all calls whose answers are right; none if
    /// there is no such call.
    fn change(&mut self) -> Option<()> {
        let verb = if self.now.held {
            Verb::Unlock
        } else {
            Verb::Lock
        };
        if let Some(next) = self.next_to_change(verb) {
            self.waiting.remove(&next);
        } else {
            let left = self.unanswered(verb);
            *left = left.checked_sub(1)?;
        }
        self.now.held = !self.now.held;
        let (operations, held) = (self.operations, self.now.held);
        self.waiting
            .retain(|&(_, call)| !is_right_and_changes_nothing(operations[call], held));
        Some(())
    }

    fn next_to_change(&self, verb: Verb) -> Option<(Moment, Index)> {
        let changes = |call: Index| {
            self.operations[call].verb == verb && self.operations[call].may_have_changed()
        };
        self.waiting
            .iter()
            .copied()
            .find(|&(_, call)| changes(call))
    }

    const fn unanswered(&mut self, verb: Verb) -> &mut u32 {
        match verb {
            Verb::Lock => &mut self.now.unanswered_locks,
            Verb::Unlock => &mut self.now.unanswered_unlocks,
        }
    }
}

fn is_right_and_changes_nothing(operation: &Operation, held: bool) -> bool {
    operation.result() == Some(false) && (operation.verb == Verb::Lock) == held
}
