//! What a clerk costs that is connected and does nothing.

use futures::StreamExt as _;
use futures::stream;
use lockservice::Clerk;
use serde::{Deserialize, Serialize};

use super::Scale;
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

const NAME: &str = "clerks";

/// How many connect at a time.
const AT_ONCE: usize = 32;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Clerks {
    pub(crate) clerks: usize,
    kib_per_clerk_on_primary: Vec<f64>,
}

impl Clerks {
    pub(crate) fn read(results: &Results) -> Option<Self> {
        results.read(NAME)
    }

    pub(crate) fn kib_per_clerk(&self) -> f64 {
        median(self.kib_per_clerk_on_primary.iter().copied())
    }
}

pub(crate) async fn measure(scale: &Scale) {
    let mut measured = Clerks {
        clerks: scale.clerks,
        kib_per_clerk_on_primary: Vec::new(),
    };
    for _ in 0..scale.runs {
        measured.kib_per_clerk_on_primary.push(run(scale).await);
    }
    println!(
        "{} clerks connected and idle: {:.1} KiB a clerk on the primary",
        measured.clerks,
        measured.kib_per_clerk(),
    );
    scale.results.write(NAME, &measured);
}

async fn run(scale: &Scale) -> f64 {
    let stage = Stage::set(Sockets::Tcp).await;
    let primary = stage.primary().await;
    let before = stage.memory_bytes(primary);
    let connecting = stream::iter(0..scale.clerks).map(|_| stage.clerk());
    let clerks: Vec<Clerk> = connecting.buffer_unordered(AT_ONCE).collect().await;
    stage.wait_whole().await;
    let grown = stage.memory_bytes(primary) - before;
    grown / 1024.0 / clerks.len() as f64
}
