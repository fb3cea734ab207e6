//! A replicated lock against a plain call: throughput, latency and processor time, with every
//! server and the clients of every load in processes of their own.
//!
//! A run measures plain, tuned and pair one after the other, so what else the machine does meets
//! all three.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use lockservice::testkit::{Process, Reserved, wait_until};
use lockservice::transport::{Addr, SystemNetwork};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use super::reference::Flavour;
use super::results::{Results, median};
use super::stage::{Sockets, Stage};
use super::{Scale, child, usage};

const PATIENCE: Duration = Duration::from_secs(20);

/// Written as `IN_FLIGHTxCLIENTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    pub(crate) clients: usize,
}

pub(crate) const fn load(in_flight: usize, clients: usize) -> Load {
    Load { in_flight, clients }
}

/// The loads that targets are set for.
pub(crate) const TARGETS: [Load; 6] = [
    load(1, 1),
    load(8, 1),
    load(64, 1),
    load(256, 1),
    load(1, 8),
    load(1, 64),
];

/// Those between them, for the picture of latency against load.
const BETWEEN: [Load; 5] = [
    load(2, 1),
    load(4, 1),
    load(16, 1),
    load(32, 1),
    load(128, 1),
];

/// The loads of one client, from light to heavy.
pub(crate) fn one_client() -> Vec<Load> {
    let all = TARGETS.into_iter().chain(BETWEEN);
    let mut loads: Vec<_> = all.filter(|load| load.clients == 1).collect();
    loads.sort_by_key(|load| load.in_flight);
    loads
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.in_flight, self.clients)
    }
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('x').and_then(|(in_flight, clients)| {
            Some(load(in_flight.parse().ok()?, clients.parse().ok()?))
        });
        parsed.ok_or_else(|| format!("`{text}` is not IN_FLIGHTxCLIENTS"))
    }
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoadOptions {
    /// These loads and no others, each written as `IN_FLIGHTxCLIENTS`
    #[arg(long, value_name = "LOAD", value_delimiter = ',')]
    only: Vec<Load>,
    /// On which sockets
    #[arg(long, value_enum, default_value_t = Sockets::Tcp)]
    sockets: Sockets,
}

impl LoadOptions {
    /// Everything.
    pub(crate) const fn all() -> Self {
        Self {
            only: Vec::new(),
            sockets: Sockets::Tcp,
        }
    }

    fn loads(&self) -> Vec<Load> {
        if self.only.is_empty() {
            TARGETS.into_iter().chain(BETWEEN).collect()
        } else {
            self.only.clone()
        }
    }
}

/// What the clients saw, and what the servers used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) calls_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) server_cpu_us_per_call: f64,
}

/// One run of one load.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) plain: Figures,
    pub(crate) tuned: Figures,
    pub(crate) pair: Figures,
}

/// All runs of one load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    load: Load,
    sockets: Sockets,
    seconds: f64,
    runs: Vec<Run>,
}

/// Picks a figure.
pub(crate) type Figure = fn(&Figures) -> f64;
/// Picks who it is of.
pub(crate) type Part = fn(&Run) -> &Figures;

/// Who is measured.
pub(crate) const PARTS: [(&str, Part); 3] = [
    ("plain", |run| &run.plain),
    ("tuned", |run| &run.tuned),
    ("pair", |run| &run.pair),
];

impl Measured {
    /// None when it was not measured yet.
    pub(crate) fn read(results: &Results, load: Load) -> Option<Self> {
        results.read(&name(load, Sockets::Tcp))
    }

    pub(crate) fn median(&self, part: Part, figure: Figure) -> f64 {
        median(self.runs.iter().map(|run| figure(part(run))))
    }

    /// The median of the ratios to plain, each of one run.
    pub(crate) fn ratio(&self, part: Part, figure: Figure) -> f64 {
        let ratios = self.runs.iter();
        median(ratios.map(|run| figure(part(run)) / figure(&run.plain)))
    }
}

fn name(load: Load, sockets: Sockets) -> String {
    match sockets {
        Sockets::Tcp => format!("load-{load}"),
        Sockets::Unix => format!("load-{load}-unix"),
    }
}

pub(crate) async fn measure(scale: &Scale, options: &LoadOptions) {
    let theatre = Theatre::open(options.sockets).await;
    for load in options.loads() {
        let measured = Measured {
            load,
            sockets: options.sockets,
            seconds: scale.seconds,
            runs: (0..scale.runs).map(|_| theatre.run(load, scale)).collect(),
        };
        tell(&measured);
        scale.results.write(&name(load, options.sockets), &measured);
    }
}

