//! Clerks that own locks: they wait for them, hold them for a moment, and give them back or let
//! them go; now and then one takes a lock from another.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use lockservice::checker::holders::{Granted, Holders, Wrong};
use lockservice::clerk::{Clerk, ConnectError, GuardState, LockGuard, LossReason};
use lockservice::transport::Servers;
use lockservice::types::LockName;

/// Short enough that some are lost while a server hangs.
const LEASE: Duration = Duration::from_secs(2);

/// How long a lock is held at most, in milliseconds.
const LONGEST_HOLD: u64 = 4;

/// How many may hold the last of the locks at once. The others are held by one.
const PERMITS: u32 = 2;

/// One request of this many follows an attempt to break the lock.
const REQUESTS_TO_A_BREAK: u32 = 64;

/// The pause after a failure, so that a pair that is gone is not asked all the time.
const PAUSE: Duration = Duration::from_millis(20);

/// The clerks that own locks, and their results.
#[derive(Debug)]
pub(super) struct Owners {
    clerks: Vec<Clerk>,
    locks: Vec<LockName>,
    random: Rng,
    timeout: Duration,
    judge: RefCell<Holders<Rc<LockGuard>>>,
    pub(super) count: RefCell<Count>,
}

/// The results of all owners.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) granted: u64,
    /// Guards that were lost while they were held, unless their lock was broken.
    pub(super) lost: u64,
    /// Locks that were taken from their holder.
    pub(super) broken: u64,
    /// Requests that led to no lock.
    pub(super) failed: u64,
    /// What was wrong first.
    pub(super) wrong: Option<(LockName, Wrong)>,
}

impl Owners {
    /// Connects `count` clerks, which share the `locks`.
    pub(super) async fn connect(
        servers: &Servers,
        timeout: Duration,
        count: u32,
        locks: Vec<LockName>,
        seed: u64,
    ) -> Result<Self, ConnectError> {
        let builder = Clerk::builder(servers.clone())
            .timeout(timeout)
            .lease(LEASE);
        let clerks = join_all((0..count).map(|_| builder.clone().connect())).await;
        Ok(Self {
            clerks: clerks.into_iter().collect::<Result<_, _>>()?,
            locks,
            random: Rng::with_seed(seed),
            timeout,
            judge: RefCell::new(Holders::new()),
            count: RefCell::default(),
        })
    }

    /// Goes on until it is to stop, or something is wrong.
    pub(super) async fn work(&mut self, stop: &CancellationToken) {
        let randoms: Vec<_> = self.clerks.iter().map(|_| self.random.fork()).collect();
        let workers = std::iter::zip(&self.clerks, randoms);
        join_all(workers.map(|(clerk, random)| self.work_as(clerk, random, stop))).await;
    }

    async fn work_as(&self, clerk: &Clerk, mut random: Rng, stop: &CancellationToken) {
        while !stop.is_cancelled() && self.count.borrow().wrong.is_none() {
            let at = random.usize(..self.locks.len());
            let (name, is_last) = (&self.locks[at], at + 1 == self.locks.len());
            let most = if is_last { PERMITS } else { 1 };
            if random.u32(..REQUESTS_TO_A_BREAK) == 0 {
                self.break_newest(clerk, name).await;
            }
            let asked_after = self.judge.borrow().highest(name);
            let mut request = clerk.request(name.as_str()).timeout(self.timeout);
            if is_last {
                request = request.permits(most);
            }
            if let Ok(guard) = request.acquire().await {
                let granted = Granted {
                    token: guard.token(),
                    most,
                    asked_after,
                };
                self.hold(name, granted, guard, &mut random, stop).await;
            } else {
                self.count.borrow_mut().failed += 1;
                sleep(PAUSE).await;
            }
        }
    }

    /// Breaks the lock if its last known holder still holds it.
    async fn break_newest(&self, clerk: &Clerk, name: &LockName) {
        let newest = self.judge.borrow().of(name).map(|(token, _)| token).max();
        let Some(token) = newest else { return };
        self.judge.borrow_mut().breaks(name, token);
        // Without an answer, it may have been broken, or may be later.
        let breaks = clerk.break_lock(name.as_str(), token, "lockc torture");
        if let Ok(outcome) = breaks.await {
            let was_held = outcome.is_broken();
            self.judge.borrow_mut().broke(name, token, was_held);
            self.count.borrow_mut().broken += u64::from(was_held);
        }
    }

    async fn hold(
        &self,
        name: &LockName,
        granted: Granted,
        guard: LockGuard,
        random: &mut Rng,
        stop: &CancellationToken,
    ) {
        if guard.state() == GuardState::Lost {
            return;
        }
        let (token, guard) = (granted.token, Rc::new(guard));
        self.count.borrow_mut().granted += 1;
        let is_lost = |guard: &Rc<LockGuard>| guard.state() == GuardState::Lost;
        let granted = self
            .judge
            .borrow_mut()
            .granted(name, granted, guard.clone(), is_lost);
        if let Err(wrong) = granted {
            self.count.borrow_mut().wrong = Some((name.clone(), wrong));
        }
        let enough = Instant::now() + Duration::from_millis(random.u64(..=LONGEST_HOLD));
        let lost = tokio::select! {
            biased;
            reason = guard.lost() => reason != LossReason::Broken,
            () = stop.cancelled() => false,
            () = tokio::time::sleep_until(enough) => false,
        };
        self.count.borrow_mut().lost += u64::from(lost);
        self.judge.borrow_mut().given_up(name, token);
        // Every other one is dropped, and given back in the background.
        if let Some(guard) = Rc::into_inner(guard)
            && random.bool()
        {
            let _ = guard.release().await;
        }
    }

    pub(super) async fn leave(self) {
        drop(self.judge);
        join_all(self.clerks.into_iter().map(Clerk::close)).await;
    }
}
