//! What this program does as a child of itself: serve a reference, or be the clients of one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lockservice::transport::{Addr, SystemNetwork};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::Scale;
use super::loads::Load;
use super::reference::{Client, Flavour};

/// A part in a load.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Child {
    /// Be a reference's server
    Serve {
        #[arg(value_parser = flavour)]
        flavour: Flavour,
        addr: Addr,
    },
    /// Be a reference's clients, and print what they saw
    Call {
        #[arg(value_parser = flavour)]
        flavour: Flavour,
        addr: Addr,
        load: Load,
        warm_up: f64,
        measured: f64,
    },
}

fn flavour(name: &str) -> Result<Flavour, String> {
    let mut flavours = Flavour::BOTH.into_iter();
    let named = flavours.find(|flavour| flavour.name() == name);
    named.ok_or_else(|| format!("there is no reference `{name}`"))
}

/// The arguments of a reference's server.
pub(crate) fn serving(flavour: Flavour, addr: &Addr) -> [String; 4] {
    ["child", "serve", flavour.name(), &addr.to_string()].map(str::to_owned)
}

/// The arguments of its clients.
pub(crate) fn calling(flavour: Flavour, addr: &Addr, load: Load, scale: &Scale) -> [String; 7] {
    [
        "child".to_owned(),
        "call".to_owned(),
        flavour.name().to_owned(),
        addr.to_string(),
        load.to_string(),
        scale.warm_up.as_secs_f64().to_string(),
        scale.seconds.to_string(),
    ]
}

/// What the clients saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) calls_with_warm_up: f64,
    pub(crate) calls_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

pub(crate) fn be(child: Child) {
    match child {
        Child::Serve { flavour, addr } => {
            let network = SystemNetwork::default();
            let serving = flavour.serve(&network, &addr);
            let served = flavour.runtime().block_on(serving);
            served.expect("a reference that serves");
        }
        Child::Call {
            flavour,
            addr,
            load,
            warm_up,
            measured,
        } => {
            let calls = call(flavour, &addr, load, warm_up, measured);
            let seen = flavour.runtime().block_on(calls);
            println!("{}", serde_json::to_string(&seen).expect("plain data"));
        }
    }
}

async fn call(flavour: Flavour, addr: &Addr, load: Load, warm_up: f64, seconds: f64) -> Seen {
    let tally = Arc::new(Mutex::new(Tally::new()));
    let from = Instant::now() + Duration::from_secs_f64(warm_up);
    let until = from + Duration::from_secs_f64(seconds);
    let mut callers = JoinSet::new();
    for n in 0..load.clients {
        let client = flavour.connect(&SystemNetwork::default(), addr).await;
        let client = client.expect("a server");
        for m in 0..load.in_flight {
            // As long as the names of `lockc bench`.
            let name = format!("lockc-bench/00000000-0000-0000-0000-000000000000/{n}/{m}");
            callers.spawn(call_until(client.clone(), name, tally.clone(), from, until));
        }
    }
    callers.join_all().await;
    let tally = tally.lock().expect("nobody panicked");
    tally.seen(seconds)
}

async fn call_until(
    client: Client,
    name: String,
    tally: Arc<Mutex<Tally>>,
    from: Instant,
    until: Instant,
) {
    let mut asked = Instant::now();
    while asked < until {
        assert!(client.call(&name).await, "a reference says yes");
        let answered = Instant::now();
        let latency = (asked >= from).then(|| answered - asked);
        tally.lock().expect("nobody panicked").add(latency);
        asked = answered;
    }
}

struct Tally {
    latencies: Histogram<u64>,
    all: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            latencies: Histogram::new(3).expect("three digits"),
            all: 0,
        }
    }

    fn add(&mut self, latency: Option<Duration>) {
        self.all += 1;
        if let Some(latency) = latency {
            let nanos = u64::try_from(latency.as_nanos()).expect("a short time");
            self.latencies.record(nanos).expect("it grows");
        }
    }

    fn seen(&self, seconds: f64) -> Seen {
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Seen {
            calls_with_warm_up: self.all as f64,
            calls_per_second: self.latencies.len() as f64 / seconds,
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p999_us: micros(0.999),
        }
    }
}
