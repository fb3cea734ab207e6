//! Every state that two real [`Core`](super::super::Core)s can come to, in scopes small enough to
//! see them all: whatever is on the way arrives in any order, links break, servers halt, stop, wake
//! late and come back, clients ask again anywhere, and copies come late.
//!
//! In every state: nothing acknowledged is missing where somebody answers; no call has run twice;
//! never do two servers answer apart from each other; all answers agree with one sequential
//! history; a refusal that says "not executed" is true; a session that was told that it has a lock
//! has it, in its turn, with no more others than each was promised and with a token above those
//! before, until it gives it back, hears that it was broken, or is gone from every server that
//! answers; no poll waits for what its primary could tell it. And from every state the pair can
//! still become whole, with every call answered, when nothing more goes wrong.
//!
//! Time is no number here. A server's clock is turned as far as makes one thing happen: the next
//! heartbeat, a quiet peer, a whole `peer_timeout` of silence. Only a stopped peer is silent for
//! that long. A lease ends, and a poll has waited long enough, at any moment: clients may have been
//! heard at any other.
//!
//! `EXPLORE="stop halts" cargo test --release --lib explore -- --nocapture` explores the scopes of
//! those names, of which there are more in `scope.rs` than `cargo test` has time for.

mod actions;
mod acts;
mod checks;
mod clients;
mod cores;
mod effects;
mod history;
mod names;
mod network;
mod owned;
mod scope;
mod scripts;
mod search;
mod world;

pub(in super::super) use names::Names;

use scope::SCOPES;

/// As many states as fit into some 3 GiB.
const MOST: usize = 20_000_000;

fn explore(name: &str) {
    let scope = SCOPES.iter().find(|scope| scope.name == name);
    let scope = scope.expect("there is such a scope");
    let report = search::explore(scope, MOST);
    println!("{name}: {report}");
    if let Some(broken) = report.broken {
        panic!("{broken}");
    }
    assert!(report.is_complete, "not all states were seen");
}

#[test]
fn every_state_of_a_pair_that_forms_is_safe() {
    explore("forming");
}

#[test]
fn every_state_of_a_pair_of_which_one_halts_is_safe() {
    explore("halt");
}

#[test]
fn every_state_of_a_pair_between_whose_servers_frames_get_lost_is_safe() {
    explore("hole");
}

#[test]
fn every_state_of_a_pair_of_which_one_is_asked_to_end_is_safe() {
    explore("end");
}

#[test]
fn every_state_of_a_pair_whose_connections_break_is_safe() {
    explore("reset");
}

#[test]
fn every_state_of_a_pair_whose_primary_stops_is_safe() {
    explore("stop-primary");
}

#[test]
fn every_state_of_a_pair_whose_backup_stops_is_safe() {
    explore("stop-backup");
}

#[test]
fn every_state_of_a_pair_that_gets_late_copies_is_safe() {
    explore("goodbye");
}

#[test]
fn every_state_of_a_lock_that_is_passed_on_while_a_server_halts_is_safe() {
    explore("owned-halt");
}

#[test]
fn every_state_of_a_lock_whose_holder_is_silent_is_safe() {
    explore("owned-lease");
}

#[test]
fn every_state_of_two_locks_that_are_granted_at_once_is_safe() {
    explore("owned-two");
}

#[test]
fn every_state_of_a_lock_that_two_wait_for_is_safe() {
    explore("queue");
}

#[test]
fn every_state_of_permits_of_which_one_wants_fewer_is_safe() {
    explore("permits");
}

#[test]
fn every_state_of_a_lock_that_two_share_and_one_waits_to_have_alone_is_safe() {
    explore("shared");
}

#[test]
fn every_state_of_a_lock_that_one_would_share_while_another_one_waits_is_safe() {
    explore("shared-comer");
}

#[test]
fn every_state_of_a_lock_that_is_broken_while_one_waits_for_it_is_safe() {
    explore("broken");
}

#[test]
fn every_state_of_a_lock_that_is_retained_and_given_back_is_safe() {
    explore("retained");
}

#[test]
fn every_state_of_two_locks_that_are_held_and_waited_for_crosswise_is_safe() {
    explore("crosswise");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a long run is asked for by name")]
fn every_state_of_what_is_asked_for_is_safe() {
    let names = std::env::var("EXPLORE").unwrap_or_default();
    names.split_whitespace().for_each(explore);
}
