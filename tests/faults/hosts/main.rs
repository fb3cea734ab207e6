//! Pairs whose servers and clients are on hosts of their own: network namespaces, with real links
//! that are taken down and real packet filters.
//!
//! Takes root, `ip`, `nft` and `ss`. Where they are missing every test says so, and counts as
//! ignored.

mod cuts;
mod lan;
mod large;
mod names;
mod vanished;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

/// A test, and what it is about.
type Scenario = (&'static str, fn());

const SCENARIOS: [Scenario; 11] = [
    (
        "a_dead_primary_whose_name_is_withdrawn_is_taken_over_from",
        names::withdrawn,
    ),
    (
        "a_resolver_that_hangs_splits_no_pair",
        names::hanging_resolver,
    ),
    (
        "a_server_that_cannot_look_up_its_peer_does_not_take_it_for_dead",
        names::unknown_peer,
    ),
    (
        "a_name_is_reached_by_its_last_address_when_the_others_are_silent",
        names::silent_first_addresses,
    ),
    (
        "a_vanished_primary_to_which_no_route_leads_is_taken_over_from",
        cuts::no_route,
    ),
    (
        "a_client_that_is_cut_off_from_a_server_in_one_direction_is_served_by_the_other",
        cuts::one_direction,
    ),
    (
        "servers_that_were_cut_off_from_each_other_come_together_again",
        cuts::between_the_servers,
    ),
    (
        "a_burst_is_answered_though_large_packets_between_the_servers_are_lost",
        large::packets,
    ),
    (
        "a_burst_is_passed_on_though_large_packets_between_the_servers_are_lost",
        large::relayed,
    ),
    (
        "the_connections_of_a_vanished_host_are_closed",
        vanished::clients,
    ),
    (
        "the_connections_of_a_host_that_vanished_behind_a_proxy_are_closed",
        vanished::behind_a_proxy,
    ),
];

fn main() -> ExitCode {
    let missing = lan::missing();
    let trials = SCENARIOS.map(|(name, scenario)| {
        let missing = missing.clone();
        Trial::ignorable_test(name, move || {
            if let Some(why) = missing {
                eprintln!("skipped: {name}: {why}");
                return Ok(Completion::ignored_with(why));
            }
            scenario();
            Ok(Completion::Completed)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
