//! A replicated lock against a plain call: throughput, latency and processor time, with every server and
//! every client a process of its own.
//!
//! `cargo bench --bench processes` does five runs of every load and prints medians, each beside the two
//! references of the same run (see `reference`). `-- --runs N`, `--seconds S` and `--unix` change that;
//! `-- --only 64x1` measures one load.

mod reference;

use std::fmt;
use std::fs;
use std::process::Command;
use std::time::Duration;

use lockservice::net::Addr;
use lockservice::testkit::{Process, Reserved, wait_until};
use lockservice::types::ServerId;
use lockservice::{Servers, clerk};
use reference::{Flavour, Load, call_for};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const WARM_UP: Duration = Duration::from_millis(500);

/// The loads of the table, by clients and calls in flight at each.
const LOADS: [Load; 6] = [
    load(1, 1),
    load(1, 8),
    load(1, 64),
    load(1, 256),
    load(8, 1),
    load(64, 1),
];

const fn load(clients: usize, in_flight: usize) -> Load {
    Load { clients, in_flight }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.in_flight, self.clients)
    }
}

fn main() {
    let args: Vec<_> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", flavour, addr] => serve(flavour, addr),
        ["load", flavour, addr, clients, in_flight, seconds] => {
            let load = load(parsed(clients), parsed(in_flight));
            apply(
                flavour,
                addr,
                load,
                Duration::from_secs_f64(parsed(seconds)),
            );
        }
        _ => compare(&Options::parse(&args)),
    }
}

fn parsed<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a number")
}

fn flavour(name: &str) -> Flavour {
    Flavour::named(name).expect("a reference")
}

fn serve(name: &str, addr: &str) {
    let addr = addr.parse().expect("an address");
    let served = flavour(name).runtime().block_on(flavour(name).serve(&addr));
    served.expect("a reference that serves");
}

/// Is a client of a reference, and prints what it saw.
fn apply(name: &str, addr: &str, load: Load, duration: Duration) {
    let addr = addr.parse().expect("an address");
    let flavour = flavour(name);
    let calls = call_for(flavour, &addr, load, WARM_UP, duration);
    let latencies = flavour.runtime().block_on(calls);
    let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    let seen = json!({
        "calls": latencies.len(),
        "calls_per_second": latencies.len() as f64 / duration.as_secs_f64(),
        "latency_us": { "p50": micros(0.5), "p99": micros(0.99), "p999": micros(0.999) },
    });
    println!("{seen}");
}

/// How much to measure.
struct Options {
    runs: usize,
    seconds: f64,
    unix: bool,
    only: Option<String>,
    json: bool,
}

impl Options {
    fn parse(args: &[&str]) -> Self {
        let has = |flag| args.contains(&flag);
        let value = |flag| {
            let at = args.iter().position(|arg| *arg == flag)?;
            args.get(at + 1).copied()
        };
        let quick = has("--test");
        Self {
            runs: value("--runs").map_or(if quick { 1 } else { 5 }, parsed),
            seconds: value("--seconds").map_or(if quick { 0.05 } else { 2.0 }, parsed),
            unix: has("--unix"),
            only: value("--only").map(str::to_owned),
            json: has("--json"),
        }
    }
}

/// What one client process saw, and what its servers used.
#[derive(Debug, Clone, Copy)]
struct Figures {
    throughput: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    cpu: f64,
}

/// Everything of one load in one run.
#[derive(Debug, Clone, Copy)]
struct Row {
    plain: Figures,
    tuned: Figures,
    pair: Figures,
}

fn compare(options: &Options) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let stage = runtime
        .expect("a runtime")
        .block_on(Stage::set(options.unix));
    let wanted = |load: &Load| {
        options
            .only
            .as_ref()
            .is_none_or(|only| *only == load.to_string())
    };
    for load in LOADS.into_iter().filter(wanted) {
        let rows: Vec<_> = (0..options.runs)
            .map(|_| stage.measure(load, options.seconds))
            .collect();
        if options.json {
            println!("{}", as_json(load, &rows));
        } else {
            tell(load, &rows);
        }
    }
}

