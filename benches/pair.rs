//! The pair beside the references: in one process, so that threads and not processes are woken.
//!
//! Over memory, everything shares one runtime, and nobody is woken at all; over sockets each
//! server, and the clients, have a runtime each. A pair in processes of its own is measured by the
//! bench `performance`.
//!
//! `cargo bench --bench pair`

mod reference;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use lockservice::testkit::Reserved;
use lockservice::transport::{Addr, MemoryNetwork, Network, SystemNetwork};
use lockservice::{Clerk, Server, ServerConfig, ServerId, Servers};
use reference::Flavour;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Calls in flight, and clients.
const LOADS: [(usize, usize); 6] = [(1, 1), (8, 1), (64, 1), (256, 1), (1, 8), (1, 64)];

/// A runtime that runs until this is dropped.
struct Host {
    handle: Handle,
    _end: DropGuard,
}

impl Host {
    fn new(flavour: Flavour) -> Self {
        let runtime = flavour.runtime();
        let handle = runtime.handle().clone();
        let end = CancellationToken::new();
        let ended = end.clone();
        thread::spawn(move || {
            runtime.block_on(ended.cancelled());
            runtime.shutdown_background();
        });
        Self {
            handle,
            _end: end.drop_guard(),
        }
    }

    /// Waits on this thread for what is done on the runtime's.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (result, done) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move { result.send(work.await) });
        done.recv().expect("the work does not panic")
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Reference(Flavour),
    Pair,
}

impl Subject {
    fn all() -> impl Iterator<Item = Self> {
        let references = Flavour::BOTH.into_iter().map(Self::Reference);
        references.chain([Self::Pair])
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Reference(flavour) => flavour.name(),
            Self::Pair => "pair",
        }
    }

    const fn servers(self) -> &'static [ServerId] {
        match self {
            Self::Reference(_) => &[ServerId::A],
            Self::Pair => &ServerId::BOTH,
        }
    }

    /// The runtime of the pair is that of its programs.
    const fn flavour(self) -> Flavour {
        match self {
            Self::Reference(flavour) => flavour,
            Self::Pair => Flavour::Tuned,
        }
    }
}

#[derive(Debug, Clone)]
enum Client {
    Reference(reference::Client),
    Clerk(Clerk),
}

impl Client {
    async fn call_twice(&self, name: &str) {
        let answers = match self {
            Self::Reference(client) => [client.call(name).await, client.call(name).await],
            Self::Clerk(clerk) => {
                let [locked, unlocked] = [clerk.lock(name).await, clerk.unlock(name).await];
                [locked, unlocked].map(|answer| answer.expect("a pair that answers"))
            }
        };
        assert_eq!(answers, [true, true], "nobody else uses the lock");
    }
}

/// On what everything runs.
#[derive(Debug, Clone, Copy)]
enum Wires {
    Memory,
    Unix,
    Tcp,
}

impl Wires {
    fn network(self) -> Arc<dyn Network> {
        match self {
            Self::Memory => Arc::new(MemoryNetwork::new()),
            Self::Unix | Self::Tcp => Arc::new(SystemNetwork::default()),
        }
    }

    fn address(self, directory: &TempDir, name: &str) -> Addr {
        match self {
            Self::Memory => Addr::Memory(name.to_owned()),
            Self::Unix => Addr::Unix(directory.path().join(name)),
            // Free once this is dropped, and asked for again at once.
            Self::Tcp => Reserved::tcp().expect("a free port").addr().clone(),
        }
    }
}

/// Servers that run, and where their clients will.
struct Running {
    subject: Subject,
    network: Arc<dyn Network>,
    addresses: Servers,
    clients: Host,
    _servers: Vec<Host>,
    _directory: TempDir,
}

impl Running {
    fn start(subject: Subject, wires: Wires) -> Self {
        let directory = TempDir::new().expect("a directory");
        let [a, b] = ["a", "b"].map(|name| wires.address(&directory, name));
        let addresses = Servers::new(a, b).expect("two addresses");
        let network = wires.network();
        let clients = Host::new(subject.flavour());
        let mut hosts = Vec::new();
        for server in subject.servers() {
            let serving = serve(subject, network.clone(), addresses.clone(), *server);
            if matches!(wires, Wires::Memory) {
                clients.run(serving);
            } else {
                let host = Host::new(subject.flavour());
                host.run(serving);
                hosts.push(host);
            }
        }
        Self {
            subject,
            network,
            addresses,
            clients,
            _servers: hosts,
            _directory: directory,
        }
    }

    fn connect(&self, clients: usize) -> Vec<Client> {
        let (subject, network) = (self.subject, self.network.clone());
        let addresses = self.addresses.clone();
        self.clients.run(async move {
            let mut connected = Vec::new();
            for _ in 0..clients {
                connected.push(connect(subject, &network, &addresses).await);
            }
            connected
        })
    }
}

async fn serve(subject: Subject, network: Arc<dyn Network>, addresses: Servers, me: ServerId) {
    match subject {
        Subject::Reference(flavour) => {
            let address = addresses.address(me).clone();
            tokio::spawn(async move { flavour.serve(&*network, &address).await });
        }
        Subject::Pair => {
            let mut config = ServerConfig::new(addresses, me);
            config.network = network;
            let server = Server::bind(config).await.expect("a free address");
            tokio::spawn(server.run(std::future::pending()));
        }
    }
}

async fn connect(subject: Subject, network: &Arc<dyn Network>, addresses: &Servers) -> Client {
    match subject {
        Subject::Reference(flavour) => loop {
            let address = addresses.address(ServerId::A);
            // Its server is just about to listen.
            match flavour.connect(&**network, address).await {
                Ok(client) => return Client::Reference(client),
                Err(_) => tokio::task::yield_now().await,
            }
        },
        Subject::Pair => {
            let builder = Clerk::builder(addresses.clone()).network(network.clone());
            Client::Clerk(builder.connect().await.expect("a pair"))
        }
    }
}

fn loads(c: &mut Criterion) {
    for wires in [Wires::Memory, Wires::Unix, Wires::Tcp] {
        let start = |subject| Running::start(subject, wires);
        let running: Vec<_> = Subject::all().map(start).collect();
        for (in_flight, clients) in LOADS {
            let name = format!("{wires:?}/{in_flight}x{clients}").to_lowercase();
            let mut group = c.benchmark_group(name);
            group.throughput(Throughput::Elements(2));
            for running in &running {
                bench(&mut group, running, in_flight, clients);
            }
            group.finish();
        }
    }
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    running: &Running,
    in_flight: usize,
    clients: usize,
) {
    let clients = running.connect(clients);
    let id = BenchmarkId::from_parameter(running.subject.name());
    group.bench_function(id, |b| {
        b.iter_custom(|iterations| {
            let calls = call_together(clients.clone(), in_flight, iterations);
            running.clients.run(calls)
        });
    });
}

/// Makes so many pairs of calls, and tells how long that took.
async fn call_together(clients: Vec<Client>, in_flight: usize, iterations: u64) -> Duration {
    let callers = (clients.len() * in_flight) as u64;
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for caller in 0..callers.min(iterations) {
        let share = (iterations - caller).div_ceil(callers);
        let at = usize::try_from(caller).expect("some hundred") % clients.len();
        let client = clients[at].clone();
        tasks.spawn(async move {
            let name = format!("bench/{caller}");
            for _ in 0..share {
                client.call_twice(&name).await;
            }
        });
    }
    tasks.join_all().await;
    begun.elapsed()
}

fn brief() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .sample_size(20)
        .configure_from_args()
}

criterion_group! { name = benches; config = brief(); targets = loads }
criterion_main!(benches);
