//! One run: hosts, processes, and the loop that moves them all by a tick at a time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::future::BoxFuture;
use lockservice::testkit::{History, Outcome, invariants};
use lockservice::transport::Network;
use lockservice::types::ServerId;
use tokio::sync::oneshot;

use super::clients::{self, Appetite};
use super::context::{Context, HostAction};
use super::fault_scheduler::{self, FaultPlan};
use super::lock_model::Ownership;
use super::network::{client_host, host, owner_host};
use super::owners;
use super::process::Process;
use super::rng::Rng;
use super::simulated_host::{SimulatedHost, Wires};

/// What a server process runs: its network, which server it is, and what resolves when it shall
/// end.
pub(crate) type Software = Rc<
    dyn Fn(
        &Context,
        Arc<dyn Network>,
        ServerId,
        oneshot::Receiver<()>,
    ) -> BoxFuture<'static, Result<(), String>>,
>;

/// What a run is made of.
#[derive(Clone)]
pub(crate) struct RunSpec {
    pub(crate) software: Software,
    pub(crate) plan: FaultPlan,
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
pub(crate) fn run(seed: u64, play: &RunSpec) -> Result<Run, String> {
    count_panics();
    let panics = PANICS.get();
    fastrand::seed(seed);
    let FaultPlan {
        clients, owners, ..
    } = &play.plan;
    let context = Context::new(play.peer_timeout, *clients, owners.count);
    let result = perform(seed, play, &context).and_then(|simulated| judge(&context, simulated));
    let result = match PANICS.get() - panics {
        0 => result,
        many => Err(format!("{many} tasks panicked; {result:?}")),
    };
    result.map_err(|error| format!("seed {seed}: {error}\n{}", context.story()))
}

fn perform(seed: u64, play: &RunSpec, context: &Context) -> Result<Duration, String> {
    let mut rng = Rng::new(seed);
    let mut theatre = Simulation::new(seed, play, context);
    theatre.add_clients(play, &mut rng);
    theatre.add_owners(play, &mut rng);
    let directing = fault_scheduler::schedule(context.clone(), play.plan.clone(), rng.fork());
    theatre.sim.client("director", directing);
    loop {
        let is_over = theatre.sim.step().map_err(|error| error.to_string())?;
        if is_over {
            return Ok(theatre.sim.elapsed());
        }
        theatre.run_processes()?;
        for order in context.take_actions() {
            theatre.carry_out(order);
        }
    }
}

fn judge(context: &Context, simulated: Duration) -> Result<Run, String> {
    if let Some(complaint) = context.complaints().first() {
        return Err(complaint.clone());
    }
    let end = context.take_end().ok_or("the director left early")?;
    let history = context.recorder().history();
    invariants::check_all(&history, &end).map_err(|violation| violation.to_string())?;
    let ownership = context.model().close()?;
    Ok(Run {
        ownership,
        answers: context.answers().iter().sum(),
        history,
        simulated,
    })
}

struct Simulation {
    tick: Duration,
    sim: turmoil::Sim<'static>,
    context: Context,
    software: Software,
    servers: [ServerSlot; 2],
}

/// A server's place: its machine, and the process that may be running on it.
struct ServerSlot {
    host: Rc<RefCell<Option<SimulatedHost>>>,
    wires: Wires,
    process: Option<Process>,
    vanished: bool,
}

impl Simulation {
    fn new(seed: u64, play: &RunSpec, context: &Context) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(play.tick)
            .simulation_duration(Duration::from_mins(10))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::from_millis(play.latency))
            .tcp_capacity(4_096)
            .enable_random_order()
            .build();
        let seats = ServerId::BOTH.map(|server| ServerSlot::new(&mut sim, context, server));
        let mut theatre = Self {
            tick: play.tick,
            sim,
            context: context.clone(),
            software: play.software.clone(),
            servers: seats,
        };
        for server in ServerId::BOTH {
            theatre.start(server);
        }
        theatre
    }

    fn add_clients(&mut self, play: &RunSpec, rng: &mut Rng) {
        for number in 0..play.plan.clients {
            let client = clients::run(
                self.context.clone(),
                number,
                play.appetite.clone(),
                rng.fork(),
            );
            self.sim.client(client_host(number), client);
        }
    }

    fn add_owners(&mut self, play: &RunSpec, rng: &mut Rng) {
        let owners = &play.plan.owners;
        for number in 0..owners.count {
            let (context, owners) = (self.context.clone(), owners.clone());
            let rng = RefCell::new(rng.fork());
            self.sim.host(owner_host(number), move || {
                let rng = rng.borrow_mut().fork();
                owners::run(context.clone(), number, owners.clone(), rng)
            });
        }
    }

    fn run_processes(&mut self) -> Result<(), String> {
        for server in ServerId::BOTH {
            let seat = &mut self.servers[server.index()];
            let Some(process) = &mut seat.process else {
                continue;
            };
            process.pass(self.tick);
            let Some(end) = process.end() else { continue };
            end.map_err(|error| format!("server {server} failed: {error}"))?;
            seat.end_process();
            self.context.set_running(server, false);
        }
        Ok(())
    }

    fn carry_out(&mut self, order: HostAction) {
        match order {
            HostAction::Kill(server) => self.kill(server),
            HostAction::Vanish(server) => self.vanish(server),
            HostAction::Start(server) => self.start(server),
            HostAction::Terminate(server) => self.with_process(server, Process::terminate),
            HostAction::Stop(server) => self.with_process(server, Process::stop),
            HostAction::Wake(server) => self.with_process(server, Process::wake),
            HostAction::ResetPeer(server) => self.servers[server.index()].wires.reset_peer(),
            HostAction::ResetClients(server) => self.servers[server.index()].wires.reset_clients(),
            HostAction::Crash(owner) => self.sim.crash(owner_host(owner)),
            HostAction::Revive(owner) => {
                if !self.sim.is_host_running(owner_host(owner)) {
                    self.sim.bounce(owner_host(owner));
                }
            }
            HostAction::Latency(one, other, most) => {
                self.sim.set_link_max_message_latency(one, other, most);
            }
        }
    }

    fn with_process(&mut self, server: ServerId, act: impl FnOnce(&mut Process)) {
        if let Some(process) = &mut self.servers[server.index()].process {
            act(process);
        }
    }

    fn kill(&mut self, server: ServerId) {
        self.servers[server.index()].end_process();
        self.context.set_running(server, false);
    }

    fn vanish(&mut self, server: ServerId) {
        self.servers[server.index()].vanished = true;
        self.context.faults().set_vanished(server, true);
        for other in self.others(server) {
            self.sim.partition(host(server), other.as_str());
        }
        self.kill(server);
        self.sim.crash(host(server));
    }

    fn start(&mut self, server: ServerId) {
        self.kill(server);
        if std::mem::take(&mut self.servers[server.index()].vanished) {
            self.context.faults().set_vanished(server, false);
            for other in self.others(server) {
                if !self.context.faults().is_silent(&other, host(server)) {
                    self.sim.repair(host(server), other.as_str());
                }
            }
            self.sim.bounce(host(server));
        }
        let network = self.servers[server.index()].network();
        let context = &self.context;
        let process = Process::start(|stop| (self.software)(context, network, server, stop));
        self.servers[server.index()].process = Some(process);
        self.context.set_running(server, true);
    }

    /// Every host but the one of `server`.
    fn others(&self, server: ServerId) -> Vec<String> {
        let clients = self.context.client_hosts();
        let rest = ["director".to_owned(), host(server.peer()).to_owned()];
        clients.chain(rest).collect()
    }
}

impl ServerSlot {
    fn new(sim: &mut turmoil::Sim<'static>, context: &Context, server: ServerId) -> Self {
        let machine = Rc::<RefCell<Option<SimulatedHost>>>::default();
        let wires = Wires::default();
        let (booted, faults, cables) = (machine.clone(), context.faults(), wires.clone());
        sim.host(host(server), move || {
            let (machine, running) = SimulatedHost::boot(server, faults.clone(), cables.clone());
            booted.replace(Some(machine));
            running
        });
        Self {
            host: machine,
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
        let machine = self.host.borrow();
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
