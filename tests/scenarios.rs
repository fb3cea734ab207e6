//! The ten scenarios that a lock service on a pair is for, each on servers in threads and on processes of
//! the real program, over real sockets.
//!
//! "Just before reply" is the hard case: the primary carries a request out and forwards it, its reply is
//! lost, nobody can connect to it any more, and two seconds later it is gone. The client's retry must get
//! the answer that the first try earned, and must not run twice.

mod load;

use std::time::Duration;

use lockservice::service::{RoleName, Verb};
use lockservice::testkit::{Pair, PairOptions, RecordedClerk, Recorder, invariants, wait_until};
use lockservice::types::ServerId;
use tokio::time::{Instant, interval};

use self::load::{Load, NAMES, PATIENCE, processes};

const A: ServerId = ServerId::A;
const B: ServerId = ServerId::B;

/// How long a primary that can only lose replies is still there.
const DYING: Duration = Duration::from_secs(2);

/// How long clients are at work before the primary fails, and after it.
const WORKING: Duration = Duration::from_millis(1_500);

fn both_kinds() -> [PairOptions; 2] {
    [PairOptions::threads(), processes()]
}

/// A pair and the clients that a scenario asks with.
struct Stage {
    pair: Pair,
    recorder: Recorder,
    clients: u32,
}

impl Stage {
    async fn set(options: PairOptions) -> Self {
        Self {
            pair: Pair::start(options).await,
            recorder: Recorder::new(),
            clients: 0,
        }
    }

    async fn client(&mut self) -> RecordedClerk {
        self.clients += 1;
        self.recorder.client(self.clients, self.pair.clerk().await)
    }

