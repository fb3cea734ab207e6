//! A semaphore: six workers, of which at most two use a database at a time.
//!
//! ```text
//! cargo run --locked --example semaphore
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockservice::Clerk;
use lockservice::testkit::{Pair, PairOptions};
use tokio::task::JoinSet;
use tokio::time::sleep;

const WORKERS: u32 = 6;
const PERMITS: u32 = 2;

/// How many use the database at this moment.
static IN_USE: AtomicU32 = AtomicU32::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pair = Pair::start(PairOptions::threads()).await;
    let mut workers = JoinSet::new();
    for number in 1..=WORKERS {
        workers.spawn(worker(number, pair.clerk().await)); // each could be on its own machine
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Uses the database once, when it gets a permit. All workers name the same number of permits.
async fn worker(number: u32, clerk: Clerk) -> Result<(), Box<dyn Error + Send + Sync>> {
    let permit = clerk.request("pool/db").permits(PERMITS).acquire().await?;
    let in_use = IN_USE.fetch_add(1, Ordering::Relaxed) + 1;
    println!("worker {number} has a permit, {in_use} in use");
    assert!(
        in_use <= PERMITS,
        "more hold the lock than each was promised"
    );

    tokio::select! {
        () = sleep(Duration::from_millis(50)) => {} // the work
        reason = permit.lost() => println!("worker {number} stops: {reason}"),
    }
    IN_USE.fetch_sub(1, Ordering::Relaxed);
    permit.release().await?;
    Ok(())
}
