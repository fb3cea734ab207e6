//! Facts about copies: cutting a snapshot into chunks, and putting them together again.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::*;
use crate::config::{CALL_WINDOW, MAX_BROKEN, MAX_PAYLOAD_BYTES};
use crate::machine::Command;
use crate::machine::Outcome;
use crate::machine::owned::{AcquireRequest, Grant};
use crate::machine::tests::{ALICE, BOB, Caller, name, open};
use crate::service::{AcquireOptions, Acquired, CallId, LockMode, Revision, SessionTerms, Verb};
use crate::types::{ClientId, Lease, Seq, ServerId, Token, UnixTime};

const SMALL: usize = Snapshot::MIN_CHUNK_BYTES;

/// The machine that the rest of `snapshot` makes, having been on the wire.
pub(in crate::machine) fn restored(snapshot: Snapshot) -> Machine {
    let mut restore = SnapshotReceiver::new();
    let mut machine = None;
    for chunk in chunks(snapshot, SMALL) {
        assert_eq!(machine, None, "no chunk follows the last");
        machine = restore.add(chunk).expect("the chunk fits");
    }
    machine.expect("the last chunk completes the machine")
}

/// All chunks, checked to be of the size that was asked for.
fn chunks(mut snapshot: Snapshot, max_bytes: usize) -> Vec<Chunk> {
    let chunks: Vec<_> = std::iter::from_fn(|| snapshot.next_chunk(max_bytes)).collect();
    assert_eq!(snapshot.next_chunk(max_bytes), None);
    chunks
        .iter()
        .map(|chunk| {
            let bytes = postcard::to_stdvec(chunk).expect("a chunk encodes");
            assert!(bytes.len() <= max_bytes, "{} > {max_bytes}", bytes.len());
            postcard::from_bytes(&bytes).expect("a chunk decodes")
        })
        .collect()
}

/// A machine that takes several chunks, with the longest names and a full window of outcomes.
fn large() -> Machine {
    let mut machine = Machine::new(OpNumber(u64::MAX / 4));
    let mut alice = Caller::open(&mut machine, ALICE);
    for lock in 0..2_000 {
        machine.apply(
            &alice.next(Verb::Lock, &format!("lock-{lock}")),
            ServerId::A,
        );
        machine.apply(
            &alice.next(Verb::Lock, &format!("{lock:0>1024}")),
            ServerId::A,
        );
    }
    for client in 10..20 {
        let mut caller = Caller::open(&mut machine, ClientId::from_u128(u128::MAX - client));
        for _ in 0..CALL_WINDOW {
            machine.apply(&caller.next(Verb::Lock, "lock-1"), ServerId::A);
            caller.id.first_incomplete = Seq(0);
        }
    }
    machine
}

#[test]
fn a_copy_is_equal_to_its_original_in_chunks_of_any_size() {
    let machine = large();
    for max_bytes in [SMALL, MAX_PAYLOAD_BYTES, usize::MAX] {
        let chunks = chunks(machine.snapshot(), max_bytes);
        assert_eq!(chunks.len() == 1, max_bytes == usize::MAX);
    }
    let copy = restored(machine.snapshot());
    assert_eq!(copy, machine);
    assert_eq!(copy.digest(), machine.digest());
}

#[test]
fn chunks_are_filled() {
    let chunks = chunks(large().snapshot(), MAX_PAYLOAD_BYTES);
    let bytes = |chunk| postcard::to_stdvec(chunk).expect("a chunk encodes").len();
    let (_, full) = chunks.split_last().expect("there is a chunk");
    assert!(
        full.iter()
            .map(bytes)
            .all(|bytes| bytes > MAX_PAYLOAD_BYTES * 3 / 4)
    );
}

#[test]
fn an_empty_machine_makes_one_chunk() {
    let machine = Machine::new(OpNumber(7));
    assert_eq!(chunks(machine.snapshot(), SMALL).len(), 1);
    assert_eq!(restored(machine.snapshot()), machine);
}

#[test]
fn a_restored_machine_goes_on_like_its_original() {
    let mut machine = large();
    let mut copy = restored(machine.snapshot());
    let mut bob = Caller::open(&mut machine.clone(), BOB);
    for command in [
        Command::OpenSession {
            client: BOB,
            terms: None,
        },
        bob.next(Verb::Unlock, "lock-5"),
        bob.next(Verb::Lock, "lock-5"),
    ] {
        assert_eq!(
            machine.apply(&command, ServerId::A),
            copy.apply(&command, ServerId::A)
        );
        assert_eq!(machine.digest(), copy.digest());
    }
    assert_eq!(machine, copy);
}

