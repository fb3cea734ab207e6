//! Records the calls of concurrent clients and their answers.
//!
//! A counter orders a history. It is read before a call is sent and after its answer has arrived,
//! so its order is an order of real time too, and a checker that respects it reports no false
//! violation.

mod client;
mod text;

#[cfg(test)]
pub(super) mod simulated;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::client::RecordedClerk;
pub use self::text::HistoryError;
use crate::service::Verb;
use crate::types::LockName;

/// A point in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Its position in the order of all calls and answers.
    pub tick: u64,
    /// The time since the recorder was started, to compare with logs.
    pub since_start: Duration,
}

impl Moment {
    /// Before every call.
    pub const START: Self = Self {
        tick: 0,
        since_start: Duration::ZERO,
    };
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// Whether the lock was granted, or released.
        result: bool,
        /// When the answer had arrived.
        at: Moment,
    },
    /// It was not answered: it may have taken effect at any time after its start, or never.
    Unknown,
}

/// One call of one client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The number of the client.
    pub client: u32,
    /// What the call does.
    pub verb: Verb,
    /// The lock.
    pub name: LockName,
    /// A moment before the call was sent.
    pub called: Moment,
    /// How the call ended.
    pub outcome: Outcome,
}

impl Operation {
    /// The answer, if there was one.
    #[must_use]
    pub const fn result(&self) -> Option<bool> {
        match self.outcome {
            Outcome::Answered { result, .. } => Some(result),
            Outcome::Unknown => None,
        }
    }

    /// When the answer had arrived, if there was one.
    #[must_use]
    pub const fn answered(&self) -> Option<Moment> {
        match self.outcome {
            Outcome::Answered { at, .. } => Some(at),
            Outcome::Unknown => None,
        }
    }

    /// Whether it can have happened after `moment`.
    #[must_use]
    pub fn may_be_after(&self, moment: Moment) -> bool {
        self.answered().is_none_or(|answered| answered > moment)
    }

    /// Whether it was answered before `other` was called, so that it cannot have happened after it.
    #[must_use]
    pub fn is_over_before(&self, other: &Self) -> bool {
        !self.may_be_after(other.called)
    }

    /// Whether it can have changed its lock: its answer says so, or it has none.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        self.result() != Some(false)
    }
}

/// What concurrent clients did, in the order of their calls. Its text form is a call a line, and is
/// read back by [`str::parse`].
///
/// # Examples
///
/// ```
/// use lockservice::testkit::History;
///
/// let history: History = "c1 lock 0..3 true jobs\n\
///                         c2 lock 1..2 false jobs\n\
///                         c2 unlock 4..? unknown jobs\n"
///     .parse()?;
/// assert_eq!(history.operations().len(), 3);
/// # Ok::<(), lockservice::testkit::HistoryError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// The calls, in the order in which they were made.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The calls of each lock: locks do not depend on each other.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&LockName, Vec<&Operation>> {
        let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for operation in &self.operations {
            names.entry(&operation.name).or_default().push(operation);
        }
        names
    }
}

impl FromIterator<Operation> for History {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        let mut operations: Vec<_> = operations.into_iter().collect();
        operations.sort_by_key(|operation| operation.called);
        Self { operations }
    }
}

/// Records a history. Clones record the same one.
///
/// # Examples
///
/// ```
/// use lockservice::testkit::{Recorder, Verb};
///
/// let recorder = Recorder::new();
/// let name = "jobs".parse()?;
/// let call = recorder.invoke(1, Verb::Lock, &name);
/// // ... the call itself ...
/// call.returned(true);
/// println!("{}", recorder.history());
/// # Ok::<(), lockservice::types::NameError>(())
/// ```
#[derive(Clone)]
pub struct Recorder {
    started: Instant,
    tape: Arc<Mutex<Tape>>,
}

#[derive(Default)]
struct Tape {
    ticks: u64,
    /// How many earlier calls have been taken away.
    taken: usize,
    /// None: certainly not executed.
    operations: Vec<Option<Operation>>,
}

impl Tape {
    /// The call that was the `index`th of all, if it is still here.
    fn operation(&mut self, index: usize) -> Option<&mut Option<Operation>> {
        self.operations.get_mut(index.checked_sub(self.taken)?)
    }
}

impl Recorder {
    /// Starts with an empty history.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            tape: Arc::default(),
        }
    }

    /// Records that `client` is about to call. Call this before the call is sent.
    pub fn invoke(&self, client: u32, verb: Verb, name: &LockName) -> Call {
        let mut tape = self.tape();
        let operation = Operation {
            client,
            verb,
            name: name.clone(),
            called: self.now(&mut tape),
            outcome: Outcome::Unknown,
        };
        tape.operations.push(Some(operation));
        Call {
            recorder: self.clone(),
            index: tape.taken + tape.operations.len() - 1,
        }
    }

    /// Returns the history so far. A call that is under way is unknown in it.
    #[must_use]
    pub fn history(&self) -> History {
        self.tape().operations.iter().flatten().cloned().collect()
    }

    /// Takes the history so far out of the recorder. A call that is under way is unknown in it, and
    /// stays so.
    ///
    /// A history that is too long to keep can be taken in parts, each while no call is under way.
    /// A [`HistoryChecker`](super::rounds::HistoryChecker) checks such parts.
    #[must_use]
    pub fn take(&self) -> History {
        let mut tape = self.tape();
        tape.taken += tape.operations.len();
        std::mem::take(&mut tape.operations)
            .into_iter()
            .flatten()
            .collect()
    }

    fn now(&self, tape: &mut Tape) -> Moment {
        tape.ticks += 1;
        Moment {
            tick: tape.ticks,
            since_start: self.started.elapsed(),
        }
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = self.tape().operations.len();
        f.debug_struct("Recorder")
            .field("operations", &operations)
            .finish_non_exhaustive()
    }
}

/// A call that is under way. Dropping it leaves its outcome unknown.
#[derive(Debug)]
#[must_use = "a call that is dropped at once is recorded as unknown"]
pub struct Call {
    recorder: Recorder,
    index: usize,
}

impl Call {
    /// Records the answer. Call this after it has arrived.
    pub fn returned(self, result: bool) {
        let mut tape = self.recorder.tape();
        let at = self.recorder.now(&mut tape);
        if let Some(Some(operation)) = tape.operation(self.index) {
            operation.outcome = Outcome::Answered { result, at };
        }
    }

    /// Records that the outcome is unknown, as dropping this does.
    pub fn unknown(self) {
        drop(self);
    }

    /// Records that the call was certainly not executed: it is left out of the history.
    pub fn refused(self) {
        if let Some(operation) = self.recorder.tape().operation(self.index) {
            *operation = None;
        }
    }
}
