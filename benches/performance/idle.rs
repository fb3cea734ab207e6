//! What a pair costs that nobody uses.

use serde::{Deserialize, Serialize};

use super::Scale;
use super::results::{Results, median};
use super::stage::{Sockets, Stage};

const NAME: &str = "idle";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    percent_of_a_core: Vec<f64>,
}

impl Idle {
    pub(crate) fn read(results: &Results) -> Option<Self> {
        results.read(NAME)
    }

    /// Of both servers together.
    pub(crate) fn percent_of_a_core(&self) -> f64 {
        median(self.percent_of_a_core.iter().copied())
    }
}

pub(crate) async fn measure(scale: &Scale) {
    let stage = Stage::set(Sockets::Tcp).await;
    let mut idle = Idle {
        percent_of_a_core: Vec::new(),
    };
    for _ in 0..scale.runs {
        let before = stage.cpu_time().await;
        tokio::time::sleep(scale.idle).await;
        let used = stage.cpu_time().await.saturating_sub(before);
        idle.percent_of_a_core
            .push(used.div_duration_f64(scale.idle) * 100.0);
    }
    println!("an idle pair: {:.3} % of a core", idle.percent_of_a_core());
    scale.results.write(NAME, &idle);
}
