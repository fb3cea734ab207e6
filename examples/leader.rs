//! Leader election: three candidates, one leader at a time, and the token is the term. A server is
//! lost meanwhile, and the leader stays.
//!
//! ```text
//! cargo run --locked --example leader
//! ```

use std::error::Error;
use std::time::Duration;

use lockservice::testkit::{Pair, PairOptions};
use lockservice::{Clerk, ServerId, Servers, Token};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let mut pair = Pair::start(PairOptions::threads()).await;
    let (elected, mut terms) = mpsc::channel(8);
    let mut candidates = JoinSet::new();
    for name in ["ann", "bob", "cyd"] {
        candidates.spawn(candidate(name, pair.servers().clone(), elected.clone()));
    }
    drop(elected);

    let mut last = terms.recv().await.ok_or("nobody was elected")?;
    pair.kill(ServerId::A);
    println!("a server is lost");
    while let Some(term) = terms.recv().await {
        assert!(
            term > last,
            "each leader has a higher term than the one before"
        );
        last = term;
    }
    while let Some(ended) = candidates.join_next().await {
        ended??;
    }
    Ok(())
}

/// Stands for election until it has led and resigned.
async fn candidate(
    name: &str,
    servers: Servers,
    elected: mpsc::Sender<Token>,
) -> Result<(), AnyError> {
    let clerk = Clerk::builder(servers).name(name).connect().await?;
    loop {
        let leadership = clerk.campaign("scheduler/leader").await?;
        println!("{name} leads, in term {}", leadership.token());
        elected.send(leadership.token()).await?;
        tokio::select! {
            () = lead() => {
                println!("{name} resigns");
                return Ok(leadership.release().await?);
            }
            reason = leadership.lost() => println!("{name} is deposed: {reason}"),
        }
    }
}

/// What the leader does; it is dropped when the leadership is lost.
async fn lead() {
    sleep(Duration::from_millis(200)).await;
}
