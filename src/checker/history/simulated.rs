//! Histories of a correct lock, for the tests of the checkers.

use std::time::Duration;

use super::{Moment, Operation, Outcome};
use crate::service::Verb;

/// Calls of `clients` clients on one correct lock, some of them without an answer, and
/// whether it is held in the end.
pub(crate) fn from_a_real_lock(clients: u32, calls: u32, seed: u64) -> (Vec<Operation>, bool) {
    let mut random = seed;
    let mut draw = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    let mut tick = 0;
    let mut held = false;
    let mut open: Vec<(u32, usize, bool)> = Vec::new();
    let mut operations: Vec<Operation> = Vec::new();
    while operations.len() < calls as usize {
        tick += 1;
        let client = u32::try_from(draw(u64::from(clients))).expect("it is below clients");
        let under_way = open.iter().position(|&(who, ..)| who == client);
        match under_way {
            None => {
                open.push((client, operations.len(), false));
                operations.push(Operation {
                    client,
                    verb: if draw(2) == 0 {
                        Verb::Lock
                    } else {
                        Verb::Unlock
                    },
                    name: "x".parse().expect("a name"),
                    called: moment(tick),
                    outcome: Outcome::Unknown,
                });
            }
            Some(at) if !open[at].2 => {
                // It takes effect. One in a hundred clients never hears of it.
                let (_, index, executed) = &mut open[at];
                let lock = operations[*index].verb == Verb::Lock;
                let result = lock != held;
                held ^= result;
                *executed = true;
                operations[*index].outcome = Outcome::Answered {
                    result,
                    at: moment(0),
                };
                if draw(100) == 0 {
                    operations[*index].outcome = Outcome::Unknown;
                    open.swap_remove(at);
                }
            }
            Some(at) => {
                let (_, index, _) = open.swap_remove(at);
                if let Outcome::Answered { at, .. } = &mut operations[index].outcome {
                    *at = moment(tick);
                }
            }
        }
    }
    for (_, index, _) in open {
        operations[index].outcome = Outcome::Unknown;
    }
    (operations, held)
}

pub(crate) const fn moment(tick: u64) -> Moment {
    Moment {
        tick,
        since_start: Duration::ZERO,
    }
}
