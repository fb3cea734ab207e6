//! Two servers that were cut off from each other, which is not tolerated: each goes on alone, and
//! may grant what the other one has granted. When the cut has healed, one state is kept, and every
//! session is honest about it.

use lockservice::clerk::{Clerk, GuardState, LockGuard, LossReason};
use lockservice::service::RoleName;
use lockservice::testkit::{Pair, PairOptions, Reserved, wait_until};
use lockservice::transport::Servers;
use lockservice::types::ServerId;
use tokio::time::timeout;

use crate::fixture::{LONG, clerk};

/// A clerk that reaches one of the servers alone. The other address is nobody's.
async fn clerk_of(pair: &Pair, server: ServerId) -> (Clerk, Reserved) {
    let nobody = Reserved::tcp().expect("a port");
    let reached = pair.front(server).addr().clone();
    let servers = match server {
        ServerId::A => Servers::new(reached, nobody.addr().clone()),
        _ => Servers::new(nobody.addr().clone(), reached),
    };
    let builder = Clerk::builder(servers.expect("two addresses")).lease(LONG);
    let clerk = builder.connect().await.expect("it answers");
    (clerk, nobody)
}

/// A pair, and for each of its servers a clerk that has held a lock since before the cut.
struct Fixture {
    pair: Pair,
    clerks: [Clerk; 2],
    held: [LockGuard; 2],
    _nobody: [Reserved; 2],
}

impl Fixture {
    async fn set() -> Self {
        let pair = Pair::start(PairOptions::threads()).await;
        pair.wait_whole().await;
        let (of_a, nobody) = clerk_of(&pair, ServerId::A).await;
        let (of_b, nowhere) = clerk_of(&pair, ServerId::B).await;
        let held_by_a = of_a.acquire("of-a").await.expect("it is free");
        let held_by_b = of_b.acquire("of-b").await.expect("it is free");
        Self {
            pair,
            clerks: [of_a, of_b],
            held: [held_by_a, held_by_b],
            _nobody: [nobody, nowhere],
        }
    }

    async fn cut(&self) {
        self.pair.cut_link();
        for server in ServerId::BOTH {
            self.pair.wait_role(server, RoleName::Standalone).await;
        }
    }

    /// Heals the cut. Returns whose state was not kept, and whose was.
    async fn mend(&self) -> (ServerId, ServerId) {
        self.pair.mend_link();
        self.pair.wait_whole().await;
        let kept = self.pair.primary().await.expect("a whole pair has one");
        (kept.peer(), kept)
    }

    fn clerk(&self, server: ServerId) -> &Clerk {
        &self.clerks[server.index()]
    }

    async fn both_acquire(&self, name: &str) -> [LockGuard; 2] {
        let [of_a, of_b] = &self.clerks;
        let (of_a, of_b) = tokio::join!(of_a.acquire(name), of_b.acquire(name));
        [of_a.expect("it is free"), of_b.expect("it is free")]
    }
}

#[tokio::test]
async fn of_two_guards_of_one_lock_one_is_lost_when_a_cut_has_healed() {
    let fixture = Fixture::set().await;
    fixture.cut().await;
    let guards = fixture.both_acquire("job").await;
    let states = guards.each_ref().map(LockGuard::state);
    assert_eq!(states, [GuardState::Held; 2], "this is not tolerated");
    let (left, kept) = fixture.mend().await;
    let reason = timeout(LONG, guards[left.index()].lost()).await;
    assert_eq!(reason, Ok(LossReason::Diverged));
    assert_eq!(guards[kept.index()].state(), GuardState::Held);
    let before = fixture.held.each_ref().map(LockGuard::state);
    assert_eq!(before, [GuardState::Held; 2]);
    for guard in fixture.held {
        guard.release().await.expect("it is held");
    }
    let [of_a, of_b] = guards;
    let kept = if kept == ServerId::A { of_a } else { of_b };
    kept.release().await.expect("it is held");
}

#[tokio::test]
async fn a_lock_that_was_released_at_the_server_whose_state_was_not_kept_is_free_in_the_end() {
    let fixture = Fixture::set().await;
    fixture.cut().await;
    for guard in fixture.held {
        guard.release().await.expect("it was held");
    }
    fixture.pair.mend_link();
    fixture.pair.wait_whole().await;
    let other = clerk(&fixture.pair, LONG).await;
    for name in ["of-a", "of-b"] {
        let acquired = timeout(LONG, other.acquire(name)).await;
        let acquired = acquired.unwrap_or_else(|_| panic!("{name} is held for ever"));
        drop(acquired.expect("it is free"));
    }
}

#[tokio::test]
async fn a_request_that_queued_at_the_server_whose_state_was_not_kept_gets_its_lock_in_the_end() {
    let fixture = Fixture::set().await;
    let holder = clerk(&fixture.pair, LONG).await;
    let held = holder.acquire("job").await.expect("it is free");
    fixture.cut().await;
    let waiting = ServerId::BOTH.map(|server| {
        let clerk = fixture.clerk(server).clone();
        tokio::spawn(async move {
            let guard = clerk.acquire("job").await.expect("its turn comes");
            guard.release().await
        })
    });
    for server in ServerId::BOTH {
        wait_until("one waits at each", LONG, async || {
            let status = fixture.pair.status(server).await;
            status.is_some_and(|status| status.waiters == 1)
        })
        .await;
    }
    fixture.mend().await;
    wait_until("both wait", LONG, async || {
        let status = fixture.pair.status(ServerId::A).await;
        status.is_some_and(|status| status.waiters == 2)
    })
    .await;
    held.release().await.expect("it is held");
    for waiting in waiting {
        let turn = timeout(LONG, waiting).await.expect("it waits for ever");
        turn.expect("no panic").expect("it was held");
    }
}
