//! Busy polling: looking for the next message for a while instead of parking the thread.
//!
//! Waking a parked thread on an idle core costs more than all the system calls of a lone call. A
//! thread that polls is there when the message comes. But it keeps a core busy, and where there are
//! more busy threads than cores it keeps others from working, perhaps the very client that it waits
//! for. No rule tells these cases apart from the inside, so both are tried: now and then, while
//! there is work, short spells of polling and of parking alternate, and what gets more done is kept
//! for a while, unless it takes too much processor time for it. The cost of a wake-up on this
//! machine is in that comparison. A server without work parks.
//!
//! How long to poll depends on the machine too. Where the other side has to be woken first, the
//! next message takes several times as long as where it polls as well, and a window that is a
//! little too short is worst: the thread parks just before the message comes. So each trial begins
//! by measuring the gaps between messages (`gaps.rs`), and the window follows them.

mod gaps;

use std::convert::Infallible;
use std::future::pending;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use self::gaps::Gaps;
use crate::engine::LoadCounter;

/// How long a spell lasts: long against a call, and short against what anybody notices.
const SPELL: Duration = Duration::from_millis(8);

/// How many spells of each kind make a trial. They alternate, so that a load that changes meanwhile
/// weighs on both.
const SPELLS: u64 = 4;

/// How long the result of a trial is believed. Trials take a thirtieth of the time.
const HOLD: Duration = Duration::from_secs(2);

/// For how many spells a server that parks counts its work before it knows how much that is: a
/// quarter of a second.
const REST: u32 = 32;

/// How much work in a spell is worth a trial. With less, the thread parks most of the time anyway.
const WORTH_A_TRIAL: u64 = 16;

/// The window in use, in microseconds, for `status`. Zero while the thread parks.
#[derive(Debug, Clone, Default)]
pub(super) struct Window(Arc<AtomicU64>);

impl Window {
    pub(super) fn current(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, window: Duration) {
        let micros = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }
}

/// Polls for up to `longest` after each message, while more gets done so.
pub(super) async fn busy_poll(
    activity: Arc<LoadCounter>,
    longest: Duration,
    window: Window,
) -> Infallible {
    if longest.is_zero() {
        return pending().await;
    }
    let poller = Poller { activity, longest };
    loop {
        poller.wait_for_work().await;
        loop {
            let trial = poller.trial().await;
            if !trial.pays() {
                break;
            }
            window.set(trial.window);
            poller.work_polling(HOLD, trial.window).await;
        }
        window.set(Duration::ZERO);
        sleep(HOLD).await;
    }
}

/// How much got done in the spells of a trial, and what it took.
#[derive(Debug, Default)]
struct Trial {
    window: Duration,
    polling: Work,
    parking: Work,
}

/// Some work, and the processor time that the thread used for it.
#[derive(Debug, Default, Clone, Copy)]
struct Work {
    done: u64,
    cpu: Duration,
}

impl Trial {
    /// Whether polling got a tenth more done, for at most 7/4 of the processor time for the same
    /// work: it has to be worth the core.
    fn pays(&self) -> bool {
        let Self {
            polling, parking, ..
        } = self;
        let is_quicker = polling.done > parking.done + parking.done / 10;
        let cost = |work: &Work, other: &Work| work.cpu.as_nanos() * u128::from(other.done);
        let is_cheap = cost(polling, parking) * 4 <= cost(parking, polling) * 7;
        polling.done >= WORTH_A_TRIAL * SPELLS && is_quicker && is_cheap
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, more: Self) {
        self.done += more.done;
        self.cpu += more.cpu;
    }
}

struct Poller {
    activity: Arc<LoadCounter>,
    longest: Duration,
}

impl Poller {
    async fn wait_for_work(&self) {
        loop {
            let idle = self.activity.work();
            while self.activity.work() == idle {
                self.activity.next_round().await;
            }
            if self.work_parking(SPELL * REST).await.done >= WORTH_A_TRIAL * u64::from(REST) {
                return;
            }
        }
    }

    async fn trial(&self) -> Trial {
        let mut trial = Trial {
            window: self.measure_window().await,
            ..Trial::default()
        };
        if trial.window.is_zero() {
            return trial;
        }
        for _ in 0..SPELLS {
            trial.polling += self.work_polling(SPELL, trial.window).await;
            trial.parking += self.work_parking(SPELL).await;
        }
        trial
    }

    async fn measure_window(&self) -> Duration {
        let mut gaps = Gaps::default();
        let ends = Instant::now() + SPELL;
        self.poll_until(ends, self.longest, |gap| gaps.record(gap))
            .await;
        gaps.window(self.longest)
    }