#[test]
fn a_snapshot_is_consistent_while_it_is_drained_and_the_machine_changes() {
    let mut machine = large();
    let original = machine.clone();
    let mut bob = Caller::open(&mut machine, BOB);
    let mut snapshot = original.snapshot();
    let mut restore = SnapshotReceiver::new();
    let mut copy = None;
    let mut lock = 0;
    while let Some(chunk) = snapshot.next_chunk(SMALL) {
        machine.apply(
            &bob.next(Verb::Unlock, &format!("lock-{lock}")),
            ServerId::A,
        );
        machine.apply(&bob.next(Verb::Lock, &format!("new-{lock}")), ServerId::A);
        lock += 1;
        copy = restore.add(chunk).expect("the chunk fits");
    }
    assert_eq!(copy, Some(original));
}

#[test]
fn a_chunk_that_is_missing_or_comes_twice_is_refused() {
    let chunks = chunks(large().snapshot(), SMALL);
    let mut restore = SnapshotReceiver::new();
    let out_of_order = |expected, found| Err(SnapshotError::OutOfOrder { expected, found });
    assert_eq!(restore.add(chunks[1].clone()), out_of_order(0, 1));
    assert_eq!(restore.add(chunks[0].clone()), Ok(None));
    assert_eq!(restore.add(chunks[0].clone()), out_of_order(1, 0));
    assert_eq!(restore.add(chunks[2].clone()), out_of_order(1, 2));
}

#[test]
fn chunks_of_two_copies_do_not_mix() {
    let mut machine = large();
    let first = chunks(machine.snapshot(), SMALL);
    open(&mut machine, BOB);
    let second = chunks(machine.snapshot(), SMALL);
    let mut restore = SnapshotReceiver::new();
    assert_eq!(restore.add(first[0].clone()), Ok(None));
    assert_eq!(restore.add(second[1].clone()), Err(SnapshotError::Mixed));
}

#[test]
fn a_copy_that_was_tampered_with_is_refused() {
    let original = large().snapshot().next_chunk(usize::MAX).expect("a chunk");
    let error = |tamper: fn(&mut Chunk)| {
        let mut chunk = original.clone();
        tamper(&mut chunk);
        SnapshotReceiver::new()
            .add(chunk)
            .expect_err("it must be refused")
    };
    for corrupt in [
        error(|chunk| drop(chunk.locks.pop())),
        error(|chunk| chunk.locks.push(name("never locked"))),
        error(|chunk| drop(chunk.records.pop())),
        error(|chunk| chunk.records[0].0 = SessionId(3)),
        error(|chunk| chunk.header.op = OpNumber(3)),
        error(|chunk| chunk.header.clock = UnixTime(3)),
    ] {
        assert!(
            matches!(corrupt, SnapshotError::Corrupt { .. }),
            "{corrupt}"
        );
    }
    for malformed in [
        error(|chunk| chunk.locks.push(chunk.locks[0].clone())),
        error(|chunk| chunk.records.push(chunk.records[0].clone())),
        error(|chunk| chunk.records[0].1 = impossible_record()),
    ] {
        assert_eq!(malformed, SnapshotError::Malformed);
    }
}

/// A record whose last outcomes are none.
fn impossible_record() -> Session {
    let parts = (
        ALICE,
        None::<Arc<SessionTerms>>,
        Vec::<(Revision, Seq)>::new(),
        Seq(0),
        vec![0_u64],
    );
    let bytes = postcard::to_stdvec(&parts).expect("it encodes");
    postcard::from_bytes(&bytes).expect("it decodes as a record")
}

#[test]
fn a_long_queue_is_cut_into_chunks_like_anything_else() {
    let mut machine = large();
    let lease = Some(Lease::new(Lease::MIN).expect("a lease"));
    let client = BOB;
    let Outcome::Opened(session_id) = machine.apply(
        &Command::OpenSession {
            client,
            terms: lease.map(SessionTerms::nameless),
        },
        ServerId::A,
    ) else {
        panic!("no session");
    };
    machine.apply(
        &Caller::open(&mut machine.clone(), ALICE).next(Verb::Lock, "plain"),
        ServerId::A,
    );
    machine.apply(
        &Command::Clock {
            time: UnixTime(u64::MAX),
        },
        ServerId::A,
    );
    for seq in 0..500 {
        let id = CallId {
            client,
            session: session_id,
            seq: Seq(seq),
            first_incomplete: Seq(seq),
        };
        let options = AcquireOptions {
            mode: LockMode::Permits(NonZeroU32::MAX),
            waits: true,
        };
        let longest = "q".repeat(LockName::MAX_BYTES);
        let name = name(if seq % 2 == 0 { "lock-1" } else { &longest });
        machine.apply(&Command::Acquire { id, name, options }, ServerId::A);
    }
    let chunks = chunks(machine.snapshot(), SMALL);
    let entries = |chunk: &Chunk| chunk.places.len();
    assert!(chunks.iter().filter(|chunk| entries(chunk) > 0).count() > 10);
    assert_eq!(chunks.iter().map(entries).sum::<usize>(), 500);
    assert_eq!(restored(machine.snapshot()), machine);

    let mut chunk = machine.snapshot().next_chunk(usize::MAX).expect("a chunk");
    chunk.places[0].1 = chunk.places[0].1.next();
    let refused = SnapshotReceiver::new()
        .add(chunk)
        .expect_err("it was tampered with");
    assert!(
        matches!(refused, SnapshotError::Corrupt { .. }),
        "{refused}"
    );
}

