//! Facts about the machine as a whole; those about one record or one table are told beside them.

mod model;
mod owned;
mod properties;
mod steps;

use std::sync::Arc;

use super::*;
use crate::config::CALL_WINDOW;
use crate::service::{AcquireOptions, Acquired, Change, Notifications, SessionTerms};
use crate::types::{ClientId, Lease, Seq, SessionId, Token};

pub(super) const ALICE: ClientId = ClientId::from_u128(1);
pub(super) const BOB: ClientId = ClientId::from_u128(2);

pub(super) fn name(name: &str) -> LockName {
    name.parse().expect("a good name")
}

pub(super) fn open(machine: &mut Machine, client: ClientId) -> SessionId {
    match machine.apply(
        &Command::OpenSession {
            client,
            terms: None,
        },
        ServerId::A,
    ) {
        Outcome::Opened(number) => number,
        other => panic!("an open led to {other:?}"),
    }
}

/// A client that numbers its calls and has one in flight at a time.
pub(super) struct Caller {
    pub(super) id: CallId,
}

impl Caller {
    pub(super) fn open(machine: &mut Machine, client: ClientId) -> Self {
        let session = open(machine, client);
        Self {
            id: CallId {
                client,
                session,
                seq: Seq(0),
                first_incomplete: Seq(0),
            },
        }
    }

    pub(super) fn next(&mut self, verb: Verb, lock: &str) -> Command {
        let id = self.id;
        self.id.seq = id.seq.next();
        self.id.first_incomplete = id.seq.next();
        call(id, verb, lock)
    }
}

fn call(id: CallId, verb: Verb, lock: &str) -> Command {
    Command::Call {
        id,
        verb,
        name: name(lock),
    }
}

#[test]
fn a_lock_is_granted_once_until_it_is_released() {
    let mut machine = Machine::default();
    let mut alice = Caller::open(&mut machine, ALICE);
    let mut bob = Caller::open(&mut machine, BOB);
    let mut outcome =
        |caller: &mut Caller, verb| machine.apply(&caller.next(verb, "job"), ServerId::A);

    assert_eq!(outcome(&mut alice, Verb::Unlock), Outcome::Call(false));
    assert_eq!(outcome(&mut alice, Verb::Lock), Outcome::Call(true));
    assert_eq!(outcome(&mut alice, Verb::Lock), Outcome::Call(false));
    assert_eq!(outcome(&mut bob, Verb::Lock), Outcome::Call(false));
    assert_eq!(outcome(&mut bob, Verb::Unlock), Outcome::Call(true));
    assert_eq!(outcome(&mut bob, Verb::Unlock), Outcome::Call(false));
    assert_eq!(outcome(&mut bob, Verb::Lock), Outcome::Call(true));
    assert!(machine.is_held(&name("job")));
    assert_eq!((machine.locks(), machine.clients()), (1, 2));
}

#[test]
fn a_repeated_call_that_had_failed_fails_again_though_the_lock_is_free_now() {
    let mut machine = Machine::default();
    let mut alice = Caller::open(&mut machine, ALICE);
    let mut bob = Caller::open(&mut machine, BOB);
    let failing = bob.next(Verb::Lock, "job");

    machine.apply(&alice.next(Verb::Lock, "job"), ServerId::A);
    assert_eq!(machine.apply(&failing, ServerId::A), Outcome::Call(false));
    machine.apply(&alice.next(Verb::Unlock, "job"), ServerId::A);
    assert_eq!(machine.apply(&failing, ServerId::A), Outcome::Call(false));
    assert!(!machine.is_held(&name("job")));
}

#[test]
fn every_command_takes_an_op_number() {
    let mut machine = Machine::new(OpNumber(41));
    let session = open(&mut machine, ALICE);
    assert_eq!(session, SessionId(42));
    let stranger = CallId {
        client: BOB,
        session,
        seq: Seq(0),
        first_incomplete: Seq(0),
    };
    assert_eq!(
        machine.apply(&call(stranger, Verb::Lock, "job"), ServerId::A),
        Outcome::Refused(CallRefusal::UnknownSession)
    );
    assert_eq!(
        machine.apply(
            &Command::Expire {
                session: SessionId(7),
                seen: Seq(0)
            },
            ServerId::A
        ),
        Outcome::Dropped(false)
    );
    assert_eq!(machine.op(), OpNumber(44));
}

#[test]
fn after_goodbye_a_late_copy_of_a_call_is_refused() {
    let mut machine = Machine::default();
    let mut alice = Caller::open(&mut machine, ALICE);
    let session = alice.id.session;
    let lock = alice.next(Verb::Lock, "job");
    machine.apply(&lock, ServerId::A);
    machine.apply(&alice.next(Verb::Unlock, "job"), ServerId::A);
    let goodbye = |client| Command::CloseSession { client, session };

    assert_eq!(
        machine.apply(&goodbye(BOB), ServerId::A),
        Outcome::Dropped(false)
    );
    assert_eq!(
        machine.apply(&goodbye(ALICE), ServerId::A),
        Outcome::Dropped(true)
    );
    assert_eq!(
        machine.apply(&goodbye(ALICE), ServerId::A),
        Outcome::Dropped(false)
    );
    open(&mut machine, ALICE);
    assert_eq!(
        machine.apply(&lock, ServerId::A),
        Outcome::Refused(CallRefusal::UnknownSession)
    );
    assert!(!machine.is_held(&name("job")));
}

