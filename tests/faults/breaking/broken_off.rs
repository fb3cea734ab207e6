//! Calls that are broken off in the middle: their future is dropped, their connection reset, their
//! client killed. Then every lock is looked at.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use fastrand::Rng;
use futures::future::join_all;
use futures::poll;
use lockservice::Clerk;
use lockservice::service::Verb;
use lockservice::testkit::{Pair, RecordedClerk, Recorder, wait_until};
use lockservice::types::LockName;
use tokio::task::yield_now;

use crate::edition::rounds;
use crate::load::{PATIENCE, processes};
use crate::{A, B, check};

fn any_verb(random: &mut Rng) -> Verb {
    if random.bool() {
        Verb::Lock
    } else {
        Verb::Unlock
    }
}

fn seeded() -> Rng {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    Rng::with_seed(seed)
}

/// A client with a lock that nobody else uses, so that it always knows how that can be.
struct Owner {
    clerk: Clerk,
    lock: String,
    may_be_held: bool,
    may_be_free: bool,
    random: Rng,
}

impl Owner {
    /// Begins a call, and drops it after having looked at it a few times. False when it is answered
    /// before that.
    async fn drop_call(&mut self) -> bool {
        let (clerk, lock, verb) = (
            self.clerk.clone(),
            self.lock.clone(),
            any_verb(&mut self.random),
        );
        let mut call = Box::pin(ask(&clerk, verb, &lock));
        for _ in 0..self.random.u32(1..12) {
            if let std::task::Poll::Ready(answer) = poll!(&mut call) {
                self.learn(verb, answer);
                return false;
            }
            yield_now().await;
        }
        match verb {
            Verb::Lock => self.may_be_held = true,
            Verb::Unlock => self.may_be_free = true,
        }
        true
    }

    /// Makes a call that is waited for. From its answer on it is certain how the lock is: a call
    /// that was dropped before it has had its effect by then, or never will.
    async fn call(&mut self) {
        let verb = any_verb(&mut self.random);
        let answer = ask(&self.clerk, verb, &self.lock).await;
        self.learn(verb, answer);
    }

    fn learn(&mut self, verb: Verb, answer: bool) {
        let was_held = answer == (verb == Verb::Unlock);
        let possible = if was_held {
            self.may_be_held
        } else {
            self.may_be_free
        };
        assert!(possible, "{verb:?} of {} was answered {answer}", self.lock);
        self.may_be_held = verb == Verb::Lock;
        self.may_be_free = !self.may_be_held;
    }

    async fn work(mut self, calls: u32, dropped: &Cell<u32>) -> Self {
        while dropped.get() < calls {
            if self.drop_call().await {
                dropped.set(dropped.get() + 1);
            }
            self.call().await;
            self.call().await;
        }
        self
    }
}

async fn ask(clerk: &Clerk, verb: Verb, lock: &str) -> bool {
    let answer = match verb {
        Verb::Lock => clerk.lock(lock).await,
        Verb::Unlock => clerk.unlock(lock).await,
    };
    answer.expect("an answer")
}

#[tokio::test]
async fn a_call_that_is_dropped_happens_once_before_the_next_one_or_never() {
    let pair = Pair::start(processes()).await;
    let mut random = seeded();
    let mut owners = Vec::new();
    for number in 0..32 {
        owners.push(Owner {
            clerk: pair.clerk().await,
            lock: format!("own/{number}"),
            may_be_held: false,
            may_be_free: true,
            random: random.fork(),
        });
    }
    let dropped = Cell::new(0);
    let calls = rounds(4_000, 20_000);
    let owners = owners.into_iter().map(|owner| owner.work(calls, &dropped));
    let mut owners = join_all(owners).await;
    println!("{} calls dropped", dropped.get());
    for owner in &mut owners {
        owner.call().await;
        owner.call().await;
    }
    let held = owners.iter().filter(|owner| owner.may_be_held).count() as u64;
    pair.wait_whole().await;
    let [a, b] = [A, B].map(|server| pair.status(server));
    let (a, b) = (a.await.expect("it answers"), b.await.expect("it answers"));
    assert_eq!((a.locks, b.locks), (held, held));
    check(&pair, &Recorder::new().history()).await;
}