    /// How much gets done in `duration`, while the thread parks as it likes.
    async fn work_parking(&self, duration: Duration) -> Work {
        let before = self.work();
        sleep(duration).await;
        self.work_since(before)
    }

    /// The same, while the thread polls for `window` before it parks.
    async fn work_polling(&self, duration: Duration, window: Duration) -> Work {
        let before = self.work();
        self.poll_until(Instant::now() + duration, window, |_| {})
            .await;
        self.work_since(before)
    }

    /// All work so far. The time is that of this thread, which is the server's own in `lockd`.
    fn work(&self) -> Work {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        Work {
            done: self.activity.work(),
            cpu: Duration::try_from(cpu).unwrap_or_default(),
        }
    }

    fn work_since(&self, before: Work) -> Work {
        let now = self.work();
        Work {
            done: now.done - before.done,
            cpu: now.cpu.saturating_sub(before.cpu),
        }
    }

    async fn poll_until(&self, ends: Instant, window: Duration, mut gap: impl FnMut(Duration)) {
        while self.poll_for_messages(ends, window, &mut gap).await {
            if timeout_at(ends, self.activity.next_round()).await.is_err() {
                break;
            }
        }
    }

    /// Keeps the thread from parking until nothing has happened for `window`, and tells the `gap`
    /// before each message. False when it is `ends` by then.
    async fn poll_for_messages(
        &self,
        ends: Instant,
        window: Duration,
        gap: &mut impl FnMut(Duration),
    ) -> bool {
        let mut seen = self.activity.rounds();
        let mut last = Instant::now();
        loop {
            // The runtime polls its sockets before it comes back here.
            yield_now().await;
            let (now, rounds) = (Instant::now(), self.activity.rounds());
            if now >= ends {
                return false;
            }
            if rounds != seen {
                gap(now - last);
                (seen, last) = (rounds, now);
            } else if now - last >= window {
                return true;
            }
            // Others that share this core go first.
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(polling: u64, parking: u64) -> Trial {
        costly(polling, parking, 4)
    }

    /// Where the same work takes `quarters` of the processor time with polling.
    fn costly(polling: u64, parking: u64, quarters: u64) -> Trial {
        let work = |done: u64, micros: u64| Work {
            done,
            cpu: Duration::from_micros(done * micros),
        };
        Trial {
            window: Duration::from_micros(64),
            polling: work(polling, quarters),
            parking: work(parking, 4),
        }
    }

    fn poller() -> Poller {
        Poller {
            activity: Arc::default(),
            longest: Duration::from_millis(2),
        }
    }

    #[test]
    fn polling_pays_when_a_tenth_more_gets_done() {
        assert!(trial(1_200, 1_000).pays());
        assert!(!trial(1_100, 1_000).pays());
        assert!(!trial(1_000, 1_200).pays());
    }

    #[test]
    fn polling_does_not_pay_where_it_takes_much_more_processor_time() {
        assert!(costly(2_000, 1_000, 7).pays());
        assert!(!costly(2_000, 1_000, 8).pays());
    }

    #[test]
    fn polling_does_not_pay_where_there_is_hardly_any_work() {
        assert!(!trial(WORTH_A_TRIAL * SPELLS - 1, 0).pays());
        assert!(trial(WORTH_A_TRIAL * SPELLS, 0).pays());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_may_not_poll_never_does() {
        let never = busy_poll(Arc::default(), Duration::ZERO, Window::default());
        assert!(tokio::time::timeout(HOLD * 100, never).await.is_err());
    }

    #[tokio::test]
    async fn it_polls_until_the_window_is_over() {
        let (poller, begun) = (poller(), Instant::now());
        let window = poller.longest;
        let ends = begun + window * 1_000;
        assert!(poller.poll_for_messages(ends, window, &mut |_| {}).await);
        assert!(begun.elapsed() >= window, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn it_goes_on_while_messages_come_and_measures_the_gaps() {
        let poller = poller();
        let ends = Instant::now() + HOLD * 1_000;
        let messages = async {
            for _ in 0..100 {
                poller.activity.add(1);
                yield_now().await;
            }
        };
        let mut gaps = 0;
        let mut count = |_| gaps += 1;
        tokio::select! {
            biased;
            _ = poller.poll_for_messages(ends, Duration::MAX, &mut count) => {
                unreachable!("neither the window nor the time is over");
            }
            () = messages => {}
        }
        assert!(gaps > 1, "{gaps}");
    }

    #[tokio::test]
    async fn a_trial_without_messages_finds_no_window() {
        assert_eq!(poller().measure_window().await, Duration::ZERO);
    }
}