fn median(rows: &[Row], figure: impl Fn(&Row) -> f64) -> f64 {
    let mut figures: Vec<_> = rows.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

type Part = fn(&Row) -> Figures;
const PARTS: [(&str, Part); 3] = [
    ("plain", |row| row.plain),
    ("tuned", |row| row.tuned),
    ("pair", |row| row.pair),
];

fn tell(load: Load, rows: &[Row]) {
    for (name, part) in PARTS {
        let of = |figure: fn(Figures) -> f64| median(rows, |row| figure(part(row)));
        println!(
            "{load:>6} {name:<6} {:>8.0} calls/s  p50 {:>7.1} us  p99 {:>8.1} us  p99.9 {:>8.1} us  CPU {:>6.2} us a call",
            of(|it| it.throughput),
            of(|it| it.p50),
            of(|it| it.p99),
            of(|it| it.p999),
            of(|it| it.cpu),
        );
    }
    let ratio =
        |figure: fn(Figures) -> f64| median(rows, |row| figure(row.pair) / figure(row.plain));
    println!(
        "{load:>6} pair/plain: throughput {:.2}, p50 {:.2}, p99 {:.2}, CPU {:.2}",
        ratio(|it| it.throughput),
        ratio(|it| it.p50),
        ratio(|it| it.p99),
        ratio(|it| it.cpu),
    );
}

fn as_json(load: Load, rows: &[Row]) -> Value {
    let parts = PARTS.iter().map(|(name, part)| {
        let of = |figure: fn(Figures) -> f64| median(rows, |row| figure(part(row)));
        let figures = json!({
            "calls_per_second": of(|it| it.throughput),
            "p50_us": of(|it| it.p50), "p99_us": of(|it| it.p99), "p999_us": of(|it| it.p999),
            "server_cpu_us_per_call": of(|it| it.cpu),
        });
        ((*name).to_owned(), figures)
    });
    json!({ "clients": load.clients, "in_flight": load.in_flight, "median_of": rows.len(),
            "figures": parts.collect::<serde_json::Map<_, _>>() })
}

/// The servers: both references, and a pair.
struct Stage {
    references: [(Flavour, Process, Addr); 2],
    _pair: [Process; 2],
    servers: Servers,
    _directory: TempDir,
}

impl Stage {
    async fn set(unix: bool) -> Self {
        let directory = TempDir::new().expect("a directory");
        let addr = |name: &str| -> Addr {
            if unix {
                return Addr::Unix(directory.path().join(name));
            }
            // Free once this is dropped, and nobody else's in the moment between.
            Reserved::tcp().expect("a free port").addr().clone()
        };
        let start = |name: &str, program: &std::path::Path, args: &[&str]| {
            let log = directory.path().join(format!("{name}.log"));
            Process::start(name, program, args, log).expect("it starts")
        };
        let servers = Servers::new(addr("a"), addr("b")).expect("two addresses");
        let list = servers.to_string();
        let lockd = std::path::Path::new(env!("CARGO_BIN_EXE_lockd"));
        let pair =
            ["primary", "backup"].map(|role| start(role, lockd, &[role, "--servers", &list]));
        let itself = std::env::current_exe().expect("its own path");
        let references = Flavour::BOTH.map(|flavour| {
            let addr = addr(flavour.name());
            let args = ["serve", flavour.name(), &addr.to_string()];
            (flavour, start(flavour.name(), &itself, &args), addr)
        });
        let stage = Self {
            references,
            _pair: pair,
            servers,
            _directory: directory,
        };
        stage.wait_ready().await;
        stage
    }

    async fn wait_ready(&self) {
        let network: std::sync::Arc<dyn lockservice::net::Network> =
            std::sync::Arc::new(lockservice::net::SystemNetwork);
        wait_until("the pair is whole", PATIENCE, async || {
            let reports = clerk::status(&network, &self.servers, PATIENCE).await;
            let in_sync = |report: &&clerk::ServerReport| {
                report.status.as_ref().is_ok_and(|status| status.in_sync)
            };
            reports.iter().filter(in_sync).count() == ServerId::BOTH.len()
        })
        .await;
        for (flavour, _, addr) in &self.references {
            wait_until("a reference listens", PATIENCE, async || {
                flavour.connect(addr).await.is_ok()
            })
            .await;
        }
    }

    fn measure(&self, load: Load, seconds: f64) -> Row {
        let [plain, tuned] = &self.references;
        Row {
            plain: reference(plain, load, seconds),
            tuned: reference(tuned, load, seconds),
            pair: self.pair(load, seconds),
        }
    }

    fn pair(&self, load: Load, seconds: f64) -> Figures {
        let seen = output(
            Command::new(env!("CARGO_BIN_EXE_lockc"))
                .args(["--servers", &self.servers.to_string(), "bench", "--json"])
                .args(["--clerks", &load.clients.to_string()])
                .args(["--in-flight", &load.in_flight.to_string()])
                .args(["--warm-up", &format!("{}ms", WARM_UP.as_millis())])
                .args(["--duration", &format!("{}ms", seconds * 1e3)]),
        );
        assert_eq!(seen["failed"], 0, "no call fails");
        let cpu = seen["server_cpu_us_per_call"].as_f64();
        figures(&seen, cpu.expect("both servers tell"))
    }
}

/// Measures a reference. The warm-up counts as work of the server too, so its calls are counted: by the
/// share of the time.
fn reference(
    (flavour, server, addr): &(Flavour, Process, Addr),
    load: Load,
    seconds: f64,
) -> Figures {
    let before = cpu_micros(server.id());
    let itself = std::env::current_exe().expect("its own path");
    let seen = output(
        Command::new(itself)
            .args(["load", flavour.name(), &addr.to_string()])
            .args([
                load.clients.to_string(),
                load.in_flight.to_string(),
                seconds.to_string(),
            ]),
    );
    let used = cpu_micros(server.id()) - before;
    let calls = seen["calls"].as_f64().expect("a count");
    let share = seconds / (seconds + WARM_UP.as_secs_f64());
    figures(&seen, used * share / calls)
}

fn figures(seen: &Value, cpu: f64) -> Figures {
    let latency = |quantile| seen["latency_us"][quantile].as_f64().expect("a latency");
    Figures {
        throughput: seen["calls_per_second"].as_f64().expect("a rate"),
        p50: latency("p50"),
        p99: latency("p99"),
        p999: latency("p999"),
        cpu,
    }
}

fn output(command: &mut Command) -> Value {
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// How much processor time all threads of a process have used.
fn cpu_micros(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nanos = tasks.map(|task| {
        let path = task.expect("a thread").path().join("schedstat");
        // A thread may end meanwhile.
        let stat = fs::read_to_string(path).unwrap_or_default();
        let used = stat.split(' ').next().unwrap_or_default();
        used.parse().unwrap_or(0.0)
    });
    nanos.sum::<f64>() / 1e3
}
