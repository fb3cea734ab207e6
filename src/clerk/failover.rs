//! Which server to ask next, and when. Pure: it is told the time.
//!
//! - The first try goes to the preferred server, the one that answered last.
//! - A failed try makes its server wait, longer each time, with jitter. The next server of the list
//!   has not failed yet, so it is tried at once; after the last one comes the first.
//! - A server that is merely silent is not abandoned: after `patience` the next one is asked as
//!   well, and after as long again the one after that.
//! - Each server has at most one attempt outstanding.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::per_server::PerServer;
use crate::config::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::types::ServerId;

#[derive(Debug)]
pub(super) struct Failover {
    preferred: ServerId,
    patience: Duration,
    tracks: PerServer<Track>,
}

/// How far one server is.
#[derive(Debug)]
struct Track {
    state: State,
    delays: ExponentialBackoff,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A try may be made from this instant on.
    Idle(Instant),
    /// A try was made at this instant, and has not ended.
    Outstanding(Instant),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a try at this server.
    Try(ServerId),
    /// Wait for a try to end, or for this instant.
    WaitUntil(Instant),
    /// Wait for a try to end.
    Wait,
}

impl Failover {
    pub(super) fn new(
        servers: impl Iterator<Item = ServerId>,
        preferred: ServerId,
        hedge_delay: Duration,
        now: Instant,
    ) -> Self {
        // Jitter adds up to as much again, so half of the longest delay is where growth stops.
        let delays = ExponentialBuilder::new()
            .with_min_delay(RETRY_DELAY_MIN)
            .with_max_delay(RETRY_DELAY_MAX / 2)
            .without_max_times()
            .with_jitter();
        let track = |_| Track {
            state: State::Idle(now),
            delays: delays.build(),
        };
        Self {
            preferred,
            patience: hedge_delay,
            tracks: PerServer::of(servers, track),
        }
    }

