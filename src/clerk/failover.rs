//! Which server to ask next, and when. Pure: it is told the time.
//!
//! - The first try goes to the preferred server, the one that answered last.
//! - A failed try makes its server wait, longer each time, with jitter. The other server has not
//!   failed yet, so the first switch is immediate.
//! - A server that is merely silent is not abandoned: after `patience` the other one is asked as
//!   well.
//! - Each server has one try outstanding at the most.

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
    pub(super) fn new(preferred: ServerId, hedge_delay: Duration, now: Instant) -> Self {
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
            tracks: PerServer::of(track),
        }
    }

    /// The next step. [`Step::Try`] counts as done: the try is outstanding from `now` on.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let (first, second) = (self.preferred, self.preferred.peer());
        let (server, at) = match (self.may_try(first), self.may_try(second)) {
            (None, None) => return Step::Wait,
            (Some(at), None) => (first, at),
            (None, Some(at)) => (second, at),
            (Some(one), Some(other)) if other < one => (second, other),
            (Some(one), Some(_)) => (first, one),
        };
        if at > now {
            return Step::WaitUntil(at);
        }
        self.tracks[server].state = State::Outstanding(now);
        Step::Try(server)
    }

    /// The try at `server` has failed.
    pub(super) fn failed(&mut self, server: ServerId, now: Instant) {
        let track = &mut self.tracks[server];
        let delay = track.delays.next().unwrap_or(RETRY_DELAY_MAX);
        track.state = State::Idle(now + delay);
    }

    /// When `server` may be tried; not at all while a try there is outstanding.
    fn may_try(&self, server: ServerId) -> Option<Instant> {
        match (self.tracks[server].state, self.tracks[server.peer()].state) {
            (State::Outstanding(_), _) => None,
            (State::Idle(at), State::Idle(_)) => Some(at),
            (State::Idle(at), State::Outstanding(since)) => Some(at.max(since + self.patience)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ServerId::{A, B};
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn start(preferred: ServerId) -> (Failover, Instant) {
        let now = Instant::now();
        (Failover::new(preferred, PATIENCE, now), now)
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
        let mut last = PerServer::of(|_| now);
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
