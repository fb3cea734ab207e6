//! What a command, a snapshot and a digest cost, with an empty table and with a million locks held.
//!
//! `cargo bench --bench machine`

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use lockservice::config::MAX_PAYLOAD_BYTES;
use lockservice::machine::{Command, Machine, Outcome, SnapshotReceiver};
use lockservice::service::{AcquireOptions, CallId, LockMode, SessionTerms, Verb};
use lockservice::types::{ClientId, Lease, LockName, OpNumber, Seq, ServerId, SessionId};

const CLIENT: ClientId = ClientId::from_u128(1);

/// The tables to measure with, by how many locks are held.
const TABLES: [u64; 2] = [0, 1_000_000];

/// A machine and the one client that uses it, with one call in flight at a time.
#[derive(Clone)]
struct Bench {
    machine: Machine,
    record: SessionId,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        let mut machine = Machine::new(OpNumber(0));
        let Outcome::Opened(record) = machine.apply(
            &Command::OpenSession {
                client: CLIENT,
                terms: Lease::new(Lease::MIN).ok().map(SessionTerms::nameless),
            },
            ServerId::A,
        ) else {
            unreachable!("an open is answered with a record");
        };
        Self {
            machine,
            record,
            next: 0,
        }
    }

    fn holding(locks: u64) -> Self {
        let mut bench = Self::new();
        for lock in 0..locks {
            bench.call(Verb::Lock, &name(lock));
        }
        bench
    }

    fn id(&mut self) -> CallId {
        let seq = Seq(self.next);
        self.next += 1;
        CallId {
            client: CLIENT,
            session: self.record,
            seq,
            first_incomplete: seq,
        }
    }

    fn acquire(&mut self, name: &LockName) -> Seq {
        let id = self.id();
        let how = AcquireOptions {
            mode: LockMode::Exclusive,
            waits: true,
        };
        let name = name.clone();
        self.machine.apply(
            &Command::Acquire {
                id,
                name,
                options: how,
            },
            ServerId::A,
        );
        id.seq
    }

    fn release(&mut self, acquired: Seq) -> Outcome {
        let id = self.id();
        self.machine
            .apply(&Command::Release { id, acquired }, ServerId::A)
    }

    fn call(&mut self, verb: Verb, name: &LockName) -> Outcome {
        let id = self.id();
        self.machine.apply(
            &Command::Call {
                id,
                verb,
                name: name.clone(),
            },
            ServerId::A,
        )
    }
}

fn name(lock: u64) -> LockName {
    LockName::new(format!("lock-{lock:011}")).expect("a short name")
}

/// Each time another lock, so that no cache has its place.
fn calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("lock+unlock");
    for locks in TABLES {
        let mut bench = Bench::holding(locks);
        group.bench_function(BenchmarkId::from_parameter(locks), |b| {
            b.iter_batched(
                || name(locks + fastrand::u64(..10_000_000_000)),
                |name| {
                    bench.call(Verb::Lock, &name);
                    bench.call(Verb::Unlock, &name)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Likewise, with an owner.
fn owned_calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("acquire+release");
    for locks in TABLES {
        let mut bench = Bench::holding(locks);
        group.bench_function(BenchmarkId::from_parameter(locks), |b| {
            b.iter_batched(
                || name(locks + fastrand::u64(..10_000_000_000)),
                |name| {
                    let acquired = bench.acquire(&name);
                    bench.release(acquired)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn snapshots(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    for locks in TABLES {
        let bench = Bench::holding(locks);
        group.bench_function(BenchmarkId::new("take", locks), |b| {
            b.iter(|| bench.machine.snapshot());
        });
    }
    let bench = Bench::holding(1_000_000);
    group.bench_function("first write to a shard of 1000000", |b| {
        b.iter_batched_ref(
            || bench.clone(),
            |bench| bench.call(Verb::Unlock, &name(7)),
            BatchSize::LargeInput,
        );
    });
    group.sample_size(10);
    group.bench_function("copy of 1000000", |b| b.iter(|| copy(&bench.machine)));
    group.finish();
}

fn copy(machine: &Machine) -> Machine {
    let mut snapshot = machine.snapshot();
    let mut restore = SnapshotReceiver::new();
    while let Some(chunk) = snapshot.next_chunk(MAX_PAYLOAD_BYTES) {
        if let Some(machine) = restore.add(chunk).expect("a chunk fits its copy") {
            return machine;
        }
    }
    unreachable!("the last chunk completes the machine");
}

fn digests(c: &mut Criterion) {
    let bench = Bench::holding(1_000_000);
    c.bench_function("digest of 1000000", |b| {
        b.iter(|| black_box(&bench.machine).digest());
    });
}

/// The holder of a lock with many waiters gives it back, and queues again.
fn handovers(c: &mut Criterion) {
    let mut group = c.benchmark_group("hand-over among waiters");
    for waiters in [10, 10_000] {
        let mut bench = Bench::new();
        let queue = name(0);
        let mut turn = VecDeque::new();
        for _ in 0..waiters {
            turn.push_back(bench.acquire(&queue));
        }
        group.bench_function(BenchmarkId::from_parameter(waiters), |b| {
            b.iter(|| {
                let first = turn.pop_front().expect("a waiter");
                turn.push_back(bench.acquire(&queue));
                bench.release(first)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, calls, owned_calls, handovers, snapshots, digests);
criterion_main!(benches);
