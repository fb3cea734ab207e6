//! How long a session is certainly alive, by this process' own clock.
//!
//! The servers count the lease from when they get a renewal. The holder of a lock counts it from
//! when the renewal was sent, which is earlier, and does not rely on its last part, because clocks
//! do not run at one rate. So the holder stops before the servers give the lock to somebody else,
//! whatever was lost or late.
//!
//! The clock decides, not the task that renews: a guard that is asked after the lease is over is
//! lost, also when that task could not run. And what is over stays over, or two looks at one guard
//! could differ: a renewal that is answered after that moment is worth nothing.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clerk::expect_runtime;
use crate::config::{LEASE_AT_RISK, LEASE_MARGIN};

/// How a guard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuardState {
    /// It holds its lock.
    Held,
    /// It holds its lock, but renewals are overdue: less than a third of the lease is left.
    AtRisk,
    /// It does not hold its lock any more, or cannot be sure to.
    Lost,
}

/// Why a guard does not hold its lock any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// The lease is over: no renewal was answered in time.
    #[error("the lease is over: no renewal was answered in time")]
    Expired,
    /// The servers do not know the session any more: it expired there, or the pair lost its state.
    #[error("the servers do not know the session any more")]
    SessionLost,
    /// The lock was broken: taken from its holder by
    /// [`Clerk::break_lock`](crate::clerk::Clerk::break_lock).
    #[error("the lock was broken")]
    Broken,
    /// The two servers were cut off from each other, each went on alone, and the state that they
    /// kept does not have this grant. Others can hold the lock.
    #[error("the servers had been cut off from each other, and kept the state without this grant")]
    Diverged,
    /// [`Clerk::close`](crate::clerk::Clerk::close) was called.
    #[error("the clerk was closed")]
    Closed,
}

/// The life of a session.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) lease: Duration,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    safe_until: Instant,
    ended: Option<LossReason>,
}

impl State {
    fn loss(self, now: Instant) -> Option<LossReason> {
        let expired = (now >= self.safe_until).then_some(LossReason::Expired);
        self.ended.or(expired)
    }
}

impl Life {
    /// `begun`: when the question was first sent whose answer gave the lease.
    pub(super) fn new(lease: Duration, begun: Instant) -> Self {
        let state = State {
            safe_until: safe_until(lease, begun),
            ended: None,
        };
        Self {
            lease,
            state: watch::Sender::new(state),
        }
    }

    /// A renewal that was first sent when it had `begun` has been answered.
    ///
    /// It wakes nobody: every grant brings a renewal, and thousands may wait in the session. A task
    /// that waits for the end looks again when the lease that it knows of would be over.
    pub(super) fn renewed(&self, begun: Instant) {
        let safe_until = safe_until(self.lease, begun);
        self.state.send_if_modified(|state| {
            if state.loss(Instant::now()).is_none() && safe_until > state.safe_until {
                state.safe_until = safe_until;
            }
            false
        });
    }

    /// Ends it, for this reason or for that for which it is over; gives the reason.
    pub(super) fn end(&self, reason: LossReason) -> LossReason {
        let mut ended = reason;
        self.state.send_if_modified(|state| {
            ended = state.loss(Instant::now()).unwrap_or(reason);
            state.ended.replace(ended).is_none()
        });
        ended
    }

    /// Until when it is certainly alive, unless it has ended.
    pub(super) fn safe_until(&self) -> Instant {
        self.state.borrow().safe_until
    }

    /// Why it is over, if it is.
    pub(super) fn loss(&self) -> Option<LossReason> {
        self.state.borrow().loss(Instant::now())
    }

    pub(super) fn guard_state(&self) -> GuardState {
        let state = *self.state.borrow();
        let now = Instant::now();
        if state.loss(now).is_some() {
            GuardState::Lost
        } else if state.safe_until - now < self.lease / LEASE_AT_RISK {
            GuardState::AtRisk
        } else {
            GuardState::Held
        }
    }

    /// Waits until it is over.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn lost(&self) -> LossReason {
        expect_runtime();
        let mut changes = self.state.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            if let Some(reason) = state.loss(Instant::now()) {
                return reason;
            }
            // Its sender is `self`, so it ends by a change or by the clock.
            let _ = timeout_at(state.safe_until, changes.changed()).await;
        }
    }
}

fn safe_until(lease: Duration, begun: Instant) -> Instant {
    begun + lease - lease / LEASE_MARGIN
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const LEASE: Duration = Duration::from_secs(64);
    const RELIABLE: Duration = Duration::from_secs(63);

    fn life() -> Life {
        Life::new(LEASE, Instant::now())
    }

    /// Nothing runs here but the clock.
    #[tokio::test(start_paused = true)]
    async fn it_is_over_by_the_clock_alone() {
        let life = life();
        let tick = Duration::from_secs(1);
        advance(Duration::from_secs(62)).await;
        assert_eq!(life.loss(), None);
        advance(tick).await;
        assert_eq!(life.loss(), Some(LossReason::Expired));
        assert_eq!(life.guard_state(), GuardState::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_counts_from_when_it_was_sent() {
        let life = life();
        let begun = Instant::now() + LEASE / 4;
        advance(LEASE / 2).await;
        life.renewed(begun);
        assert_eq!(life.safe_until(), begun + RELIABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_never_shortens_it() {
        let life = life();
        let begun = Instant::now();
        advance(LEASE / 2).await;
        life.renewed(begun + LEASE / 2);
        life.renewed(begun + LEASE / 4);
        assert_eq!(life.safe_until(), begun + LEASE / 2 + RELIABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_stays_over() {
        let life = life();
        let begun = Instant::now() + LEASE / 2;
        advance(RELIABLE).await;
        life.renewed(begun);
        assert_eq!(life.loss(), Some(LossReason::Expired));
        assert_eq!(life.end(LossReason::SessionLost), LossReason::Expired);
        assert_eq!(life.loss(), Some(LossReason::Expired));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_reason_counts() {
        let life = life();
        assert_eq!(life.end(LossReason::SessionLost), LossReason::SessionLost);
        life.end(LossReason::Closed);
        advance(LEASE).await;
        life.renewed(Instant::now());
        assert_eq!(life.loss(), Some(LossReason::SessionLost));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_at_risk_when_less_than_a_third_of_the_lease_is_left() {
        let life = life();
        advance(LEASE / 2).await;
        assert_eq!(life.guard_state(), GuardState::Held);
        advance(LEASE / 6).await;
        assert_eq!(life.guard_state(), GuardState::AtRisk);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_its_end_is_woken_by_the_clock_and_by_the_end_and_by_no_renewal() {
        let life = life();
        timeout(LEASE / 2, life.lost()).await.expect_err("it waits");
        life.renewed(Instant::now());
        let start = Instant::now();
        assert_eq!(life.lost().await, LossReason::Expired);
        assert_eq!(start.elapsed(), RELIABLE);

        let life = self::life();
        let ends = async {
            life.renewed(Instant::now());
            life.end(LossReason::Closed);
        };
        let (reason, ()) = tokio::join!(life.lost(), ends);
        assert_eq!(reason, LossReason::Closed);
    }
}
