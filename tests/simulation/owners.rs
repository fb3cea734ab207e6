//! Owners: clerks that own locks for a while, each on a host of its own, which can be lost.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use lockservice::clerk::Clerk;
use lockservice::service::LockMode;
use lockservice::types::{LockName, ServerId};
use lockservice::{AcquireError, CallError, GuardState, LockGuard, LockRequest};
use tokio::time::timeout;

use super::context::{Context, pass};
use super::lock_model::{AcquireAttempt, Held, now};
use super::network::{host, owner_host};
use super::rng::Rng;

/// For up to so many leases a lock is retained.
const RETAINED_LEASES: u32 = 2;

/// How many there are, and what they want.
#[derive(Debug, Clone)]
pub(crate) struct Owners {
    pub(crate) count: usize,
    pub(crate) locks: u64,
    pub(crate) lease: Duration,
    /// How long a lock is held, mostly, in milliseconds.
    pub(crate) hold: u64,
    /// The longest pause between two requests, in milliseconds.
    pub(crate) pause: u64,
    pub(crate) hedge_delay: Duration,
    /// One time in so many, a lock is broken instead. Never, if it is 0.
    pub(crate) breaks: u64,
    /// One time in so many, a lock is retained. Never, if it is 0.
    pub(crate) retains: u64,
}

impl Owners {
    /// A world without owned locks.
    pub(crate) const NONE: Self = Self {
        count: 0,
        locks: 0,
        lease: Duration::ZERO,
        hold: 0,
        pause: 0,
        hedge_delay: Duration::ZERO,
        breaks: 0,
        retains: 0,
    };

    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        (0..self.locks).map(name)
    }

    /// For how long a lock can stay taken when its owner has gone.
    pub(crate) fn longest_stay(&self) -> Duration {
        if self.retains == 0 {
            return self.lease;
        }
        // A failover adds a quarter of what is left; a half is for several.
        self.lease * RETAINED_LEASES * 3 / 2
    }

    pub(crate) fn lease_millis(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).expect("it is short")
    }
}

fn name(number: u64) -> String {
    format!("owned-{number}")
}

fn lock_name(name: String) -> LockName {
    LockName::new(name).expect("a name")
}

/// Runs one owner until the stage closes. It leaves now and then, and comes back as another.
pub(crate) async fn run(
    context: Context,
    number: usize,
    owners: Owners,
    mut rng: Rng,
) -> turmoil::Result {
    while !context.is_over() {
        let builder = Clerk::builder(context.servers())
            .network(context.network(&owner_host(number)))
            .hedge_delay(owners.hedge_delay)
            .lease(owners.lease);
        let clerk = match builder.connect().await {
            Ok(clerk) => clerk,
            Err(error) => {
                context.complain(format!("owner {number} cannot connect: {error}"));
                break;
            }
        };
        let owner = Owner {
            context: context.clone(),
            number,
            clerk: clerk.clone(),
            owners: owners.clone(),
            rng: rng.fork(),
            has_given_up: false,
        };
        let requests = if rng.one_in(3) {
            u64::MAX
        } else {
            rng.within(3..20)
        };
        owner.work(requests).await;
        if rng.one_in(2) {
            clerk.close().await;
        }
    }
    context.note_owner_gone(number);
    Ok(())
}

struct Owner {
    context: Context,
    number: usize,
    clerk: Clerk,
    owners: Owners,
    rng: Rng,
    /// Whether a place of this clerk may still be in a queue though nobody wants it.
    has_given_up: bool,
}

impl Owner {
    async fn work(mut self, requests: u64) {
        for _ in 0..requests {
            if self.context.is_over() {
                return;
            }
            let breaks = self.owners.breaks;
            let done = if breaks > 0 && self.rng.one_in(breaks) {
                self.break_one().await
            } else {
                self.request().await
            };
            if let Err(wrong) = done {
                self.context.complain(wrong);
            }
            pass(self.rng.millis(0..self.owners.pause)).await;
        }
    }

    /// What is asked for next, and how that is written down.
    fn wish(&mut self) -> (LockRequest, AcquireAttempt) {
        let name = name(self.rng.within(0..self.owners.locks));
        let request = self.clerk.request(&name);
        let two = NonZeroU32::MIN.saturating_add(1);
        let (request, mode) = match self.rng.within(0..9) {
            0 | 1 => (request.shared(), LockMode::Shared),
            2 => (request.permits(two.get()), LockMode::Permits(two)),
            _ => (request, LockMode::Exclusive),
        };
        let name = lock_name(name);
        let asked = AcquireAttempt {
            owner: self.number,
            at: now(),
            after: self.context.model().highest(&name),
            mode,
            is_only: !self.has_given_up,
        };
        (request, asked)
    }

    async fn request(&mut self) -> Result<(), String> {
        let (request, mut asked) = self.wish();
        let hedge_delay = self.rng.millis(0..self.owners.lease_millis());
        let began = asked.at;
        let acquired = match self.rng.within(0..10) {
            0..5 => Some(self.wait(request.acquire()).await),
            5 => Some(
                request
                    .try_acquire()
                    .await
                    .map(|it| it.acquired().into_iter().collect()),
            ),
            // In so short a time there may be no server to answer, or none that takes on more
            // calls.
            6 => match request.timeout(hedge_delay).acquire().await {
                Err(
                    AcquireError::TimedOut { .. }
                    | AcquireError::Unanswered { .. }
                    | AcquireError::Overloaded { .. },
                ) => None,
                acquired => Some(acquired.map(|guard| vec![guard])),
            },
            7 => {
                (asked.mode, asked.after) = (LockMode::Exclusive, None);
                let all = self.clerk.acquire_all(self.owners.names());
                Some(all.await.map(|guards| guards.into_iter().collect()))
            }
            // It is dropped.
            _ => match timeout(hedge_delay, request.acquire()).await {
                Err(_) => None,
                Ok(acquired) => Some(acquired.map(|guard| vec![guard])),
            },
        };
        match acquired {
            None => self.has_given_up = true,
            Some(Ok(guards)) => return self.hold(guards, asked).await,
            Some(Err(AcquireError::SessionLost)) => {}
            Some(Err(AcquireError::Ended)) if self.may_have_ended(began) => {
                self.has_given_up = true;
            }
            Some(Err(error)) => {
                let number = self.number;
                return Err(format!("a request of owner {number} failed: {error}"));
            }
        }
        Ok(())
    }

