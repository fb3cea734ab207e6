//! Two workers share one lock. Each works only while its guard is held, and lets the other one in
//! between two items of work.
//!
//! ```text
//! cargo run --locked --example worker
//! ```

use std::error::Error;
use std::future::ready;
use std::time::Duration;

use lockservice::testkit::{Pair, PairOptions};
use lockservice::{Clerk, LockGuard, Servers};
use tokio::time::sleep;

const ITEMS: u32 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let pair = Pair::start(PairOptions::threads()).await; // yours: `lockd primary`, `lockd backup`
    let servers = pair.servers();
    tokio::try_join!(worker("first", servers), worker("second", servers))?;
    Ok(())
}

/// Works through its items, under the lock, in as many turns as it takes.
async fn worker(name: &str, servers: &Servers) -> Result<(), Box<dyn Error>> {
    let clerk = Clerk::builder(servers.clone()).name(name).connect().await?;
    let mut left = ITEMS;
    while left > 0 {
        let guard = clerk.acquire("warehouse").await?; // waits for its turn
        println!("{name}: holds the lock by token {}", guard.token());
        tokio::select! {
            () = work(name, &guard, &mut left) => guard.release().await?,
            // Another session may hold the lock now. The item in progress was dropped.
            reason = guard.lost() => println!("{name}: stops: {reason}"),
        }
    }
    clerk.close().await;
    Ok(())
}

/// Works until nothing is left, or another session waits for the lock.
async fn work(name: &str, guard: &LockGuard, left: &mut u32) {
    while *left > 0 {
        sleep(Duration::from_millis(20)).await; // an item of work
        *left -= 1;
        println!("{name}: an item is done, {left} left");
        tokio::select! {
            biased;
            () = guard.contended() => return,
            () = ready(()) => {}
        }
    }
}
