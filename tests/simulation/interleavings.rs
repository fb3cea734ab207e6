//! Why interleavings are tried, and whether trying them finds anything: a model of the place where
//! handlers meet the way to the backup, once as it should be and once with handlers that forward
//! outside the one order.
//!
//! The real handlers, drivers and forwarders are tried in `src/server/tests/interleavings.rs`.
//! There is no switch in them to make them wrong, so the bug is planted here. What makes it worth a
//! model: the states of both servers are often equal in the end, and the answers wrong.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use lockservice::machine::{Command, DuplicateLookup, Machine, Outcome};
use lockservice::service::{CallId, Verb};
use lockservice::types::{ClientId, LockName, OpNumber, Seq, ServerId, SessionId};
use shuttle::scheduler::RandomScheduler;
use shuttle::sync::Mutex;
use shuttle::sync::mpsc::{Receiver, SyncSender, sync_channel};
use shuttle::thread;

const SCHEDULES: usize = 2_000;
const CLIENTS: u64 = 3;

/// A command on its way to the backup, and where it is acknowledged.
type Forward = (Command, SyncSender<()>);

/// A primary whose handlers run concurrently.
struct Primary {
    machine: Mutex<Machine>,
    backup: SyncSender<Forward>,
    /// Whether a command is queued for the backup in the step that applies it.
    is_in_order: bool,
}

impl Primary {
    fn call(&self, command: Command) -> Outcome {
        let (acked, ack) = sync_channel(1);
        let mut machine = self.machine.lock().expect("nobody panics");
        let outcome = machine.apply(&command, ServerId::A);
        if self.is_in_order {
            self.forward(command, acked);
            drop(machine);
        } else {
            drop(machine);
            self.forward(command, acked);
        }
        ack.recv().expect("the backup answers");
        outcome
    }

    fn forward(&self, command: Command, acked: SyncSender<()>) {
        let sent = self.backup.send((command, acked));
        sent.expect("the backup is there");
    }
}

fn back_up(mut machine: Machine, forwards: &Receiver<Forward>) -> Machine {
    while let Ok((command, acked)) = forwards.recv() {
        machine.apply(&command, ServerId::A);
        acked.send(()).expect("the handler waits");
    }
    machine
}

/// What came of one schedule.
struct End {
    /// Whether somebody is told something else when it repeats its call at the backup.
    is_wrong: bool,
    are_locks_equal: bool,
}

fn name() -> LockName {
    LockName::new("x").expect("a name")
}

/// A machine in which each client has its record.
fn machine() -> Machine {
    let mut machine = Machine::new(OpNumber(0));
    for client in 1..=CLIENTS {
        let client = ClientId::from_u128(u128::from(client));
        machine.apply(
            &Command::OpenSession {
                client,
                terms: None,
            },
            ServerId::A,
        );
    }
    machine
}

fn call_of(client: u64) -> CallId {
    CallId {
        client: ClientId::from_u128(u128::from(client)),
        session: SessionId(client),
        seq: Seq(0),
        first_incomplete: Seq(0),
    }
}

/// Every client locks the same lock, at once; then the primary is gone, and everybody asks again.
fn run(is_in_order: bool) -> End {
    let (backup, forwards) = sync_channel(8);
    let backing_up = thread::spawn(move || back_up(machine(), &forwards));
    let primary = Arc::new(Primary {
        machine: Mutex::new(machine()),
        backup,
        is_in_order,
    });
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|client| {
            let primary = primary.clone();
            let (id, verb, name) = (call_of(client), Verb::Lock, name());
            thread::spawn(move || (id, primary.call(Command::Call { id, verb, name })))
        })
        .collect();
    let told: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().expect("it ends"))
        .collect();
    let was_held = primary
        .machine
        .lock()
        .expect("nobody panics")
        .is_held(&name());
    drop(primary);
    let backup = backing_up.join().expect("it ends");
    let again = |id| match backup.find_duplicate(id) {
        DuplicateLookup::Done(answer) => Outcome::Call(answer),
        other => panic!("the backup does not know the call: {other:?}"),
    };
    End {
        is_wrong: told.iter().any(|(id, outcome)| again(id) != *outcome),
        are_locks_equal: backup.is_held(&name()) == was_held,
    }
}

/// In how many schedules somebody was told wrong, and in how many of these the locks were equal.
fn count_wrong(is_in_order: bool) -> (usize, usize) {
    let (wrong, hidden) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counts = (wrong.clone(), hidden.clone());
    let scheduler = RandomScheduler::new_from_seed(0, SCHEDULES);
    shuttle::Runner::new(scheduler, shuttle::Config::new()).run(move || {
        let end = run(is_in_order);
        counts.0.fetch_add(usize::from(end.is_wrong), Relaxed);
        let is_hidden = end.is_wrong && end.are_locks_equal;
        counts.1.fetch_add(usize::from(is_hidden), Relaxed);
    });
    (wrong.load(Relaxed), hidden.load(Relaxed))
}

#[test]
fn handlers_that_forward_in_the_one_order_tell_everybody_the_same_again() {
    assert_eq!(count_wrong(true), (0, 0));
}

#[test]
fn handlers_that_forward_outside_the_order_are_found_out_by_their_answers_alone() {
    let (wrong, hidden) = count_wrong(false);
    println!("{wrong} of {SCHEDULES} schedules told somebody wrong");
    assert!(wrong > SCHEDULES / 100, "{wrong}");
    assert_eq!(wrong, hidden, "the locks tell nothing");
}
