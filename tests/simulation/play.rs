//! One run: hosts, processes, and the loop that moves them all by a tick at a time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::future::BoxFuture;
use lockservice::net::Network;
use lockservice::testkit::{History, Outcome, invariants};
use lockservice::types::ServerId;
use tokio::sync::oneshot;

use super::clients::{self, Appetite};
use super::dice::Dice;
use super::director::{self, Script};
use super::kernel::{Machine, Wires};
use super::ledger::Ownership;
use super::net::{client_host, host, owner_host};
use super::owners;
use super::process::Process;
use super::stage::{Order, Stage};

/// What a server process runs: its network, which server it is, and what resolves when it shall
/// end.
pub(crate) type Software = Rc<
    dyn Fn(
        &Stage,
        Arc<dyn Network>,
        ServerId,
        oneshot::Receiver<()>,
    ) -> BoxFuture<'static, Result<(), String>>,
>;

/// What a run is made of.
#[derive(Clone)]
pub(crate) struct Play {
    pub(crate) software: Software,
    pub(crate) script: Script,
    pub(crate) appetite: Appetite,
    pub(crate) peer_timeout: Duration,
    /// How much time passes at a step.
    pub(crate) tick: Duration,
    /// The longest that a message takes, in milliseconds.
    pub(crate) latency: u64,
}

/// What came of a run in which nothing was wrong.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) history: History,
    pub(crate) ownership: Ownership,
    pub(crate) answers: u64,
    pub(crate) simulated: Duration,
}

impl fmt::Display for Run {
    /// The history without real time, which is another one at every run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for operation in self.history.operations() {
            let (client, verb, name) = (operation.client, operation.verb, &operation.name);
            write!(f, "c{client} {verb:?} {name} {}..", operation.called.tick)?;
            match operation.outcome {
                Outcome::Answered { result, at } => writeln!(f, "{} {result}", at.tick)?,
                Outcome::Unknown => writeln!(f, "?")?,
            }
        }
        self.ownership.fmt(f)
    }
}

/// Plays it. An error tells what was wrong, and all that happened.
pub(crate) fn play(seed: u64, play: &Play) -> Result<Run, String> {
    count_panics();
    let panics = PANICS.get();
    fastrand::seed(seed);
    let Script {
        clients, owners, ..
    } = &play.script;
    let stage = Stage::new(play.peer_timeout, *clients, owners.count);
    let result = perform(seed, play, &stage).and_then(|simulated| judge(&stage, simulated));
    let result = match PANICS.get() - panics {
        0 => result,
        many => Err(format!("{many} tasks panicked; {result:?}")),
    };
    result.map_err(|error| format!("seed {seed}: {error}\n{}", stage.story()))
}

fn perform(seed: u64, play: &Play, stage: &Stage) -> Result<Duration, String> {
    let mut dice = Dice::new(seed);
    let mut theatre = Theatre::new(seed, play, stage);
    theatre.add_clients(play, &mut dice);
    theatre.add_owners(play, &mut dice);
    let directing = director::direct(stage.clone(), play.script.clone(), dice.fork());
    theatre.sim.client("director", directing);
    loop {
        let is_over = theatre.sim.step().map_err(|error| error.to_string())?;
        if is_over {
            return Ok(theatre.sim.elapsed());
        }
        theatre.run_processes()?;
        for order in stage.take_orders() {
            theatre.obey(order);
        }
    }
}

fn judge(stage: &Stage, simulated: Duration) -> Result<Run, String> {
    if let Some(complaint) = stage.complaints().first() {
        return Err(complaint.clone());
    }
    let end = stage.take_end().ok_or("the director left early")?;
    let history = stage.recorder().history();
    invariants::check_all(&history, &end).map_err(|violation| violation.to_string())?;
    let ownership = stage.ledger().close()?;
    Ok(Run {
        ownership,
        answers: stage.answers().iter().sum(),
        history,
        simulated,
    })
}

struct Theatre {
    tick: Duration,
    sim: turmoil::Sim<'static>,
    stage: Stage,
    software: Software,
    seats: [Seat; 2],
}

/// A server's place: its machine, and the process that may be running on it.
struct Seat {
    machine: Rc<RefCell<Option<Machine>>>,
    wires: Wires,
    process: Option<Process>,
    vanished: bool,
}

