//! Sessions that wait for locks, are told of grants by their polls, give back what they have and
//! break what others have, while the lease of one that has gone ends and the primary halts.
//!
//! A poll of each session is at the servers all the time, as a clerk's is; the answer to the call
//! and the poll can both tell of a grant, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::*;
use crate::config::LEASE_MARGIN;
use crate::service::{AcquireOptions, Acquired, LockMode, Opened, Revision, SessionTerms};
use crate::testkit::holders::{Granted, Holders};
use crate::types::{Lease, Token, View};

const LONG_LEASE: Duration = Lease::MAX;

/// What all of them were told.
#[derive(Default)]
struct Judge {
    holders: Mutex<Holders<Instant>>,
    places: Mutex<Vec<OwnerRequest>>,
    /// What somebody asked to be broken, and may be.
    breaks: Mutex<Vec<Grant>>,
    /// What was released as held, or broken.
    ended: Mutex<BTreeSet<Grant>>,
    clock: AtomicU64,
}

type Grant = (LockName, Token);

/// A place in a queue that came to be between two moments, and its token.
#[derive(Debug, Clone)]
struct OwnerRequest {
    name: LockName,
    asked: u64,
    had: u64,
    token: Token,
}

impl Judge {
    fn moment(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn granted(
        &self,
        place: OwnerRequest,
        mode: LockMode,
        asked_after: Option<Token>,
        safe_until: Instant,
    ) {
        let granted = Granted {
            token: place.token,
            most: mode.most_holders(),
            asked_after,
        };
        let is_lost = |until: &Instant| Instant::now() >= *until;
        let judged = whole(&self.holders).granted(&place.name, granted, safe_until, is_lost);
        judged.unwrap_or_else(|wrong| panic!("{}: {wrong}", place.name));
        whole(&self.places).push(place);
    }

    fn breaks(&self, (name, token): Grant) {
        whole(&self.holders).breaks(&name, token);
        whole(&self.breaks).push((name, token));
    }

    fn broke(&self, grant: Grant, was_held: bool) {
        whole(&self.holders).broke(&grant.0, grant.1, was_held);
        if was_held {
            return self.ends(grant);
        }
        let mut breaks = whole(&self.breaks);
        let at = breaks.iter().position(|it| *it == grant);
        breaks.swap_remove(at.expect("it was asked for"));
    }

    fn may_be_broken(&self, grant: &Grant) -> bool {
        whole(&self.breaks).contains(grant)
    }

    /// A grant was given back while it was held, or broken: one of the two, once.
    fn ends(&self, grant: Grant) {
        let told = format!("{grant:?}");
        assert!(whole(&self.ended).insert(grant), "{told} has ended twice");
    }

    /// First come, first served: of two of which one asked when the other had its place.
    fn check_order(&self) {
        let places = whole(&self.places);
        for one in &*places {
            for other in &*places {
                let is_behind = one.name == other.name && one.had < other.asked;
                let is_wrong = is_behind && one.token >= other.token;
                assert!(!is_wrong, "{other:?} came after {one:?}");
            }
        }
    }
}

/// Nothing panics while it is held.
fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session, and what its polls have told it.
struct Owner {
    client: ClientId,
    record: SessionId,
    view: View,
    next: u64,
    engines: [Engine; 2],
    heard: Arc<Mutex<BTreeMap<Seq, Token>>>,
    broken: Arc<Mutex<BTreeSet<Seq>>>,
    judge: Arc<Judge>,
}

impl Owner {
    async fn open(number: u32, lease: Duration, engines: [Engine; 2], judge: Arc<Judge>) -> Self {
        let client = ClientId::from_u128(u128::from(number));
        let lease = Some(Lease::new(lease).expect("a lease"));
        let opened = ask(
            &engines,
            &Request::OpenSession {
                client,
                terms: lease.map(SessionTerms::nameless),
            },
        )
        .await;
        let Answer::Opened(Opened {
            session: session_id,
            view,
            ..
        }) = opened
        else {
            panic!("not opened: {opened:?}");
        };
        Self {
            client,
            record: session_id,
            view,
            next: 0,
            engines,
            heard: Arc::default(),
            broken: Arc::default(),
            judge,
        }
    }

    fn call(&mut self) -> CallId {
        let seq = Seq(self.next);
        self.next += 1;
        CallId {
            client: self.client,
            session: self.record,
            seq,
            first_incomplete: seq,
        }
    }

    /// Polls until the session has ended.
    fn poll(&self) -> impl Future<Output = ()> + use<> {
        let (client, session, view) = (self.client, self.record, self.view);
        let (engines, heard) = (self.engines.clone(), self.heard.clone());
        let broken = self.broken.clone();
        async move {
            let mut since = Revision::default();
            let mut view = view;
            loop {
                let poll = Request::Poll {
                    client,
                    session,
                    since,
                    view,
                };
                let notifications = match try_ask(&engines, &poll).await {
                    Ok(Answer::Notifications(notifications)) => {
                        view = notifications.view;
                        notifications.answer
                    }
                    Ok(other) => panic!("a poll was answered with {other:?}"),
                    Err(Refusal::UnknownSession) => return,
                    Err(refusal) => panic!("a poll was refused: {refusal}"),
                };
                whole(&broken).extend(notifications.broken);
                since = since.max(notifications.through);
                for change in notifications.changes {
                    let before = whole(&heard).insert(change.acquired, change.token);
                    assert!(before.is_none_or(|token| token == change.token));
                }
            }
        }
    }

    /// Acquires, holds and gives back, or breaks what another one has, some times; gives what was
    /// told last.
    async fn work(mut self, times: usize) -> (Self, Told) {
        let mut last = self.once().await;
        for _ in 1..times {
            last = self.once().await;
        }
        (self, last)
    }

