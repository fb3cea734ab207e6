//! Whether wrong servers are found out: each fault that is planted into the crude chain is refuted
//! within a few seeds, and the chain without any is not.

use std::time::Duration;

use super::clients::Appetite;
use super::fault_scheduler::FaultPlan;
use super::faulty_reference::{Fault, chain};
use super::owners::Owners;
use super::rng::Rng;
use super::run::{RunSpec, run};

/// Among so many runs a fault must show. The rarest shows in one of twenty.
const SEEDS: u64 = 200;

fn faulty(fault: Option<Fault>, seed: u64) -> RunSpec {
    RunSpec {
        software: chain(fault),
        plan: FaultPlan {
            failures: 1,
            clients: 3,
            is_repaired: false,
            ballast: 0,
            owners: Owners::NONE,
        },
        appetite: Appetite {
            locks: 2,
            calls: 2,
            dropped: 30,
            pause: 40,
            hedge_delay: Duration::from_millis(100),
            may_lose_records: false,
        },
        peer_timeout: Duration::from_millis(300),
        tick: Duration::from_millis(2),
        latency: Rng::new(seed).within(2..10),
    }
}

/// Plays until the checkers object to what the clients saw.
fn is_refuted(fault: Fault) {
    let refuted = |seed| run(seed, &faulty(Some(fault), seed)).err();
    let refutation = (0..SEEDS).find_map(refuted);
    let refutation = refutation.expect("a wrong server is found out");
    assert!(refutation.contains("is broken for"), "{refutation}");
}

#[test]
fn the_chain_without_a_fault_is_right() {
    for seed in 0..8 {
        if let Err(wrong) = run(seed, &faulty(None, seed)) {
            panic!("{wrong}");
        }
    }
}

#[test]
fn a_server_without_records_is_refuted() {
    is_refuted(Fault::NoRecords);
}

#[test]
fn handlers_that_forward_outside_the_order_are_refuted() {
    is_refuted(Fault::OutsideTheOrder);
}

#[test]
fn a_stale_answer_after_a_wake_is_refuted() {
    is_refuted(Fault::StaleAfterAWake);
}

#[test]
fn a_reply_before_the_ack_is_refuted() {
    is_refuted(Fault::ReplyBeforeTheAck);
}