impl Theatre {
    fn new(seed: u64, play: &Play, stage: &Stage) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(play.tick)
            .simulation_duration(Duration::from_mins(10))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::from_millis(play.latency))
            .tcp_capacity(4_096)
            .enable_random_order()
            .build();
        let seats = ServerId::BOTH.map(|server| Seat::new(&mut sim, stage, server));
        let mut theatre = Self {
            tick: play.tick,
            sim,
            stage: stage.clone(),
            software: play.software.clone(),
            seats,
        };
        for server in ServerId::BOTH {
            theatre.start(server);
        }
        theatre
    }

    fn add_clients(&mut self, play: &Play, dice: &mut Dice) {
        for number in 0..play.script.clients {
            let client = clients::run(
                self.stage.clone(),
                number,
                play.appetite.clone(),
                dice.fork(),
            );
            self.sim.client(client_host(number), client);
        }
    }

    fn add_owners(&mut self, play: &Play, dice: &mut Dice) {
        let owners = &play.script.owners;
        for number in 0..owners.count {
            let (stage, owners) = (self.stage.clone(), owners.clone());
            let dice = RefCell::new(dice.fork());
            self.sim.host(owner_host(number), move || {
                let dice = dice.borrow_mut().fork();
                owners::run(stage.clone(), number, owners.clone(), dice)
            });
        }
    }

    fn run_processes(&mut self) -> Result<(), String> {
        for server in ServerId::BOTH {
            let seat = &mut self.seats[server as usize];
            let Some(process) = &mut seat.process else {
                continue;
            };
            process.pass(self.tick);
            let Some(end) = process.end() else { continue };
            end.map_err(|error| format!("server {server} failed: {error}"))?;
            seat.end_process();
            self.stage.set_running(server, false);
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Kill(server) => self.kill(server),
            Order::Vanish(server) => self.vanish(server),
            Order::Start(server) => self.start(server),
            Order::Terminate(server) => self.with_process(server, Process::terminate),
            Order::Stop(server) => self.with_process(server, Process::stop),
            Order::Wake(server) => self.with_process(server, Process::wake),
            Order::ResetPeer(server) => self.seats[server as usize].wires.reset_peer(),
            Order::ResetClients(server) => self.seats[server as usize].wires.reset_clients(),
            Order::Crash(owner) => self.sim.crash(owner_host(owner)),
            Order::Revive(owner) => {
                if !self.sim.is_host_running(owner_host(owner)) {
                    self.sim.bounce(owner_host(owner));
                }
            }
            Order::Latency(one, other, most) => {
                self.sim.set_link_max_message_latency(one, other, most);
            }
        }
    }

    fn with_process(&mut self, server: ServerId, act: impl FnOnce(&mut Process)) {
        if let Some(process) = &mut self.seats[server as usize].process {
            act(process);
        }
    }

    fn kill(&mut self, server: ServerId) {
        self.seats[server as usize].end_process();
        self.stage.set_running(server, false);
    }

    fn vanish(&mut self, server: ServerId) {
        self.seats[server as usize].vanished = true;
        self.stage.faults().set_vanished(server, true);
        for other in self.others(server) {
            self.sim.partition(host(server), other.as_str());
        }
        self.kill(server);
        self.sim.crash(host(server));
    }

    fn start(&mut self, server: ServerId) {
        self.kill(server);
        if std::mem::take(&mut self.seats[server as usize].vanished) {
            self.stage.faults().set_vanished(server, false);
            for other in self.others(server) {
                if !self.stage.faults().is_silent(&other, host(server)) {
                    self.sim.repair(host(server), other.as_str());
                }
            }
            self.sim.bounce(host(server));
        }
        let network = self.seats[server as usize].network();
        let stage = &self.stage;
        let process = Process::start(|stop| (self.software)(stage, network, server, stop));
        self.seats[server as usize].process = Some(process);
        self.stage.set_running(server, true);
    }

    /// Every host but the one of `server`.
    fn others(&self, server: ServerId) -> Vec<String> {
        let clients = self.stage.customers();
        let rest = ["director".to_owned(), host(server.peer()).to_owned()];
        clients.chain(rest).collect()
    }
}

impl Seat {
    fn new(sim: &mut turmoil::Sim<'static>, stage: &Stage, server: ServerId) -> Self {
        let machine = Rc::<RefCell<Option<Machine>>>::default();
        let wires = Wires::default();
        let (booted, faults, cables) = (machine.clone(), stage.faults(), wires.clone());
        sim.host(host(server), move || {
            let (machine, running) = Machine::boot(server, faults.clone(), cables.clone());
            booted.replace(Some(machine));
            running
        });
        Self {
            machine,
            wires,
            process: None,
            vanished: false,
        }
    }

    fn end_process(&mut self) {
        self.wires.process_ends();
        self.process = None;
    }

    fn network(&self) -> Arc<dyn Network> {
        let machine = self.machine.borrow();
        Arc::new(machine.clone().expect("it has booted"))
    }
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// A panic in a spawned task is nobody's business, and would leave a server that is silently dead.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}
