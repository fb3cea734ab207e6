//! The primary fails just before a reply: it carries out and forwards the request, its reply is
//! lost, nobody can connect to it any more, and two seconds later it is gone.
//!
//! The same question is asked by two clients about a lock of their own each. The impatient one asks
//! again while the primary is merely deaf, the patient one when it is gone. Before that, other
//! clients have brought the patient one's lock into the state in which a second execution would
//! tell the opposite.

use std::time::Duration;

use lockservice::config::{ATTEMPT_TIMEOUT, PATIENCE};
use lockservice::service::Verb;
use lockservice::testkit::{PairOptions, RecordedClerk, wait_until};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::fixture::{A, B, Fixture, ask, lock};

/// From the lost reply to the end of the primary.
const DEAF: Duration = Duration::from_secs(2);

/// Between two rounds of calls of the bystanders. 10 ms: a hundred rounds or two while it is deaf.
const PACE: Duration = Duration::from_millis(10);

/// What is asked when the reply is lost, and the answer that the first try has earned.
#[derive(Clone, Copy)]
pub(crate) struct LostReply {
    pub(crate) held_by: HeldBy,
    pub(crate) verb: Verb,
    pub(crate) answer: bool,
}

/// Who holds the lock that is asked about.
#[derive(Clone, Copy)]
pub(crate) enum HeldBy {
    Nobody,
    TheSameClient,
    AnotherClient,
}

impl LostReply {
    pub(crate) async fn run(self, options: PairOptions) {
        let mut fixture = Fixture::start(options).await;
        let early = fixture.client().await;
        let patient = fixture.client_with_hedge_delay(10 * ATTEMPT_TIMEOUT).await;
        let impatient = fixture.client_with_hedge_delay(PATIENCE).await;
        let mut locks = [
            self.prepare(&patient, &early, "patient").await,
            self.prepare(&impatient, &early, "impatient").await,
        ];

        fixture.pair.deafen(A);
        let deaf = fixture.pair.front(A).traffic();
        let asked = Instant::now();
        let patient_call = self.lose(&mut locks[0], &patient, &fixture).await;
        let impatient_call = self.lose(&mut locks[1], &impatient, &fixture).await;
        let gone = Instant::now() + DEAF;

        // Its connection leads nowhere, like that of every client there was; a new one finds no way
        // in.
        let late = fixture.client().await;
        bystand_until(gone, [&early, &late], &mut locks).await;
        assert_eq!(impatient_call.await.expect("no panic"), self.answer);
        self.tempt(&early, &mut locks[0]).await;
        assert!(!patient_call.is_finished() || asked.elapsed() >= ATTEMPT_TIMEOUT);

        let silent = fixture.pair.front(A).traffic();
        assert_eq!(silent.replies.passed, deaf.replies.passed);
        assert_eq!(silent.accepted, deaf.accepted);
        fixture.pair.kill(A);
        assert_eq!(patient_call.await.expect("no panic"), self.answer);
        for client in [&late, &patient, &early, &impatient] {
            for lock in &mut locks {
                lock.change(client).await;
            }
        }
        fixture.end_after_a_kill_of(A).await;
    }

    async fn prepare(
        self,
        asker: &RecordedClerk,
        other: &RecordedClerk,
        name: &'static str,
    ) -> Lock {
        let holder = match self.held_by {
            HeldBy::Nobody => return Lock { name, held: false },
            HeldBy::TheSameClient => asker,
            HeldBy::AnotherClient => other,
        };
        assert!(lock(holder, name).await);
        Lock { name, held: true }
    }

    /// Asks, and waits until the reply is lost: then the primary has carried the request out, and
    /// its backup too.
    async fn lose(
        self,
        lock: &mut Lock,
        client: &RecordedClerk,
        fixture: &Fixture,
    ) -> JoinHandle<bool> {
        let (client, name) = (client.clone(), lock.name);
        let lost = || fixture.pair.front(A).traffic().replies.discarded;
        let backup = async || fixture.pair.status(B).await.expect("the backup answers").op;
        let (op_before, lost_before) = (backup().await, lost());
        let call = tokio::spawn(async move { ask(&client, self.verb, name).await });
        wait_until("a lost reply", Duration::from_secs(30), async || {
            lost() > lost_before
        })
        .await;
        assert!(backup().await > op_before);
        lock.held = self.verb == Verb::Lock;
        call
    }

    /// Brings the lock into the state in which to carry out the request again would tell the
    /// opposite.
    async fn tempt(self, client: &RecordedClerk, lock: &mut Lock) {
        if lock.answer(self.verb) == self.answer {
            lock.change(client).await;
        }
        assert_ne!(lock.answer(self.verb), self.answer);
    }
}

/// A lock as it must be.
struct Lock {
    name: &'static str,
    held: bool,
}

impl Lock {
    fn answer(&self, verb: Verb) -> bool {
        self.held == (verb == Verb::Unlock)
    }

    /// Asks for what the lock is already, in vain, then for the change, and that for once.
    async fn change(&mut self, client: &RecordedClerk) {
        let (vain, change) = if self.held {
            (Verb::Lock, Verb::Unlock)
        } else {
            (Verb::Unlock, Verb::Lock)
        };
        assert!(
            !ask(client, vain, self.name).await,
            "{vain:?} {}",
            self.name
        );
        assert!(
            ask(client, change, self.name).await,
            "{change:?} {}",
            self.name
        );
        self.held = !self.held;
    }
}

/// Has the clients change the locks by turns until `end`, each of them every lock at least once.
async fn bystand_until(end: Instant, clients: [&RecordedClerk; 2], locks: &mut [Lock; 2]) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for client in clients {
            for lock in &mut *locks {
                lock.change(client).await;
            }
        }
        if Instant::now() >= end {
            return;
        }
        pace.tick().await;
    }
}
