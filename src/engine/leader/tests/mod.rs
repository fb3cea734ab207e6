//! The leader's two steps, with other commands between them; and what exploration needs of it.

use std::time::Duration;

use super::*;
use crate::service::{AcquireOptions, LockMode, Request, Revision, SessionTerms};
use crate::types::{ClientId, OpNumber, Retention, ServerId, Token};

/// Is shown every moment that a leader compares with.
pub(crate) trait Moments {
    /// A moment of which it only matters whether `matters_after` has passed since.
    fn past(&mut self, moment: &mut Now, matters_after: Duration);
    /// A moment of which it only matters whether it has come; if not, it comes after `at_most`.
    fn due(&mut self, moment: &mut Now, at_most: Duration);
}

/// For exploration, which lets time pass by putting moments back.
impl<T> Leader<T> {
    pub(crate) fn name(&mut self, retention: Duration, poll: Duration, moments: &mut impl Moments) {
        self.last_seen.name(moments);
        self.leases.name(moments);
        self.retentions.name(retention, moments);
        self.polls.name(poll, moments);
    }

    pub(crate) fn let_lease_end(&mut self, session: SessionId, now: Now) {
        self.leases.let_end(session, now);
    }

    pub(crate) fn let_retention_end(&mut self, token: Token, now: Now) {
        self.retentions.let_end(token, now);
    }

    pub(crate) fn let_poll_end(&mut self, session: SessionId, now: Now) {
        self.polls.let_end(session, now);
    }

    pub(crate) fn knows_lease(&self, session: SessionId) -> bool {
        self.leases.knows(session)
    }

    pub(crate) fn retained_tokens(&self) -> impl Iterator<Item = Token> {
        self.retentions.tokens()
    }

    /// The revision from which the waiting poll of a session asks.
    pub(crate) fn poll_waits_from(&self, session: SessionId) -> Option<Revision> {
        self.polls.waits_from(session)
    }
}

const LEASE: Duration = Duration::from_secs(10);
const TIME_TO_LIVE: Duration = Duration::from_mins(1);

fn at(seconds: u64) -> Now {
    Now(Duration::from_secs(seconds))
}

fn client() -> ClientId {
    ClientId::from_u128(1)
}

/// A machine, and a leader that plans and applies when it is told to.
struct Engine {
    machine: Machine,
    leader: Leader<()>,
    next_seq: u64,
}

impl Engine {
    /// With two sessions that have a lease.
    fn new() -> (Self, [SessionId; 2]) {
        let machine = Machine::new(OpNumber(0));
        let leader = Leader::new(&machine, TIME_TO_LIVE, at(0));
        let next_seq = 0;
        let mut engine = Self {
            machine,
            leader,
            next_seq,
        };
        let sessions = [(); 2].map(|()| engine.open());
        (engine, sessions)
    }

    fn open(&mut self) -> SessionId {
        let lease = Lease::new(LEASE).expect("a lease");
        let request = Request::OpenSession {
            client: client(),
            terms: Some(SessionTerms::nameless(lease)),
        };
        match self.run(at(0), &request) {
            Ok(Answer::Opened(opened)) => opened.session,
            other => panic!("not opened: {other:?}"),
        }
    }

    fn plan(&mut self, now: Now, request: &Request) -> Plan {
        let basis = Basis {
            now,
            machine: &self.machine,
            view: view(),
            limits: &Limits::default(),
        };
        self.leader.plan(basis, request)
    }

    fn propose(&mut self, now: Now, request: &Request) -> Command {
        match self.plan(now, request) {
            Plan::Propose(command) => command,
            other => panic!("not proposed: {other:?}"),
        }
    }

    fn apply(&mut self, now: Now, command: &Command) -> Result<Answer, Refusal> {
        let notify = |session| self.leader.notify(session);
        let outcome = self.machine.apply_and_notify(command, ServerId::A, notify);
        self.leader
            .applied(now, &self.machine, view(), command, outcome)
    }

    fn run(&mut self, now: Now, request: &Request) -> Result<Answer, Refusal> {
        let command = self.propose(now, request);
        self.apply(now, &command)
    }

    fn call_id(&mut self, session: SessionId) -> CallId {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        CallId {
            client: client(),
            session,
            seq,
            first_incomplete: Seq(0),
        }
    }

