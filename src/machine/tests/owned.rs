//! Facts about locks that sessions own.

use super::*;
use crate::config::MAX_BROKEN;
use crate::service::{Cursor, HoldingState, LockMode};

const WAITS: AcquireOptions = AcquireOptions {
    mode: LockMode::Exclusive,
    waits: true,
};
const TRIES: AcquireOptions = AcquireOptions {
    mode: LockMode::Exclusive,
    waits: false,
};
const SHARES: AcquireOptions = AcquireOptions {
    mode: LockMode::Shared,
    waits: true,
};

fn permits(most: u32) -> AcquireOptions {
    AcquireOptions {
        mode: LockMode::Permits(most.try_into().expect("not zero")),
        waits: true,
    }
}

struct TestSession(CallId);

impl TestSession {
    fn open(machine: &mut Machine, client: ClientId) -> Self {
        let lease = Some(Lease::new(Lease::MIN).expect("a lease"));
        let Outcome::Opened(session_id) = machine.apply(
            &Command::OpenSession {
                client,
                terms: lease.map(SessionTerms::nameless),
            },
            ServerId::A,
        ) else {
            panic!("no session");
        };
        Self(CallId {
            client,
            session: session_id,
            seq: Seq(0),
            first_incomplete: Seq(0),
        })
    }

    fn next(&mut self) -> CallId {
        let id = self.0;
        self.0.seq = id.seq.next();
        id
    }