    async fn once(&mut self) -> Told {
        let name = LockName::new(*pick(&["x", "x", "y"])).expect("a name");
        let last = whole(&self.judge.holders).highest(&name);
        match last {
            Some(token) if thread_rng().gen_ratio(1, 4) => self.break_lock((name, token)).await,
            last => self.hold(name, last).await,
        }
    }

    async fn break_lock(&mut self, grant: Grant) -> Told {
        self.judge.breaks(grant.clone());
        let (name, token) = grant.clone();
        let request = Request::Break {
            id: self.call(),
            name,
            token,
            reason: String::new(),
            address: None,
        };
        let answer = self.ask(&request).await;
        self.judge.broke(grant, answer);
        Told { request, answer }
    }

    async fn hold(&mut self, name: LockName, asked_after: Option<Token>) -> Told {
        let two = NonZeroU32::MIN.saturating_add(1);
        let mode = *pick(&[
            LockMode::Exclusive,
            LockMode::Exclusive,
            LockMode::Shared,
            LockMode::Permits(two),
        ]);
        let id = self.call();
        let asked = self.judge.moment();
        let request = Request::Acquire {
            id,
            name: name.clone(),
            options: AcquireOptions { mode, waits: true },
        };
        let token = match ask(&self.engines, &request).await {
            Answer::Acquired(Acquired::Granted(token)) => Some(token),
            // Ended: granted and broken since, which the poll tells of as well.
            Answer::Acquired(Acquired::Queued | Acquired::Ended) => None,
            other => panic!("not acquired: {other:?}"),
        };
        let had = self.judge.moment();
        if token.is_none() && thread_rng().gen_ratio(1, 5) {
            // It is granted or not by then.
            return self.release(id.seq).await;
        }
        let token = match token {
            Some(token) => Some(token),
            None => self.turn(id.seq).await,
        };
        let Some(token) = token else {
            let mut breaks = whole(&self.judge.breaks).clone().into_iter();
            assert!(breaks.any(|(of, _)| of == name), "nobody breaks {name}");
            let told = self.release(id.seq).await;
            assert!(!told.answer, "it was broken");
            return told;
        };
        let grant = (name.clone(), token);
        let place = OwnerRequest {
            name: name.clone(),
            asked,
            had,
            token,
        };
        let safe_until = Instant::now() + LONG_LEASE;
        self.judge.granted(place, mode, asked_after, safe_until);
        yields(thread_rng().gen_range(0..30)).await;
        if let Some(heard) = whole(&self.heard).get(&id.seq) {
            assert_eq!(*heard, token, "the poll tells of another grant");
        }
        whole(&self.judge.holders).given_up(&name, token);
        let told = self.release(id.seq).await;
        if told.answer {
            self.judge.ends(grant);
            return told;
        }
        let is_broken = self.judge.may_be_broken(&grant);
        assert!(is_broken, "{grant:?} was held");
        told
    }

    /// None if it was broken before this heard of it.
    async fn turn(&self, acquired: Seq) -> Option<Token> {
        loop {
            let heard = whole(&self.heard).get(&acquired).copied();
            if heard.is_some() || whole(&self.broken).contains(&acquired) {
                return heard;
            }
            shuttle::future::yield_now().await;
        }
    }

    async fn release(&mut self, acquired: Seq) -> Told {
        let id = self.call();
        let request = Request::Release { id, acquired };
        let answer = self.ask(&request).await;
        Told { request, answer }
    }

    async fn ask(&self, request: &Request) -> bool {
        ask_call(&self.engines, request).await
    }

    async fn leave(self) {
        let (client, session) = (self.client, self.record);
        // A second try finds that the first one was carried out.
        let _ = try_ask(&self.engines, &Request::CloseSession { client, session }).await;
    }
}

/// Acquires the lock that the others want most, and is never heard of again.
async fn acquire_and_vanish(engines: [Engine; 2], judge: &Arc<Judge>) {
    let lease = Duration::from_millis(thread_rng().gen_range(200..600));
    let begun = Instant::now();
    let mut owner = Owner::open(99, lease, engines, judge.clone()).await;
    let name = LockName::new("x").expect("a name");
    let (id, mode) = (owner.call(), LockMode::Exclusive);
    let request = Request::Acquire {
        id,
        name: name.clone(),
        options: AcquireOptions { mode, waits: true },
    };
    let asked = judge.moment();
    if let Ok(Answer::Acquired(Acquired::Granted(token))) = try_ask(&owner.engines, &request).await
    {
        let had = judge.moment();
        let place = OwnerRequest {
            name,
            asked,
            had,
            token,
        };
        let safe_until = begun + lease - lease / LEASE_MARGIN;
        judge.granted(place, mode, None, safe_until);
    }
}

/// Concurrent owners; then the primary halts, perhaps in the middle, and everybody repeats its last
/// call.
pub(super) async fn owners_and_a_halt(world: &World) {
    world.wait_whole().await;
    let judge = Arc::<Judge>::default();
    acquire_and_vanish(world.engines(), &judge).await;
    let mut working = Vec::new();
    let mut polling = Vec::new();
    for number in 0..3 {
        let owner = Owner::open(number, LONG_LEASE, world.engines(), judge.clone()).await;
        polling.push(shuttle::future::spawn(owner.poll()));
        working.push(shuttle::future::spawn(owner.work(2)));
    }
    for (owner, Told { request, answer }) in halt_during(world, working, 600).await {
        assert_eq!(owner.ask(&request).await, answer, "{request:?}");
        owner.leave().await;
    }
    for polls in polling {
        polls.await.expect("it does not panic");
    }
    judge.check_order();
}
