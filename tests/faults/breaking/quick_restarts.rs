//! A server dies and is back before anybody can have noticed by its silence.

use std::time::{Duration, Instant};

use fastrand::Rng;
use lockservice::testkit::Pair;

use crate::edition::rounds;
use crate::load::{Load, processes};
use crate::{A, B};

#[tokio::test]
async fn a_server_that_dies_and_is_back_at_once_loses_nothing_however_often() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pair = Pair::start(processes()).await;
    let load = Load::start(&pair, 8).await;
    let mut longest = Duration::ZERO;
    for _ in 0..rounds(100, 1_000) {
        let server = if random.bool() { A } else { B };
        let killed = Instant::now();
        pair.restart(server);
        longest = longest.max(killed.elapsed());
        pair.wait_whole().await;
    }
    println!("a new process after {longest:?} at the most");
    load.advance(20).await;
    load.judge(&pair).await;
}