fn tell(measured: &Measured) {
    let load = measured.load.to_string();
    for (name, part) in PARTS {
        let of = |figure| measured.median(part, figure);
        println!(
            "{load:>6} {name:<6} {:>8.0} calls/s  p50 {:>7.1} us  p99 {:>8.1} us  p99.9 {:>8.1} us  server CPU {:>6.2} us a call",
            of(|it| it.calls_per_second),
            of(|it| it.p50_us),
            of(|it| it.p99_us),
            of(|it| it.p999_us),
            of(|it| it.server_cpu_us_per_call),
        );
    }
    let of = |figure| measured.ratio(|run| &run.pair, figure);
    println!(
        "{load:>6} pair/plain: throughput {:.2}, p50 {:.2}, p99 {:.2}, CPU {:.2}",
        of(|it| it.calls_per_second),
        of(|it| it.p50_us),
        of(|it| it.p99_us),
        of(|it| it.server_cpu_us_per_call),
    );
}

/// A pair and both references.
struct Theatre {
    pair: Stage,
    references: [Reference; 2],
    _directory: TempDir,
}

struct Reference {
    flavour: Flavour,
    process: Process,
    address: Reserved,
}

impl Theatre {
    async fn open(sockets: Sockets) -> Self {
        let directory = TempDir::new().expect("a directory");
        let theatre = Self {
            references: Flavour::BOTH.map(|flavour| Reference::start(flavour, sockets, &directory)),
            pair: Stage::set(sockets).await,
            _directory: directory,
        };
        for reference in &theatre.references {
            reference.wait_ready().await;
        }
        theatre
    }

    fn run(&self, load: Load, scale: &Scale) -> Run {
        let [plain, tuned] = &self.references;
        Run {
            plain: plain.run(load, scale),
            tuned: tuned.run(load, scale),
            pair: run_pair(&self.pair, load, scale, &[]),
        }
    }
}

/// Puts a load on the pair, with more `options` of `lockc bench`.
pub(crate) fn run_pair(pair: &Stage, load: Load, scale: &Scale, options: &[&str]) -> Figures {
    let mut lockc = Command::new(env!("CARGO_BIN_EXE_lockc"));
    lockc.args(["--servers", &pair.servers.to_string(), "bench", "--json"]);
    lockc.args(options);
    lockc.args(["--clerks", &load.clients.to_string()]);
    lockc.args(["--in-flight", &load.in_flight.to_string()]);
    lockc.args(["--warm-up", &format!("{}ms", scale.warm_up.as_millis())]);
    lockc.args(["--duration", &format!("{:.0}ms", scale.seconds * 1e3)]);
    let seen = output(&mut lockc);
    assert_eq!(seen["failed"], 0, "no call fails");
    let latency = |quantile| number(&seen["latency_us"][quantile]);
    Figures {
        calls_per_second: number(&seen["calls_per_second"]),
        p50_us: latency("p50"),
        p99_us: latency("p99"),
        p999_us: latency("p999"),
        server_cpu_us_per_call: number(&seen["server_cpu_us_per_call"]),
    }
}

impl Reference {
    fn start(flavour: Flavour, sockets: Sockets, directory: &TempDir) -> Self {
        let address = sockets.reserve(directory.path(), flavour.name());
        let arguments = child::serving(flavour, address.addr());
        let log = directory.path().join(format!("{}.log", flavour.name()));
        Self {
            flavour,
            process: Process::start(flavour.name(), &itself(), arguments, log).expect("it starts"),
            address,
        }
    }

    fn addr(&self) -> &Addr {
        self.address.addr()
    }

    async fn wait_ready(&self) {
        wait_until("a reference listens", PATIENCE, async || {
            let network = SystemNetwork::default();
            let client = self.flavour.connect(&network, self.addr());
            client.await.is_ok()
        })
        .await;
    }

    fn run(&self, load: Load, scale: &Scale) -> Figures {
        let before = usage::cpu_micros(self.process.id());
        let arguments = child::calling(self.flavour, self.addr(), load, scale);
        let seen = output(Command::new(itself()).args(arguments));
        let used = usage::cpu_micros(self.process.id()) - before;
        let seen: child::Seen = serde_json::from_value(seen).expect("what a client saw");
        Figures {
            calls_per_second: seen.calls_per_second,
            p50_us: seen.p50_us,
            p99_us: seen.p99_us,
            p999_us: seen.p999_us,
            server_cpu_us_per_call: used / seen.calls_with_warm_up,
        }
    }
}

fn itself() -> PathBuf {
    std::env::current_exe().expect("its own path")
}

fn output(command: &mut Command) -> Value {
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}
