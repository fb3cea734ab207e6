//! What replication is measured against: one server that is not replicated, keeps nothing, and answers
//! `true` to every call.
//!
//! *Plain* is tarpc as its README has it: a multi-threaded runtime at both ends, each response a task, the
//! quicker of the codecs that tarpc brings (bincode; the other one is JSON). *Tuned* has this crate's
//! transport, its runtime, and its way to poll handlers: what is between it and the pair is replication.

pub(crate) mod plain;
pub(crate) mod tuned;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lockservice::net::Addr;
use tarpc::context;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// What the references serve. Its calls look like those of the lock service: a name, and the ids that
/// make a call be carried out once.
#[tarpc::service]
pub(crate) trait Reference {
    /// Answers `true`.
    async fn lock(id: (u128, u64, u64, u64), name: String) -> bool;
}

/// Implements [`Reference`].
#[derive(Debug, Clone)]
pub(crate) struct Yes;

impl Reference for Yes {
    async fn lock(self, _: context::Context, _: (u128, u64, u64, u64), _: String) -> bool {
        true
    }
}

/// Which reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// tarpc as its README has it.
    Plain,
    /// With what this crate adds, but for replication.
    Tuned,
}

impl Flavour {
    pub(crate) const BOTH: [Self; 2] = [Self::Plain, Self::Tuned];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tuned => "tuned",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::BOTH
            .into_iter()
            .find(|flavour| flavour.name() == name)
    }

    /// The runtime that server and client run on.
    pub(crate) fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::Plain => Builder::new_multi_thread(),
            Self::Tuned => Builder::new_current_thread(),
        };
        builder.enable_all().build().expect("a runtime")
    }

    /// Serves for ever.
    pub(crate) async fn serve(self, addr: &Addr) -> io::Result<()> {
        match self {
            Self::Plain => plain::serve(addr).await,
            Self::Tuned => tuned::serve(addr).await,
        }
    }

    /// Connects a client.
    pub(crate) async fn connect(self, addr: &Addr) -> io::Result<ReferenceClient> {
        match self {
            Self::Plain => plain::connect(addr).await,
            Self::Tuned => tuned::connect(addr).await,
        }
    }
}

/// How many clients there are, and how many calls each of them has in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) in_flight: usize,
}

/// Calls without a pause; tells the latencies, in nanoseconds, of what ended after `warm_up`.
pub(crate) async fn call_for(
    flavour: Flavour,
    addr: &Addr,
    load: Load,
    warm_up: Duration,
    duration: Duration,
) -> Histogram<u64> {
    let latencies = Arc::new(Mutex::new(Histogram::new(3).expect("three digits")));
    let from = Instant::now() + warm_up;
    let until = from + duration;
    let mut callers = JoinSet::new();
    for n in 0..load.clients {
        let client = flavour.connect(addr).await.expect("a server");
        for m in 0..load.in_flight {
            let (client, latencies) = (client.clone(), latencies.clone());
            let name = format!("lockc-bench/00000000-0000-0000-0000-000000000000/{n}/{m}");
            callers.spawn(async move {
                let mut asked = Instant::now();
                while asked < until {
                    let answer = call(&client, &name).await;
                    assert!(answer, "a reference says yes");
                    let answered = Instant::now();
                    if asked >= from {
                        let nanos = (answered - asked).as_nanos();
                        let nanos = u64::try_from(nanos).expect("a short time");
                        latencies
                            .lock()
                            .expect("whole")
                            .record(nanos)
                            .expect("it grows");
                    }
                    asked = answered;
                }
            });
        }
    }
    callers.join_all().await;
    let latencies = latencies.lock().expect("whole");
    latencies.clone()
}

/// One call, with a deadline of its own as the clerk has it.
fn call<'a>(client: &'a ReferenceClient, name: &str) -> impl Future<Output = bool> + 'a {
    let name = name.to_owned();
    async move {
        let id = (u128::MAX, 1 << 50, 1, 1);
        let answer = client.lock(context::current(), id, name).await;
        answer.expect("a server answers")
    }
}