/// What goes on while connections are reset.
#[derive(Default)]
struct Resets {
    under_way: Cell<u32>,
    /// Calls that were under way when a connection was reset.
    met: Cell<u32>,
    over: Cell<bool>,
}

/// Makes calls that are waited for, whatever happens to their connection.
async fn endure(client: RecordedClerk, mut random: Rng, resets: &Resets) {
    while !resets.over.get() {
        let (verb, name) = (
            any_verb(&mut random),
            format!("shared/{}", random.u32(..12)),
        );
        resets.under_way.set(resets.under_way.get() + 1);
        let answer = match verb {
            Verb::Lock => client.lock(&name).await,
            Verb::Unlock => client.unlock(&name).await,
        };
        answer.expect("an answer");
        resets.under_way.set(resets.under_way.get() - 1);
    }
}

/// Resets the connections of all clients to one server or the other, whenever answers have come
/// again.
async fn reset(pair: &Pair, mut random: Rng, calls: u32, resets: &Resets) {
    let answers = || [A, B].map(|server| pair.front(server).traffic().replies.passed);
    while resets.met.get() < calls {
        let before = answers();
        wait_until("answers", PATIENCE, async || answers() != before).await;
        resets.met.set(resets.met.get() + resets.under_way.get());
        pair.front(if random.bool() { A } else { B }).reset();
    }
    resets.over.set(true);
}

#[tokio::test]
async fn a_call_whose_connection_is_reset_happens_once() {
    let pair = Pair::start(processes()).await;
    let recorder = Recorder::new();
    let resets = Resets::default();
    let mut random = seeded();
    let mut clients = Vec::new();
    for number in 0..24 {
        let client = recorder.client(number, pair.clerk().await);
        clients.push(endure(client, random.fork(), &resets));
    }
    let calls = rounds(5_000, 50_000);
    tokio::join!(
        join_all(clients),
        reset(&pair, random.fork(), calls, &resets)
    );
    println!(
        "{} calls under way when connections were reset",
        resets.met.get()
    );
    check(&pair, &recorder.history()).await;
}

/// A client that is killed in the middle of a call. It has a lock of its own, so that all of its
/// answers but the last one, which nobody hears, are certain.
async fn kill_client(
    pair: &Pair,
    directory: &Path,
    number: u32,
    answers: usize,
    recorder: &Recorder,
) {
    let own: LockName = format!("own/{number}").parse().expect("a name");
    let orders = directory.join(format!("{number}.in"));
    let order = format!("lock {own}\nlock {own}\nunlock {own}\n");
    fs::write(&orders, order.repeat(10_000)).expect("a file");
    let heard = directory.join(format!("{number}.out"));
    let mut client = Command::new(env!("CARGO_BIN_EXE_lockc"))
        .args(["--servers", &pair.servers().to_string(), "shell"])
        .stdin(File::open(orders).expect("it was written"))
        .stdout(File::create(&heard).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("lockc runs");
    let lines = || fs::read_to_string(&heard).expect("text").lines().count();
    wait_until("some answers", PATIENCE, async || lines() >= answers).await;
    client.kill().expect("it runs");
    client.wait().expect("it was started here");

    let mut verbs = [Verb::Lock, Verb::Lock, Verb::Unlock].into_iter().cycle();
    let mut order = || recorder.invoke(number, verbs.next().expect("endless"), &own);
    for line in fs::read_to_string(&heard).expect("text").lines() {
        order().returned(line.parse().expect("an answer"));
    }
    order().unknown();
}

#[tokio::test]
async fn the_last_call_of_a_client_that_is_killed_happens_once_or_not_at_all() {
    let pair = Pair::start(processes()).await;
    let recorder = Recorder::new();
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = seeded();
    let numbers: Vec<_> = (0..rounds(16, 200)).collect();
    for numbers in numbers.chunks(4) {
        let killed = numbers.iter().map(|&number| {
            let answers = random.usize(1..60);
            kill_client(&pair, directory.path(), number, answers, &recorder)
        });
        join_all(killed.collect::<Vec<_>>()).await;
    }
    check(&pair, &recorder.history()).await;
}
