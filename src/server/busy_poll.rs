//! Staying awake: looking for the next message for some microseconds instead of parking the thread.
//!
//! Waking a parked thread on an idle core is the dearest part of a lone call, dearer than all its system
//! calls. A thread that looks again and again is there when the message comes. But it keeps a core busy,
//! and where there are more busy threads than cores it keeps others from working, perhaps the very client
//! that it waits for. No rule tells these cases apart from the inside, so it is tried out: now and then,
//! while there is work, short spells of either kind take turns, and what gets more done is kept for a
//! while. A server without work parks.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use crate::engine::pair::Activity;

/// How long a spell lasts: long against a call, and short against what anybody notices.
const SPELL: Duration = Duration::from_millis(8);

/// How many spells of each kind make a trial. They take turns, so that a load that changes meanwhile
/// weighs on both.
const SPELLS: u64 = 4;

/// How long what a trial has found is believed. Trials take a thirtieth of the time.
const HOLD: Duration = Duration::from_secs(2);

/// How long a server that is not awake counts its work before it says how much that is, in spells: a quarter
/// of a second.
const REST: u32 = 32;

/// How much work in a spell is worth a trial. With less the thread parks most of the time anyway.
const WORTH_A_TRIAL: u64 = 16;

/// Stays awake while that gets more done, for `patience` after each round of the engine.
pub(super) async fn stay_awake(activity: Arc<Activity>, patience: Duration) -> Infallible {
    if patience.is_zero() {
        return pending().await;
    }
    let awake = Awake { activity, patience };
    loop {
        awake.wait_for_work().await;
        while awake.try_out().await.pays() {
            awake.work_awake(HOLD).await;
        }
        sleep(HOLD).await;
    }
}

/// How much got done in the spells of a trial.
#[derive(Debug, Default)]
struct Trial {
    awake: u64,
    asleep: u64,
}

impl Trial {
    /// Whether it was more by a tenth: it has to be worth the core.
    const fn pays(&self) -> bool {
        self.awake >= WORTH_A_TRIAL * SPELLS && self.awake > self.asleep + self.asleep / 10
    }
}

struct Awake {
    activity: Arc<Activity>,
    patience: Duration,
}

impl Awake {
    async fn wait_for_work(&self) {
        loop {
            let idle = self.activity.work();
            while self.activity.work() == idle {
                self.activity.next_round().await;
            }
            if self.work_asleep(SPELL * REST).await >= WORTH_A_TRIAL * u64::from(REST) {
                return;
            }
        }
    }

    async fn try_out(&self) -> Trial {
        let mut trial = Trial::default();
        for _ in 0..SPELLS {
            trial.awake += self.work_awake(SPELL).await;
            trial.asleep += self.work_asleep(SPELL).await;
        }
        trial
    }

    /// How much gets done in `duration`, while the thread parks as it likes.
    async fn work_asleep(&self, duration: Duration) -> u64 {
        let before = self.activity.work();
        sleep(duration).await;
        self.activity.work() - before
    }

    /// The same, while the thread stays awake.
    async fn work_awake(&self, duration: Duration) -> u64 {
        let ends = Instant::now() + duration;
        let before = self.activity.work();
        while self.look_for_messages(ends).await {
            if timeout_at(ends, self.activity.next_round()).await.is_err() {
                break;
            }
        }
        self.activity.work() - before
    }

    /// Keeps the thread from parking until nothing has happened for `patience`. False when it is `ends`
    /// by then.
    async fn look_for_messages(&self, ends: Instant) -> bool {
        let mut seen = self.activity.rounds();
        let mut gives_up = Instant::now() + self.patience;
        loop {
            // The runtime polls its sockets before it comes back here.
            yield_now().await;
            let (now, rounds) = (Instant::now(), self.activity.rounds());
            if now >= ends {
                return false;
            }
            if rounds != seen {
                (seen, gives_up) = (rounds, now + self.patience);
            } else if now >= gives_up {
                return true;
            }
            // Who shares this core goes first.
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn trial(awake: u64, asleep: u64) -> Trial {
        Trial { awake, asleep }
    }

    #[test]
    fn it_pays_when_more_gets_done_by_a_tenth() {
        assert!(trial(1_200, 1_000).pays());
        assert!(!trial(1_100, 1_000).pays());
        assert!(!trial(1_000, 1_200).pays());
    }

    #[test]
    fn it_does_not_pay_where_there_is_hardly_any_work() {
        assert!(!trial(WORTH_A_TRIAL * SPELLS - 1, 0).pays());
        assert!(trial(WORTH_A_TRIAL * SPELLS, 0).pays());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_to_stay_awake_never_does() {
        let never = stay_awake(Arc::default(), Duration::ZERO);
        assert!(tokio::time::timeout(HOLD * 100, never).await.is_err());
    }

    #[tokio::test]
    async fn it_looks_for_messages_until_its_patience_is_over() {
        let patience = Duration::from_millis(2);
        let awake = Awake {
            activity: Arc::default(),
            patience,
        };
        let begun = Instant::now();
        assert!(awake.look_for_messages(begun + patience * 1_000).await);
        assert!(begun.elapsed() >= patience);
    }

    #[tokio::test]
    async fn it_goes_on_while_something_happens() {
        let awake = Awake {
            activity: Arc::default(),
            patience: Duration::from_secs(100),
        };
        let ends = Instant::now() + Duration::from_millis(5);
        let happens = async {
            loop {
                awake.activity.add(1);
                yield_now().await;
            }
        };
        tokio::select! {
            looked = awake.look_for_messages(ends) => assert!(!looked),
            () = happens => {}
        }
        assert!(awake.activity.work() > 1);
    }
}
