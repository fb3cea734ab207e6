//! What a command, a snapshot and a digest cost, with an empty table and with a million locks held.
//!
//! `cargo bench --bench machine`

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use lockservice::config::MAX_PAYLOAD_BYTES;
use lockservice::machine::{Command, Machine, Outcome, Restore};
use lockservice::service::{CallId, Verb};
use lockservice::types::{ClientId, LockName, OpNumber, RecordNumber, Seq};

const CLIENT: ClientId = ClientId::from_u128(1);

/// The tables to measure with, by how many locks are held.
const TABLES: [u64; 2] = [0, 1_000_000];

/// A machine and the one client that uses it, with one call in flight at a time.
#[derive(Clone)]
struct Bench {
    machine: Machine,
    record: RecordNumber,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        let mut machine = Machine::new(OpNumber(0));
        let Outcome::Opened(record) = machine.apply(&Command::Open {
            client: CLIENT,
            lease: None,
        }) else {
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

    fn call(&mut self, verb: Verb, name: &LockName) -> Outcome {
        let id = CallId {
            client: CLIENT,
            record: self.record,
            seq: Seq(self.next),
            done_below: Seq(self.next),
        };
        self.next += 1;
        self.machine.apply(&Command::Call {
            id,
            verb,
            name: name.clone(),
        })
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
    let mut restore = Restore::new();
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

criterion_group!(benches, calls, snapshots, digests);
criterion_main!(benches);