    fn acquire(&mut self, session: SessionId) -> Request {
        Request::Acquire {
            id: self.call_id(session),
            name: "job".parse().expect("a good name"),
            options: AcquireOptions {
                mode: LockMode::Exclusive,
                waits: true,
            },
        }
    }

    fn expire(&mut self, now: Now) -> Vec<Command> {
        self.leader.expired(now, &self.machine).commands
    }

    /// Asks for notifications, and lets the poll wait.
    fn park(&mut self, now: Now, session: SessionId) {
        let request = Request::Poll {
            client: client(),
            session,
            since: Revision(0),
            view: view(),
        };
        let Plan::Park(request, lease) = self.plan(now, &request) else {
            panic!("it does not wait");
        };
        let (to, via) = ((), crate::engine::Via::Client);
        let before = self.leader.park(now, Poll { to, via, request }, lease);
        assert_eq!(before, None);
    }

    fn notified_polls(&mut self) -> Vec<Result<Answer, Refusal>> {
        let polls = self.leader.take_notified_polls();
        let answer = |poll: &Poll<()>| poll_answer(&self.machine, view(), poll.request);
        polls.iter().map(answer).collect()
    }
}

const fn view() -> View {
    View::first(ServerId::A)
}

#[test]
fn a_session_that_is_ending_is_not_renewed_and_its_poll_waits_for_the_outcome() {
    let (mut engine, [ending, other]) = Engine::new();
    engine.plan(
        at(9),
        &Request::KeepAlive {
            client: client(),
            session: other,
        },
    );
    let commands = engine.expire(at(10));
    let [expire @ Command::Expire { session, .. }] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(*session, ending);
    engine.park(at(10), ending);
    assert_eq!(engine.notified_polls(), []);
    assert_eq!(engine.expire(at(11)), [], "it is given up once");
    assert_eq!(engine.apply(at(12), expire), Ok(Answer::Done));
    assert_eq!(engine.notified_polls(), [Err(Refusal::UnknownSession)]);
}

#[test]
fn a_session_whose_client_calls_before_its_end_is_applied_lives_on() {
    let (mut engine, [session, _]) = Engine::new();
    let commands = engine.expire(at(10));
    assert_eq!(commands.len(), 2);
    let request = engine.acquire(session);
    engine.run(at(11), &request).expect("it is carried out");
    engine.apply(at(12), &commands[0]).expect("it is applied");
    assert!(engine.machine.session(session).is_some());
    assert_eq!(engine.expire(at(21)), []);
    assert_eq!(engine.expire(at(22)).len(), 1, "its time has begun anew");
}

#[test]
fn a_call_that_is_planned_twice_before_it_is_applied_runs_once() {
    let (mut engine, [session, _]) = Engine::new();
    let request = engine.acquire(session);
    let planned = [(); 2].map(|()| engine.propose(at(1), &request));
    let answers = planned.map(|command| engine.apply(at(2), &command));
    let [Ok(Answer::Acquired(Acquired::Granted(token))), again] = &answers else {
        panic!("{answers:?}");
    };
    assert_eq!(*again, Ok(Answer::Acquired(Acquired::Granted(*token))));
    match engine.plan(at(3), &request) {
        Plan::Duplicate(answer) => assert_eq!(Ok(answer), *again),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_retention_is_timed_when_it_is_applied_and_until_its_lock_is_broken() {
    let (mut engine, [session, _]) = Engine::new();
    let request = engine.acquire(session);
    let Request::Acquire { id, name, .. } = &request else {
        unreachable!("it is an acquisition");
    };
    let (acquired, name) = (id.seq, name.clone());
    let Ok(Answer::Acquired(Acquired::Granted(token))) = engine.run(at(1), &request) else {
        panic!("it is free");
    };
    let retain = Request::Retain {
        id: engine.call_id(session),
        acquired,
        retention: Retention::new(Duration::from_secs(4)).expect("less than a day"),
    };
    let retain = engine.propose(at(1), &retain);
    assert!(engine.leader.next_expiry() > at(3), "nothing is timed yet");
    engine.apply(at(2), &retain).expect("it is held");
    assert_eq!(engine.leader.next_expiry(), at(3));
    let broken = Request::Break {
        id: engine.call_id(session),
        name,
        token,
        reason: String::new(),
        address: None,
    };
    assert_eq!(engine.run(at(2), &broken), Ok(Answer::Call(true)));
    assert_eq!(engine.leader.retained_tokens().next(), None);
}