    /// Holds all that the clients were told to all that is promised.
    async fn judge(self) {
        let history = self.recorder.history();
        let end = self.pair.final_state(&history).await;
        invariants::check_all(&history, &end).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

async fn lock(client: &RecordedClerk, name: &str) -> bool {
    client.lock(name).await.expect("an answer")
}

async fn unlock(client: &RecordedClerk, name: &str) -> bool {
    client.unlock(name).await.expect("an answer")
}

#[tokio::test]
async fn basic_lock_unlock() {
    for options in both_kinds() {
        let mut stage = Stage::set(options).await;
        let [one, two] = [stage.client().await, stage.client().await];
        assert!(lock(&one, "a").await);
        assert!(!lock(&one, "a").await);
        assert!(!lock(&two, "a").await);
        assert!(lock(&two, "b").await);
        assert!(unlock(&two, "a").await, "anybody may unlock");
        assert!(!unlock(&one, "a").await);
        assert!(lock(&one, "a").await);
        assert!(unlock(&one, "b").await);
        assert!(!unlock(&one, "never used").await);
        stage.judge().await;
    }
}

#[tokio::test]
async fn primary_failure() {
    for options in both_kinds() {
        let mut stage = Stage::set(options).await;
        let [one, two] = [stage.client().await, stage.client().await];
        assert!(lock(&one, "a").await);
        assert!(lock(&one, "b").await);
        assert!(unlock(&one, "b").await);
        stage.pair.kill(A);
        assert!(!lock(&two, "a").await);
        assert!(lock(&two, "b").await);
        assert!(unlock(&one, "a").await);
        assert!(!unlock(&two, "a").await);
        stage.pair.wait_role(B, RoleName::Alone).await;
        stage.judge().await;
    }
}

#[tokio::test]
async fn backup_failure() {
    for options in both_kinds() {
        let mut stage = Stage::set(options).await;
        let [one, two] = [stage.client().await, stage.client().await];
        assert!(lock(&one, "a").await);
        stage.pair.kill(B);
        assert!(!lock(&two, "a").await);
        assert!(unlock(&one, "a").await);
        assert!(lock(&two, "a").await);
        stage.pair.wait_role(A, RoleName::Alone).await;
        stage.judge().await;
    }
}

/// Who holds the lock when the call comes whose reply is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Caller,
    Other,
}

/// The call whose reply is lost.
#[derive(Debug, Clone, Copy)]
struct Lost {
    holder: Holder,
    verb: Verb,
    answer: bool,
}

impl Lost {
    /// Whether the lock is held when the call has been carried out, once.
    fn leaves_held(self) -> bool {
        self.verb == Verb::Lock
    }
}

async fn primary_failure_just_before_reply(lost: Lost) {
    for options in both_kinds() {
        let mut stage = Stage::set(options).await;
        let [caller, other] = [stage.client().await, stage.client().await];
        match lost.holder {
            Holder::Nobody => assert!(lock(&other, "another lock").await),
            Holder::Caller => assert!(lock(&caller, "x").await),
            Holder::Other => assert!(lock(&other, "x").await),
        }
        let answered = lose_the_reply(&mut stage, caller, lost).await;

        // Others ask while the deaf primary is still there, and when it is gone.
        let late = stage.client().await;
        let died = Instant::now() + DYING;
        let mut pause = interval(DYING / 20);
        while Instant::now() < died {
            pause.tick().await;
            assert_consistent(&late, lost.leaves_held()).await;
            assert_consistent(&other, lost.leaves_held()).await;
        }
        stage.pair.kill(A);
        for client in [&answered, &late, &other] {
            assert_consistent(client, lost.leaves_held()).await;
        }
        stage.pair.wait_role(B, RoleName::Alone).await;
        stage.judge().await;
    }
}

/// The primary carries out what `caller` asks and forwards it; its reply is lost. The call is answered
/// all the same.
async fn lose_the_reply(stage: &mut Stage, caller: RecordedClerk, lost: Lost) -> RecordedClerk {
    let pair = &mut stage.pair;
    let before = pair.status(B).await.expect("the backup runs").op;
    pair.deafen(A);
    let replies = pair.front(A).traffic().replies.discarded;
    let call = tokio::spawn(async move {
        let answer = match lost.verb {
            Verb::Lock => caller.lock("x").await,
            Verb::Unlock => caller.unlock("x").await,
        };
        (answer.expect("an answer"), caller)
    });
    wait_until("the reply is lost", PATIENCE, async || {
        pair.front(A).traffic().replies.discarded > replies
    })
    .await;
    // A reply leaves the primary only when the backup has what led to it.
    let op = pair.status(B).await.expect("the backup runs").op;
    assert!(op > before, "the first try was carried out and forwarded");
    let (answer, caller) = call.await.expect("no panic");
    assert_eq!(answer, lost.answer, "what the first try earned: {lost:?}");
    caller
}

/// Finds the lock as it must be, and leaves it so.
async fn assert_consistent(client: &RecordedClerk, held: bool) {
    assert_eq!(lock(client, "x").await, !held);
    assert!(!lock(client, "x").await);
    assert!(unlock(client, "x").await);
    assert!(!unlock(client, "x").await);
    if held {
        assert!(lock(client, "x").await);
    }
}

#[tokio::test]
async fn primary_failure_just_before_reply_1_to_a_lock_that_succeeds() {
    primary_failure_just_before_reply(Lost {
        holder: Holder::Nobody,
        verb: Verb::Lock,
        answer: true,
    })
    .await;
}

#[tokio::test]
async fn primary_failure_just_before_reply_2_to_a_lock_that_the_same_client_holds() {
    primary_failure_just_before_reply(Lost {
        holder: Holder::Caller,
        verb: Verb::Lock,
        answer: false,
    })
    .await;
}

#[tokio::test]
async fn primary_failure_just_before_reply_3_to_a_lock_that_another_client_holds() {
    primary_failure_just_before_reply(Lost {
        holder: Holder::Other,
        verb: Verb::Lock,
        answer: false,
    })
    .await;
}

#[tokio::test]
async fn primary_failure_just_before_reply_4_to_an_unlock_that_fails() {
    primary_failure_just_before_reply(Lost {
        holder: Holder::Nobody,
        verb: Verb::Unlock,
        answer: false,
    })
    .await;
}

#[tokio::test]
async fn primary_failure_just_before_reply_5_to_an_unlock_of_another_clients_lock() {
    primary_failure_just_before_reply(Lost {
        holder: Holder::Other,
        verb: Verb::Unlock,
        answer: true,
    })
    .await;
}

/// Clients are at work, the primary dies in the middle, every client makes progress afterwards, and what
/// all were told adds up.
async fn primary_fails_under(names: &'static [&str]) {
    for options in both_kinds() {
        let mut pair = Pair::start(options).await;
        let load = Load::start(&pair, 4, names).await;
        work_for(&load, WORKING).await;
        pair.kill(A);
        work_for(&load, WORKING).await;
        pair.wait_role(B, RoleName::Alone).await;
        load.judge(&pair).await;
    }
}

/// Waits until this much time has passed and each client has had more answers.
async fn work_for(load: &Load, span: Duration) {
    let end = Instant::now() + span;
    loop {
        load.advance(20).await;
        if Instant::now() >= end {
            return;
        }
    }
}

#[tokio::test]
async fn multiple_clients_with_primary_failure() {
    primary_fails_under(&NAMES).await;
}

#[tokio::test]
async fn multiple_clients_single_lock_primary_failure() {
    primary_fails_under(&["the one"]).await;
}