    /// The next step. [`Step::Try`] counts as done: the try is outstanding from `now` on.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let servers = self.tracks.ids();
        let from_preferred = servers.clone().cycle().skip(self.preferred.index());
        let idle = from_preferred.take(servers.len());
        // The first one, if several are equal.
        let next = idle
            .filter_map(|server| Some((self.may_try(server)?, server)))
            .min_by_key(|(when, _)| *when);
        match next {
            None => Step::Wait,
            Some(((at, _), _)) if at > now => Step::WaitUntil(at),
            Some((_, server)) => {
                self.tracks[server].state = State::Outstanding(now);
                Step::Try(server)
            }
        }
    }

    /// The try at `server` has failed.
    pub(super) fn failed(&mut self, server: ServerId, now: Instant) {
        let track = &mut self.tracks[server];
        let delay = track.delays.next().unwrap_or(RETRY_DELAY_MAX);
        track.state = State::Idle(now + delay);
    }

    /// When `server` may be tried, and when it might if no other one were outstanding; not at all
    /// while a try there is. By the second, one that has not failed comes before one that has.
    fn may_try(&self, server: ServerId) -> Option<(Instant, Instant)> {
        let State::Idle(at) = self.tracks[server].state else {
            return None;
        };
        let outstanding = self.tracks.iter().filter_map(|track| match track.state {
            State::Outstanding(since) => Some(since),
            State::Idle(_) => None,
        });
        let asked_last = outstanding.max();
        let earliest = asked_last.map_or(at, |since| at.max(since + self.patience));
        Some((earliest, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServerId = ServerId::A;
    const B: ServerId = ServerId::B;
    const PATIENCE: Duration = Duration::from_millis(300);

    fn start(preferred: ServerId) -> (Failover, Instant) {
        start_with(2, preferred)
    }

    /// With this many servers.
    fn start_with(servers: usize, preferred: ServerId) -> (Failover, Instant) {
        let (servers, now) = (ServerId::first(servers), Instant::now());
        (Failover::new(servers, preferred, PATIENCE, now), now)
    }

    /// Waits as long as it takes for the next try.
    fn next_try(failover: &mut Failover, mut now: Instant) -> (ServerId, Instant) {
        loop {
            match failover.next(now) {
                Step::Try(server) => return (server, now),
                Step::WaitUntil(at) => now = at,
                Step::Wait => panic!("no more tries"),
            }
        }
    }

    #[test]
    fn the_preferred_server_is_asked_first() {
        for preferred in ServerId::BOTH {
            let (mut failover, now) = start(preferred);
            assert_eq!(failover.next(now), Step::Try(preferred));
        }
    }

    #[test]
    fn the_first_switch_is_immediate() {
        let (mut failover, now) = start(B);
        assert_eq!(failover.next(now), Step::Try(B));
        failover.failed(B, now);
        assert_eq!(failover.next(now), Step::Try(A));
    }

    #[test]
    fn failing_over_goes_round_the_list_from_the_preferred_server() {
        for servers in [1, 2, 3, 5] {
            for preferred in ServerId::first(servers) {
                let (mut failover, now) = start_with(servers, preferred);
                let mut tried = Vec::new();
                while let Step::Try(server) = failover.next(now) {
                    failover.failed(server, now);
                    tried.push(server.index());
                }
                let expected = (0..servers).map(|step| (preferred.index() + step) % servers);
                assert_eq!(tried, expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn silent_servers_are_kept_and_the_next_one_is_asked_as_well_one_after_the_other() {
        let (mut failover, mut now) = start_with(3, B);
        for (server, is_last) in [(1, false), (2, false), (0, true)] {
            let expected = ServerId::at(server).expect("a place");
            assert_eq!(failover.next(now), Step::Try(expected));
            if !is_last {
                assert_eq!(failover.next(now), Step::WaitUntil(now + PATIENCE));
            }
            now += PATIENCE;
        }
        assert_eq!(failover.next(now + PATIENCE), Step::Wait);
    }

    #[test]
    fn a_server_that_has_not_been_asked_comes_before_one_that_has_failed() {
        let (mut failover, now) = start_with(3, A);
        assert_eq!(failover.next(now), Step::Try(A));
        failover.failed(A, now);
        assert_eq!(failover.next(now), Step::Try(B));
        let later = now + PATIENCE;
        assert_eq!(
            failover.next(later),
            Step::Try(ServerId::at(2).expect("a place"))
        );
        assert_eq!(failover.next(later), Step::WaitUntil(later + PATIENCE));
        assert_eq!(failover.next(later + PATIENCE), Step::Try(A));
    }

    #[test]
    fn a_silent_server_is_kept_and_the_other_one_asked_as_well() {
        let (mut failover, now) = start(A);
        assert_eq!(failover.next(now), Step::Try(A));
        assert_eq!(failover.next(now), Step::WaitUntil(now + PATIENCE));
        let later = now + PATIENCE;
        assert_eq!(failover.next(later), Step::Try(B));
        assert_eq!(failover.next(later + PATIENCE * 9), Step::Wait);
    }

    #[test]
    fn a_server_that_failed_is_retried_while_the_other_one_is_silent() {
        let (mut failover, now) = start(A);
        assert_eq!(failover.next(now), Step::Try(A));
        failover.failed(A, now);
        assert_eq!(failover.next(now), Step::Try(B));
        assert_eq!(failover.next(now), Step::WaitUntil(now + PATIENCE));
        assert_eq!(failover.next(now + PATIENCE), Step::Try(A));
    }

    #[test]
    fn the_delays_of_each_server_grow_up_to_the_longest() {
        let (mut failover, mut now) = start(A);
        let mut last = PerServer::of(ServerId::first(2), |_| now);
        for round in 0..30 {
            let (server, at) = next_try(&mut failover, now);
            let delay = at - last[server];
            assert!(delay <= RETRY_DELAY_MAX, "{round}: {delay:?}");
            assert!(round < 2 || delay >= RETRY_DELAY_MIN, "{round}: {delay:?}");
            assert!(
                round < 20 || delay >= RETRY_DELAY_MAX / 2,
                "{round}: {delay:?}"
            );
            failover.failed(server, at);
            last[server] = at;
            now = at;
        }
    }

    #[test]
    fn the_delays_of_two_calls_differ() {
        let second_try = || {
            let (mut failover, now) = start(A);
            for server in [A, B] {
                assert_eq!(failover.next(now), Step::Try(server));
                failover.failed(server, now);
            }
            next_try(&mut failover, now).1 - now
        };
        let delays: std::collections::HashSet<_> = (0..10).map(|_| second_try()).collect();
        assert!(delays.len() > 1);
    }
}