#[test]
fn after_the_last_chunk_a_restore_is_as_new() {
    let machine = large();
    let mut restore = SnapshotReceiver::new();
    for _ in 0..2 {
        let chunk = machine.snapshot().next_chunk(usize::MAX).expect("a chunk");
        assert_eq!(restore.add(chunk), Ok(Some(machine.clone())));
        assert_eq!(restore, SnapshotReceiver::new());
    }
}

#[test]
fn records_full_of_the_longest_numbers_are_cut_to_fit() {
    let mut machine = Machine::new(OpNumber(u64::MAX / 4));
    let lease = Some(Lease::new(Lease::MAX).expect("a lease"));
    for client in 0..1_000 {
        let client = ClientId::from_u128(u128::MAX - client);
        let Outcome::Opened(session_id) = machine.apply(
            &Command::OpenSession {
                client,
                terms: lease.map(SessionTerms::nameless),
            },
            ServerId::A,
        ) else {
            panic!("no record");
        };
        // The last of a word, so that the highest bits are set.
        let seq = Seq(u64::MAX - 32);
        let id = CallId {
            client,
            session: session_id,
            seq,
            first_incomplete: seq,
        };
        let (verb, name) = (Verb::Lock, name("job"));
        machine.apply(&Command::Call { id, verb, name }, ServerId::A);
    }
    assert!(chunks(machine.snapshot(), MAX_PAYLOAD_BYTES).len() > 1);
    assert_eq!(machine.snapshot().op(), machine.op());
    assert_eq!(restored(machine.snapshot()), machine);
}

/// A session that has made so many calls, with as many locks broken as may be.
fn broken_session(machine: &mut Machine, client: u128, calls: u64) {
    let lease = Some(Lease::new(Lease::MAX).expect("a lease"));
    let client = ClientId::from_u128(u128::MAX - client);
    let Outcome::Opened(session_id) = machine.apply(
        &Command::OpenSession {
            client,
            terms: lease.map(SessionTerms::nameless),
        },
        ServerId::A,
    ) else {
        panic!("no record");
    };
    let mut admin = Caller::open(machine, ALICE);
    let first = Seq(u64::MAX - CALL_WINDOW - 1);
    let options = AcquireOptions {
        mode: LockMode::Exclusive,
        waits: true,
    };
    for call in 0..calls {
        let id = CallId {
            client,
            session: session_id,
            seq: Seq(first.0 + call),
            first_incomplete: first,
        };
        let name = name(&format!("job of {session_id}"));
        let acquire = Command::Acquire {
            id,
            name: name.clone(),
            options,
        };
        if let Outcome::Acquired(Acquired::Granted(token)) = machine.apply(&acquire, ServerId::A)
            && call < MAX_BROKEN as u64
        {
            let id = admin.id;
            admin.id.seq = id.seq.next();
            let broken = machine.apply(&Command::Break { id, name, token }, ServerId::A);
            assert_eq!(broken, Outcome::Call(true));
        }
    }
    assert_eq!(
        machine
            .notifications(session_id, Revision(0), 1)
            .broken
            .len(),
        MAX_BROKEN
    );
}

#[test]
fn the_largest_record_fits_into_the_smallest_chunk() {
    let mut machine = Machine::new(OpNumber(u64::MAX / 4));
    broken_session(&mut machine, 0, CALL_WINDOW);
    let mut snapshot = machine.snapshot();
    let most = usize::try_from(CALL_WINDOW).expect("a few thousand");
    let chunks = std::iter::from_fn(|| snapshot.next_chunk(SMALL)).take(most);
    assert!(chunks.count() < most, "it does not get past the record");
    assert_eq!(restored(machine.snapshot()), machine);
}

#[test]
fn records_with_broken_locks_are_cut_to_fit() {
    let mut machine = Machine::new(OpNumber(u64::MAX / 4));
    for client in 0..20 {
        broken_session(&mut machine, client, MAX_BROKEN as u64);
    }
    assert_eq!(restored(machine.snapshot()), machine);
}

#[test]
fn a_place_takes_no_more_on_the_wire_than_is_reckoned_for_it() {
    let name = name(&"q".repeat(LockName::MAX_BYTES));
    let entry = QueueEntry {
        request: AcquireRequest {
            session: SessionId(u64::MAX),
            seq: Seq(u64::MAX),
            mode: LockMode::Permits(NonZeroU32::MAX),
        },
        grant: Some(Grant {
            token: Token(u64::MAX),
            contended: Some(Revision(u64::MAX)),
            since: UnixTime(u64::MAX),
        }),
    };
    let reckoned = name.as_str().len() + PLACE_BYTES;
    let bytes = postcard::to_stdvec(&(name, OpNumber(u64::MAX), entry)).expect("it encodes");
    assert!(bytes.len() <= reckoned, "{} > {reckoned}", bytes.len());
}