    fn acquire(
        &mut self,
        machine: &mut Machine,
        lock: &str,
        options: AcquireOptions,
    ) -> (Seq, Acquired) {
        let id = self.next();
        let name = name(lock);
        match machine.apply(&Command::Acquire { id, name, options }, ServerId::A) {
            Outcome::Acquired(acquired) => (id.seq, acquired),
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, machine: &mut Machine, acquired: Seq) -> bool {
        let id = self.next();
        machine.apply(&Command::Release { id, acquired }, ServerId::A) == Outcome::Call(true)
    }

    fn expire(&self, machine: &mut Machine) {
        let session = self.0.session;
        let seen = machine.session(session).expect("it is open").next_seq;
        let expired = machine.apply(&Command::Expire { session, seen }, ServerId::A);
        assert_eq!(expired, Outcome::Dropped(true));
    }

    /// The calls whose grants there is news of, in order.
    fn granted(&self, machine: &Machine) -> Vec<Seq> {
        let notifications = machine.notifications(self.0.session, Revision(0), usize::MAX);
        notifications
            .changes
            .iter()
            .map(|change| change.acquired)
            .collect()
    }

    fn token(&self, machine: &Machine, acquired: Seq) -> Token {
        let id = CallId {
            seq: acquired,
            ..self.0
        };
        match machine.acquired(&id) {
            Acquired::Granted(token) => token,
            other => panic!("{other:?}"),
        }
    }
}

fn two() -> (Machine, TestSession, TestSession) {
    let mut machine = Machine::new(OpNumber(1_000));
    let alice = TestSession::open(&mut machine, ALICE);
    let bob = TestSession::open(&mut machine, BOB);
    (machine, alice, bob)
}

#[test]
fn who_comes_first_is_served_first() {
    let (mut machine, mut alice, mut bob) = two();
    let mut carol = TestSession::open(&mut machine, ClientId::from_u128(3));
    let (first, granted) = alice.acquire(&mut machine, "job", WAITS);
    assert!(matches!(granted, Acquired::Granted(_)), "{granted:?}");
    let (second, queued) = bob.acquire(&mut machine, "job", WAITS);
    let (third, _) = carol.acquire(&mut machine, "job", WAITS);
    assert_eq!(queued, Acquired::Queued);
    assert_eq!(alice.acquire(&mut machine, "job", TRIES).1, Acquired::Held);

    let tokens = [alice.token(&machine, first), {
        assert!(alice.release(&mut machine, first));
        assert_eq!(carol.granted(&machine), []);
        bob.token(&machine, second)
    }];
    assert!(bob.release(&mut machine, second));
    assert!(tokens[0] < tokens[1] && tokens[1] < carol.token(&machine, third));
    assert!(carol.release(&mut machine, third));
    assert_eq!((machine.locks(), machine.queue_entries()), (0, 0));
}

#[test]
fn what_a_session_owns_is_released_when_it_ends_and_none_of_it_goes_to_itself() {
    let (mut machine, mut alice, mut bob) = two();
    alice.acquire(&mut machine, "job", WAITS);
    alice.acquire(&mut machine, "job", WAITS);
    let (bobs, _) = bob.acquire(&mut machine, "job", WAITS);
    alice.expire(&mut machine);
    assert_eq!(bob.granted(&machine), [bobs]);
    assert_eq!(machine.queue_entries(), 1);
}

#[test]
fn a_waiter_whose_session_ends_leaves_the_queue() {
    let (mut machine, mut alice, mut bob) = two();
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    bob.acquire(&mut machine, "job", WAITS);
    bob.expire(&mut machine);
    assert!(alice.release(&mut machine, first));
    assert!(!machine.is_held(&name("job")));
}

#[test]
fn shared_holders_are_grouped_and_do_not_starve_who_wants_it_alone() {
    let (mut machine, mut alice, mut bob) = two();
    let (reads, _) = alice.acquire(&mut machine, "file", SHARES);
    let (reads_too, granted) = bob.acquire(&mut machine, "file", SHARES);
    assert!(matches!(granted, Acquired::Granted(_)), "{granted:?}");
    let (writes, _) = bob.acquire(&mut machine, "file", WAITS);
    let (later, queued) = alice.acquire(&mut machine, "file", SHARES);
    let (latest, _) = bob.acquire(&mut machine, "file", SHARES);
    assert_eq!(queued, Acquired::Queued, "the writer came before");
    assert!(alice.release(&mut machine, reads) && bob.release(&mut machine, reads_too));
    assert_eq!(
        (alice.granted(&machine), bob.granted(&machine)),
        (vec![], vec![writes])
    );
    assert!(bob.release(&mut machine, writes));
    assert!(
        alice.token(&machine, later) < bob.token(&machine, latest),
        "together, not alike"
    );
}

#[test]
fn no_more_hold_a_lock_than_it_has_permits_and_whoever_leaves_lets_one_in() {
    let (mut machine, mut alice, mut bob) = two();
    let (first, _) = alice.acquire(&mut machine, "pool", permits(2));
    let (second, granted) = bob.acquire(&mut machine, "pool", permits(2));
    assert!(matches!(granted, Acquired::Granted(_)), "{granted:?}");
    let (third, queued) = alice.acquire(&mut machine, "pool", permits(2));
    assert_eq!(queued, Acquired::Queued);
    let tries = AcquireOptions {
        waits: false,
        ..permits(2)
    };
    assert_eq!(bob.acquire(&mut machine, "pool", tries).1, Acquired::Held);
    let (fourth, _) = bob.acquire(&mut machine, "pool", permits(2));

    assert!(bob.release(&mut machine, second));
    assert!(alice.token(&machine, first) < alice.token(&machine, third));
    assert_eq!(bob.granted(&machine), []);
    alice.expire(&mut machine);
    assert_eq!(bob.granted(&machine), [fourth]);
    assert_eq!(machine.queue_entries(), 1);
}

#[test]
fn where_permits_are_not_agreed_upon_the_least_counts_and_nobody_is_passed_over() {
    let (mut machine, mut alice, mut bob) = two();
    let (few, _) = alice.acquire(&mut machine, "pool", permits(2));
    let (many, granted) = bob.acquire(&mut machine, "pool", permits(9));
    assert!(matches!(granted, Acquired::Granted(_)), "{granted:?}");
    for options in [permits(9), SHARES] {
        let tries = AcquireOptions {
            waits: false,
            ..options
        };
        let (_, held) = bob.acquire(&mut machine, "pool", tries);
        assert_eq!(held, Acquired::Held, "Alice was promised that they are two");
    }
    let (more, _) = bob.acquire(&mut machine, "pool", permits(9));
    let (alone, _) = alice.acquire(&mut machine, "pool", permits(1));
    let (last, _) = bob.acquire(&mut machine, "pool", permits(9));
    assert!(alice.release(&mut machine, few));
    assert_eq!(bob.granted(&machine), [many, more]);
    assert!(bob.release(&mut machine, many));
    assert_eq!(alice.granted(&machine), []);
    assert!(bob.release(&mut machine, more));
    assert_eq!(
        (alice.granted(&machine), bob.granted(&machine)),
        (vec![alone], vec![])
    );
    assert!(alice.release(&mut machine, alone));
    assert_eq!(bob.granted(&machine), [last]);
}

#[test]
fn when_the_least_promise_is_over_the_next_least_counts() {
    let (mut machine, mut alice, mut bob) = two();
    alice.acquire(&mut machine, "pool", permits(9));
    alice.acquire(&mut machine, "pool", permits(4));
    let (least, _) = bob.acquire(&mut machine, "pool", permits(3));
    assert!(bob.release(&mut machine, least));
    for _ in 0..2 {
        let (_, granted) = bob.acquire(&mut machine, "pool", permits(9));
        assert!(matches!(granted, Acquired::Granted(_)), "{granted:?}");
    }
    let (_, fifth) = bob.acquire(&mut machine, "pool", permits(9));
    assert_eq!(
        fifth,
        Acquired::Queued,
        "Alice was promised that they are four"
    );
}

#[test]
fn every_holder_of_a_permit_is_told_that_somebody_waits() {
    let (mut machine, mut alice, mut bob) = two();
    alice.acquire(&mut machine, "pool", permits(2));
    bob.acquire(&mut machine, "pool", permits(2));
    let known =
        [&alice, &bob].map(|it| machine.notifications(it.0.session, Revision(0), 9).through);
    alice.acquire(&mut machine, "pool", permits(2));
    for (session, known) in [(&alice, known[0]), (&bob, known[1])] {
        assert!(machine.notifications(session.0.session, known, 9).changes[0].contended);
    }
}

#[test]
fn a_holder_is_told_once_that_somebody_waits() {
    let (mut machine, mut alice, mut bob) = two();
    alice.acquire(&mut machine, "job", WAITS);
    let known = machine
        .notifications(alice.0.session, Revision(0), 9)
        .through;
    bob.acquire(&mut machine, "job", WAITS);
    let notifications = machine.notifications(alice.0.session, known, 9);
    assert!(notifications.changes[0].contended);
    bob.acquire(&mut machine, "job", WAITS);
    assert_eq!(
        machine
            .notifications(alice.0.session, notifications.through, 9)
            .changes,
        []
    );
}

/// The outcome of an acquire, and the sessions that it names.
fn acquire_and_tell(
    machine: &mut Machine,
    session: &mut TestSession,
    lock: &str,
) -> (Acquired, Vec<SessionId>) {
    let (id, name, options) = (session.next(), name(lock), WAITS);
    let mut notified = Vec::new();
    let command = Command::Acquire { id, name, options };
    match machine.apply_and_notify(&command, ServerId::A, |session| notified.push(session)) {
        Outcome::Acquired(acquired) => (acquired, notified),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_grant_that_the_answer_tells_names_nobody_and_is_there_for_who_asks_from_before() {
    let (mut machine, mut alice, _) = two();
    let before = machine
        .notifications(alice.0.session, Revision(0), 9)
        .through;
    let (granted, notified) = acquire_and_tell(&mut machine, &mut alice, "job");
    let token = alice.token(&machine, Seq(0));
    assert_eq!((granted, notified), (Acquired::Granted(token), vec![]));
    let notifications = machine.notifications(alice.0.session, before, 9);
    let tokens: Vec<_> = notifications
        .changes
        .iter()
        .map(|change| change.token)
        .collect();
    assert_eq!(
        (tokens, notifications.through),
        (vec![token], Revision(token.0))
    );
}

#[test]
fn who_queued_is_named_when_its_turn_has_come() {
    let (mut machine, mut alice, mut bob) = two();
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    let (queued, notified) = acquire_and_tell(&mut machine, &mut bob, "job");
    let holder = vec![alice.0.session];
    assert_eq!(
        (queued, notified),
        (Acquired::Queued, holder),
        "of the waiter"
    );
    let mut notified = Vec::new();
    let release = Command::Release {
        id: alice.next(),
        acquired: first,
    };
    machine.apply_and_notify(&release, ServerId::A, |session| notified.push(session));
    assert_eq!(notified, [bob.0.session]);
}

#[test]
fn a_session_that_waits_for_itself_is_named_for_its_older_grant() {
    let (mut machine, mut alice, _) = two();
    alice.acquire(&mut machine, "job", WAITS);
    let (queued, notified) = acquire_and_tell(&mut machine, &mut alice, "job");
    let holder = vec![alice.0.session];
    assert_eq!((queued, notified), (Acquired::Queued, holder));
}

#[test]
fn a_repeated_acquire_finds_its_place() {
    let (mut machine, mut alice, mut bob) = two();
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    let acquire = Command::Acquire {
        id: bob.next(),
        name: name("job"),
        options: WAITS,
    };
    machine.apply(&acquire, ServerId::A);
    assert_eq!(
        machine.apply(&acquire, ServerId::A),
        Outcome::Acquired(Acquired::Queued)
    );
    assert_eq!(machine.queue_entries(), 2);
    assert!(alice.release(&mut machine, first));
    let token = bob.token(&machine, Seq(0));
    assert_eq!(
        machine.apply(&acquire, ServerId::A),
        Outcome::Acquired(Acquired::Granted(token))
    );
    assert!(bob.release(&mut machine, Seq(0)));
    assert_eq!(
        machine.apply(&acquire, ServerId::A),
        Outcome::Acquired(Acquired::Ended)
    );
}

#[test]
fn what_is_released_before_it_arrives_is_never_acquired() {
    let (mut machine, mut alice, _) = two();
    let late = Command::Acquire {
        id: alice.next(),
        name: name("job"),
        options: WAITS,
    };
    assert!(!alice.release(&mut machine, Seq(0)));
    assert_eq!(
        machine.apply(&late, ServerId::A),
        Outcome::Acquired(Acquired::Held)
    );
    assert!(!machine.is_held(&name("job")));
}

#[test]
fn nobody_releases_what_another_one_acquired_since() {
    let (mut machine, mut alice, mut bob) = two();
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    assert!(alice.release(&mut machine, first));
    bob.acquire(&mut machine, "job", WAITS);
    assert!(!alice.release(&mut machine, first));
    assert!(machine.is_owned(&name("job")));
}

#[test]
fn an_owned_lock_is_not_unlocked_and_a_plain_one_is_waited_for() {
    let (mut machine, mut alice, _) = two();
    let mut plain = Caller::open(&mut machine, BOB);
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    let refused = machine.apply(&plain.next(Verb::Unlock, "job"), ServerId::A);
    assert_eq!(refused, Outcome::Refused(CallRefusal::Owned));
    assert_eq!(
        machine.apply(&plain.next(Verb::Lock, "job"), ServerId::A),
        Outcome::Call(false)
    );
    assert!(alice.release(&mut machine, first));

    assert_eq!(
        machine.apply(&plain.next(Verb::Lock, "job"), ServerId::A),
        Outcome::Call(true)
    );
    let (second, queued) = alice.acquire(&mut machine, "job", WAITS);
    assert_eq!(queued, Acquired::Queued);
    assert!(!alice.release(&mut machine, Seq(9)), "nothing of the kind");
    assert_eq!(
        machine.apply(&plain.next(Verb::Unlock, "job"), ServerId::A),
        Outcome::Call(true)
    );
    assert_eq!(alice.granted(&machine), [second]);
}

#[test]
fn a_record_without_a_lease_owns_nothing() {
    let mut machine = Machine::default();
    let Caller { id } = Caller::open(&mut machine, ALICE);
    let acquire = Command::Acquire {
        id,
        name: name("job"),
        options: WAITS,
    };
    assert_eq!(
        machine.apply(&acquire, ServerId::A),
        Outcome::Refused(CallRefusal::NoLease)
    );
    assert!(!machine.is_held(&name("job")));
}

#[test]
fn a_lock_is_broken_by_its_token_and_its_holder_is_told() {
    let (mut machine, mut alice, mut bob) = two();
    let mut admin = Caller::open(&mut machine, ALICE);
    let mut breaks = |machine: &mut Machine, token| {
        let id = admin.id;
        admin.id.seq = id.seq.next();
        let name = name("job");
        machine.apply(&Command::Break { id, name, token }, ServerId::A)
    };
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    let (second, _) = bob.acquire(&mut machine, "job", WAITS);
    let token = alice.token(&machine, first);
    assert_eq!(
        breaks(&mut machine, Token(token.0 + 1)),
        Outcome::Call(false)
    );
    assert_eq!(breaks(&mut machine, token), Outcome::Call(true));
    assert_eq!(
        breaks(&mut machine, token),
        Outcome::Call(false),
        "it is Bob's now"
    );
    assert!(bob.token(&machine, second) > token);
    let notifications = machine.notifications(alice.0.session, Revision(0), 9);
    assert_eq!(notifications.broken, [first]);
    assert_eq!(
        machine
            .notifications(alice.0.session, notifications.through, 9)
            .broken,
        []
    );
    assert!(!alice.release(&mut machine, first));
    assert_eq!(
        machine.notifications(alice.0.session, Revision(0), 9),
        Notifications::default()
    );
    assert!(machine.is_owned(&name("job")));
}

#[test]
fn no_more_locks_of_one_session_are_broken_than_it_can_be_told_of() {
    let (mut machine, mut alice, _) = two();
    let mut admin = Caller::open(&mut machine, ALICE);
    for at in 0..=MAX_BROKEN {
        let (seq, _) = alice.acquire(&mut machine, "job", WAITS);
        let id = admin.id;
        let (name, token) = (name("job"), alice.token(&machine, seq));
        let outcome = machine.apply(&Command::Break { id, name, token }, ServerId::A);
        if at < MAX_BROKEN {
            assert_eq!(outcome, Outcome::Call(true));
            admin.id.seq = id.seq.next();
        } else {
            assert_eq!(outcome, Outcome::Refused(CallRefusal::TooManyBroken));
        }
    }
    assert!(alice.release(&mut machine, Seq(0)) || machine.is_owned(&name("job")));
}

#[test]
fn a_listing_shows_every_lock_once_page_by_page() {
    let (mut machine, mut alice, mut bob) = two();
    let mut plain = Caller::open(&mut machine, ALICE);
    for lock in 0..300 {
        machine.apply(
            &plain.next(Verb::Lock, &format!("plain/{lock:0>900}")),
            ServerId::A,
        );
    }
    alice.acquire(&mut machine, "owned/job", WAITS);
    bob.acquire(&mut machine, "owned/job", WAITS);
    let list = |prefix: &str| {
        let (mut names, mut pages, mut next) = (Vec::new(), 0, Some(Cursor::default()));
        while let Some(from) = next {
            let page = machine.list(prefix, &from);
            let bytes = postcard::to_stdvec(&page).expect("it encodes");
            assert!(bytes.len() <= crate::config::MAX_PAYLOAD_BYTES);
            names.extend(page.locks.into_iter().map(|lock| lock.name));
            (next, pages) = (page.next, pages + 1);
        }
        names.sort();
        (names, pages)
    };
    let (all, pages) = list("");
    assert_eq!(all.len(), 301);
    assert!(
        all.is_sorted_by(|one, other| one < other) && pages > 5,
        "{pages}"
    );
    assert_eq!(list("owned/").0, [name("owned/job")]);

    let shown = machine.show(&name("owned/job"));
    assert_eq!((shown.waiters, shown.is_unowned), (1, false));
    let holders: Vec<_> = shown
        .entries
        .iter()
        .map(|it| (it.client, it.token.is_some()))
        .collect();
    assert_eq!(holders, [(ALICE, true), (BOB, false)]);
    assert!(!machine.show(&name("never locked")).is_held());
}

#[test]
fn tokens_of_a_new_pair_are_above_the_old_ones() {
    let (mut machine, mut alice, _) = two();
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    let old = alice.token(&machine, first);
    let mut machine = Machine::new(machine.op().next());
    let mut again = TestSession::open(&mut machine, ALICE);
    let (first, _) = again.acquire(&mut machine, "job", WAITS);
    assert!(again.token(&machine, first) > old);
}

fn tell_time(machine: &mut Machine, seconds: u64) {
    let time = UnixTime(seconds);
    assert_eq!(
        machine.apply(&Command::Clock { time }, ServerId::A),
        Outcome::Noted
    );
}

#[test]
fn a_holder_is_shown_with_the_time_at_which_it_got_the_lock() {
    let (mut machine, mut alice, mut bob) = two();
    tell_time(&mut machine, 100);
    let (first, _) = alice.acquire(&mut machine, "job", WAITS);
    tell_time(&mut machine, 101);
    bob.acquire(&mut machine, "job", WAITS);
    let since = |machine: &Machine| {
        let entries = machine.show(&name("job")).entries.into_iter();
        entries.map(|entry| entry.since).collect::<Vec<_>>()
    };
    assert_eq!(since(&machine), [Some(UnixTime(100)), None]);
    tell_time(&mut machine, 102);
    assert_eq!(since(&machine), [Some(UnixTime(100)), None]);
    alice.release(&mut machine, first);
    assert_eq!(since(&machine), [Some(UnixTime(102))]);
}

#[test]
fn the_digest_of_places_is_the_same_in_every_build() {
    let mut machine = Machine::new(OpNumber(u64::MAX / 3));
    let mut alice = TestSession::open(&mut machine, ALICE);
    let mut bob = TestSession::open(&mut machine, BOB);
    tell_time(&mut machine, 0x0102_0304_0506);
    alice.acquire(&mut machine, "job", WAITS);
    bob.acquire(&mut machine, "job", SHARES);
    bob.acquire(&mut machine, "file", SHARES);
    bob.acquire(&mut machine, "pool", permits(0x0102_0304));
    assert_eq!(machine.digest().to_string(), "6172d1a620310fc6");
}

#[test]
fn who_only_tries_gets_a_lock_that_it_can_share_unless_somebody_waits() {
    let tries_to_share = AcquireOptions {
        mode: LockMode::Shared,
        ..TRIES
    };
    let (mut machine, mut alice, mut bob) = two();
    alice.acquire(&mut machine, "file", SHARES);
    let (_, granted) = bob.acquire(&mut machine, "file", tries_to_share);
    assert!(matches!(granted, Acquired::Granted(_)), "{granted:?}");
    bob.acquire(&mut machine, "file", WAITS);
    let (_, held) = alice.acquire(&mut machine, "file", tries_to_share);
    assert_eq!(held, Acquired::Held);
}

#[test]
fn those_who_wait_are_counted_in_what_is_shown() {
    let (mut machine, mut alice, mut bob) = two();
    let waiters = |machine: &Machine| machine.show(&name("job")).waiters;
    for waiting in 0..3 {
        alice.acquire(&mut machine, "job", WAITS);
        assert_eq!(waiters(&machine), waiting * 2);
        bob.acquire(&mut machine, "job", WAITS);
        assert_eq!(waiters(&machine), waiting * 2 + 1);
    }
}

#[test]
fn news_that_is_cut_off_does_not_pass_over_what_is_left() {
    let (mut machine, mut alice, _) = two();
    let calls: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|lock| alice.acquire(&mut machine, lock, WAITS).0)
        .collect();
    let Caller { id } = Caller::open(&mut machine, BOB);
    let (name, token) = (name("three"), alice.token(&machine, calls[2]));
    machine.apply(&Command::Break { id, name, token }, ServerId::A);

    let (mut since, mut acquired) = (Revision(0), Vec::new());
    for _ in 0..3 {
        let notifications = machine.notifications(alice.0.session, since, 1);
        acquired.extend(notifications.changes.iter().map(|change| change.acquired));
        since = notifications.through;
    }
    assert_eq!(acquired, calls[..2]);
    let nothing = Notifications {
        through: since,
        ..Notifications::default()
    };
    assert_eq!(machine.notifications(alice.0.session, since, 1), nothing);
    assert_eq!(
        machine.notifications(id.session, since, 1),
        nothing,
        "nor back"
    );
}

#[test]
fn what_a_session_has_is_told_page_by_page_in_the_order_of_its_calls() {
    let (mut machine, mut alice, mut bob) = two();
    bob.acquire(&mut machine, "two", WAITS);
    let calls: Vec<_> = ["one", "two", "three", "four"]
        .iter()
        .map(|lock| alice.acquire(&mut machine, lock, WAITS).0)
        .collect();
    let (one, four) = (
        alice.token(&machine, calls[0]),
        alice.token(&machine, calls[3]),
    );
    bob.acquire(&mut machine, "four", WAITS);
    let Caller { id } = Caller::open(&mut machine, BOB);
    let (name, token) = (name("three"), alice.token(&machine, calls[2]));
    machine.apply(&Command::Break { id, name, token }, ServerId::A);

    let held = |token, contended| HoldingState::Held { token, contended };
    let expected = [
        (calls[0], held(one, false)),
        (calls[1], HoldingState::Queued),
        (calls[2], HoldingState::Broken),
        (calls[3], held(four, true)),
    ];
    for most in [1, 2, 3, 9] {
        let (mut notified, mut next) = (Vec::new(), Some(Seq(0)));
        while let Some(from) = next {
            let page = machine.holdings(alice.0.session, from, most);
            let last = machine
                .notifications(alice.0.session, Revision(0), 9)
                .through;
            assert!(page.through >= last, "later news tells the rest");
            notified.extend(page.holdings.iter().map(|it| (it.acquired, it.state)));
            next = page.next;
        }
        assert_eq!(notified, expected, "{most} at a time");
    }
}

#[test]
fn a_listing_of_places_and_long_names_fits_and_gets_on() {
    let (mut machine, mut alice, mut bob) = two();
    machine.op = OpNumber(u64::MAX / 4);
    tell_time(&mut machine, u64::MAX);
    let longest = "n".repeat(LockName::MAX_BYTES);
    for lock in 0..400 {
        let short = format!("lock-{lock}");
        let lock = if lock == 0 { &longest } else { &short };
        for session in [&mut alice, &mut bob] {
            session.acquire(&mut machine, lock, permits(u32::MAX));
            session.acquire(&mut machine, lock, permits(u32::MAX));
        }
    }
    let (mut listed, mut next) = (0, Some(Cursor::default()));
    while let Some(from) = next {
        let page = machine.list("", &from);
        let bytes = postcard::to_stdvec(&page).expect("it encodes").len();
        assert!(bytes <= crate::config::MAX_PAYLOAD_BYTES, "{bytes}");
        assert_ne!(page.next, Some(from), "it gets on");
        listed += page.locks.len();
        next = page.next;
    }
    assert_eq!(listed, 400);
}
