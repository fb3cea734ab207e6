//! Draws calls at random: which lock, and whether to lock or unlock it.
//!
//! Nobody keeps to any order. A call that is in vain is answered too, and its answer is evidence.

use fastrand::Rng;
use uuid::Uuid;

use lockservice::service::Verb;
use lockservice::types::{LockName, NameError};

/// How many of the locks are hot.
const HOT: u32 = 4;

/// How many locks are owned.
const OWNED: u32 = 3;

/// Locks that nobody else uses.
#[derive(Debug)]
pub(super) struct Workload {
    /// What the names of all begin with.
    pub(super) prefix: String,
    hot: Vec<LockName>,
    cold: Vec<LockName>,
    pub(super) owned: Vec<LockName>,
}

impl Workload {
    pub(super) fn new(prefix: &str, count: u32) -> Result<Self, NameError> {
        let prefix = format!("{prefix}/{}", Uuid::new_v4());
        let named = |kind: &str, count: u32| -> Result<Vec<_>, _> {
            (0..count)
                .map(|number| LockName::new(format!("{prefix}/{kind}/{number}")))
                .collect()
        };
        let hot = count.min(HOT);
        Ok(Self {
            hot: named("hot", hot)?,
            cold: named("cold", count - hot)?,
            owned: named("owned", OWNED)?,
            prefix,
        })
    }

    /// Those that are not owned.
    pub(super) fn all(&self) -> impl Iterator<Item = &LockName> {
        self.hot.iter().chain(&self.cold)
    }

    /// Draws the next call: every second one is of a hot lock.
    pub(super) fn draw(&self, random: &mut Rng) -> (Verb, &LockName) {
        let verb = if random.bool() {
            Verb::Lock
        } else {
            Verb::Unlock
        };
        let locks = if self.cold.is_empty() || random.bool() {
            &self.hot
        } else {
            &self.cold
        };
        (verb, &locks[random.usize(..locks.len())])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn half_of_the_calls_are_of_four_hot_locks_and_the_others_of_all_the_cold_ones() {
        let locks = Workload::new("x", 100).expect("good names");
        let mut random = Rng::with_seed(1);
        let mut drawn: BTreeMap<_, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            *drawn.entry(locks.draw(&mut random).1).or_default() += 1;
        }
        assert_eq!(drawn.len(), 100);
        let hot: u32 = locks.hot.iter().map(|name| drawn[name]).sum();
        assert!((4_500..5_500).contains(&hot), "{hot}");
    }

    #[test]
    fn a_seed_draws_the_same_calls_again() {
        let locks = Workload::new("x", 10).expect("good names");
        let [mut one, mut other] = [Rng::with_seed(7), Rng::with_seed(7)];
        for _ in 0..100 {
            assert_eq!(locks.draw(&mut one), locks.draw(&mut other));
        }
    }

    #[test]
    fn no_two_runs_have_a_lock_in_common() {
        let [one, other] = [(); 2].map(|()| Workload::new("x", 3).expect("good names"));
        assert!(one.all().all(|name| other.all().all(|its| its != name)));
        assert_eq!(one.all().count(), 3);
    }

    #[test]
    fn a_prefix_that_leaves_no_room_for_names_is_refused() {
        Workload::new(&"x".repeat(LockName::MAX_BYTES), 1).expect_err("refused");
    }
}