    /// Whether one of the locks can have been broken that were asked for at that moment.
    fn may_have_ended(&self, asked: Duration) -> bool {
        let mut names = self.owners.names().map(lock_name);
        names.any(|name| self.context.model().may_have_ended(&name, asked))
    }

    /// Takes a lock from somebody who is seen to hold it, or from one of those who did before.
    async fn break_one(&mut self) -> Result<(), String> {
        let name = name(self.rng.within(0..self.owners.locks));
        let Ok(lock) = self.clerk.show(&name).await else {
            return Ok(());
        };
        let model = self.context.model();
        let tokens = lock.entries.iter().filter_map(|place| place.token);
        let mut tokens: Vec<_> = tokens.collect();
        if tokens.is_empty() || self.rng.one_in(8) {
            tokens = Vec::from_iter(model.highest(&lock.name));
        }
        if tokens.is_empty() {
            return Ok(());
        }
        let token = self.rng.pick(&tokens);
        let hedge_delay = if self.rng.one_in(5) {
            self.rng.millis(0..self.owners.lease_millis())
        } else {
            Duration::from_mins(10)
        };
        let asked = model.breaks(&lock.name, token);
        let breaks = self.clerk.break_lock(&name, token, "simulated");
        match timeout(hedge_delay, breaks).await {
            Ok(Ok(was_held)) => model.broke(asked, was_held.is_broken()),
            // Nobody knows what became of it.
            Err(_) | Ok(Err(CallError::RecordLost)) => Ok(()),
            Ok(Err(error)) => {
                let number = self.number;
                Err(format!("a break of owner {number} failed: {error}"))
            }
        }
    }

    /// Whoever waits for as long as it takes must get it.
    async fn wait(
        &self,
        acquire: impl Future<Output = Result<LockGuard, AcquireError>>,
    ) -> Result<Vec<LockGuard>, AcquireError> {
        let guard = acquire.await?;
        self.context.note_owner_answer(self.number);
        Ok(vec![guard])
    }

    async fn hold(&mut self, guards: Vec<LockGuard>, asked: AcquireAttempt) -> Result<(), String> {
        let is_held = |guard: &LockGuard| guard.state() != GuardState::Lost;
        let held = guards.into_iter().filter(is_held);
        let held = held.map(|guard| self.context.model().granted(guard, asked));
        let held: Vec<_> = held.collect::<Result<_, _>>()?;
        let retains = self.owners.retains;
        if let Some(first) = held.first()
            && retains > 0
            && self.rng.one_in(retains)
        {
            self.retain(first).await?;
        }
        let long_enough = if self.rng.one_in(10) {
            self.rng.millis(0..2 * self.owners.lease_millis())
        } else {
            self.rng.millis(0..self.owners.hold)
        };
        if let Some(first) = held.first() {
            let lost = tokio::select! {
                biased;
                lost = first.guard().lost() => Some(lost),
                () = self.work_under_locks(long_enough) => None,
            };
            if let Some(reason) = lost {
                self.context.model().has_lost(first, reason)?;
            }
        }
        for held in held {
            if self.rng.one_in(2) {
                self.hear_of_break(&held).await?;
            }
            self.give_up(held).await?;
        }
        Ok(())
    }

    /// Has a lock stay taken for a while, whatever becomes of this owner.
    async fn retain(&mut self, held: &Held) -> Result<(), String> {
        let leases = u64::from(RETAINED_LEASES);
        let time = self.rng.millis(1..leases * self.owners.lease_millis());
        let asked = now();
        match held.guard().retain(time).await {
            Ok(()) => held.is_retained(asked, time),
            Err(error) => self.context.model().is_not_retained(held, &error)?,
        }
        Ok(())
    }

    /// Goes on, whatever happens, while it is cut off: then it can be seen for how long it says it
    /// holds.
    async fn work_under_locks(&self, long_enough: Duration) {
        pass(long_enough).await;
        let (me, faults) = (owner_host(self.number), self.context.faults());
        let is_cut_off = || {
            ServerId::BOTH
                .map(host)
                .iter()
                .all(|server| faults.is_silent(&me, server))
        };
        while is_cut_off() {
            pass(Duration::from_millis(5)).await;
        }
    }

    /// Whoever has a lock that was broken is told so, or else its lease ends.
    async fn hear_of_break(&self, held: &Held) -> Result<(), String> {
        let Some(since) = self.context.model().broken_since(held) else {
            return Ok(());
        };
        let (name, lease) = (held.guard().name(), self.owners.lease);
        match timeout(lease, held.guard().lost()).await {
            Ok(reason) => self.context.model().has_lost(held, reason),
            Err(_) => Err(format!(
                "{name}: broken by {since:?}, and its holder is not told"
            )),
        }
    }

    async fn give_up(&mut self, held: Rc<Held>) -> Result<(), String> {
        let given_up = self.context.model().given_up(held)?;
        if self.rng.one_in(2) {
            return given_up.release(self.context.model()).await;
        }
        Ok(())
    }
}