#[test]
fn a_record_that_has_moved_on_does_not_expire() {
    let mut machine = Machine::default();
    let mut alice = Caller::open(&mut machine, ALICE);
    let session = alice.id.session;
    let seen = machine.session(session).expect("it is open").next_seq;
    machine.apply(&alice.next(Verb::Lock, "job"), ServerId::A);

    assert_eq!(
        machine.apply(&Command::Expire { session, seen }, ServerId::A),
        Outcome::Dropped(false)
    );
    assert_eq!(
        machine.session(session),
        Some(SessionInfo {
            client: ALICE,
            lease: None,
            next_seq: Seq(1)
        })
    );
    assert_eq!(
        machine.apply(
            &Command::Expire {
                session,
                seen: Seq(1)
            },
            ServerId::A
        ),
        Outcome::Dropped(true)
    );
    assert_eq!(machine.sessions().count(), 0);
    assert!(
        machine.is_held(&name("job")),
        "the lock is not the record's"
    );
}

#[test]
fn a_call_below_done_below_is_refused_and_a_late_call_does_not_lower_it() {
    let mut machine = Machine::default();
    let session = open(&mut machine, ALICE);
    let id = |seq, first_incomplete| CallId {
        client: ALICE,
        session,
        seq: Seq(seq),
        first_incomplete: Seq(first_incomplete),
    };
    let given_up = Outcome::Refused(CallRefusal::GivenUp);

    machine.apply(&call(id(5, 4), Verb::Lock, "job"), ServerId::A);
    assert_eq!(
        machine.apply(&call(id(3, 0), Verb::Lock, "a"), ServerId::A),
        given_up
    );
    assert_eq!(
        machine.apply(&call(id(4, 0), Verb::Lock, "b"), ServerId::A),
        Outcome::Call(true)
    );
    assert_eq!(
        machine.apply(&call(id(3, 0), Verb::Lock, "a"), ServerId::A),
        given_up
    );
    assert_eq!(
        machine.apply(&call(id(6, 7), Verb::Lock, "a"), ServerId::A),
        given_up,
        "by its own word"
    );
    assert!(!machine.is_held(&name("a")));
}

#[test]
fn a_call_too_far_ahead_is_refused() {
    let mut machine = Machine::default();
    let session = open(&mut machine, ALICE);
    let id = |seq, first_incomplete| CallId {
        client: ALICE,
        session,
        seq: Seq(seq),
        first_incomplete: Seq(first_incomplete),
    };
    let full = Outcome::Refused(CallRefusal::WindowFull);

    let before = machine.session(session);
    for (seq, first_incomplete) in [(CALL_WINDOW, 0), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
        assert_eq!(
            machine.apply(
                &call(id(seq, first_incomplete), Verb::Lock, "a"),
                ServerId::A
            ),
            full
        );
    }
    assert_eq!(machine.session(session), before);
    let last = call(id(CALL_WINDOW - 1, 0), Verb::Lock, "a");
    assert_eq!(machine.apply(&last, ServerId::A), Outcome::Call(true));
}

#[test]
fn a_record_with_the_last_of_all_numbers_is_copied_and_dropped_like_any_other() {
    let mut machine = Machine::default();
    let session = open(&mut machine, ALICE);
    let last = Seq(u64::MAX - 1);
    let id = CallId {
        client: ALICE,
        session,
        seq: last,
        first_incomplete: last,
    };
    assert_eq!(
        machine.apply(&call(id, Verb::Lock, "job"), ServerId::A),
        Outcome::Call(true)
    );
    assert_eq!(snapshot::tests::restored(machine.snapshot()), machine);
    let client = ALICE;
    let goodbye = Command::CloseSession { client, session };
    assert_eq!(machine.apply(&goodbye, ServerId::A), Outcome::Dropped(true));
}

#[test]
fn the_same_state_by_another_way_has_the_same_digest() {
    let by_order = |locks: [&str; 2]| {
        let mut machine = Machine::default();
        let mut alice = Caller::open(&mut machine, ALICE);
        for lock in locks {
            machine.apply(&alice.next(Verb::Lock, lock), ServerId::A);
        }
        machine
    };
    let (one, other) = (by_order(["a", "b"]), by_order(["b", "a"]));
    assert_eq!(one, other);
    assert_eq!(one.digest(), other.digest());
    assert_ne!(one.digest(), by_order(["a", "c"]).digest());
}

#[test]
fn the_digest_is_the_same_in_every_build() {
    let mut machine = Machine::new(OpNumber(1_000));
    assert_eq!(machine.digest().to_string(), "2242a50cae4e4547");
    let mut alice = Caller::open(&mut machine, ALICE);
    machine.apply(&alice.next(Verb::Lock, "job"), ServerId::A);
    machine.apply(&alice.next(Verb::Lock, &"long".repeat(100)), ServerId::A);
    assert_eq!(machine.digest().to_string(), "be1fcf726509c80e");
}

#[test]
fn locks_spread_over_their_shards() {
    let entries = (0..100).map(|lock| digest::of_lock(&name(&format!("lock-{lock}"))).bits());
    let entries: std::collections::BTreeSet<_> = entries.collect();
    assert_eq!(entries.len(), 100);
}

#[test]
fn the_longest_command_takes_no_more_than_is_said_of_it() {
    let mut machine = Machine::new(OpNumber(u64::MAX / 4));
    let mut caller = Caller::open(&mut machine, ClientId::from_u128(u128::MAX));
    caller.id.seq = Seq(u64::MAX - 1);
    let longest = "n".repeat(LockName::MAX_BYTES);
    let command = call(caller.id, Verb::Lock, &longest);
    let bytes = postcard::to_stdvec(&command).expect("it encodes");
    assert!(bytes.len() <= command.max_encoded_bytes());
}
