//! A pair of servers inside a program of one's own. One is stopped in good order, and hands over.
//!
//! ```text
//! cargo run --locked --example own_server
//! ```
//!
//! A program that runs one server of the pair does the same with its own `ServerId` only.

use std::error::Error;

use lockservice::{Clerk, Limits, ServeError, Server, ServerId, Servers};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server: what stops it, and what it ends with.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), ServeError>>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let address = |name| format!("unix:{}", directory.path().join(name).display());
    let servers = Servers::new(address("a"), address("b"))?; // or `HOST:PORT` for TCP
    let a = start(&servers, ServerId::A).await?;
    let b = start(&servers, ServerId::B).await?;

    let clerk = Clerk::connect(servers).await?;
    let guard = clerk.acquire("jobs/nightly").await?;
    println!("the lock is held by token {}", guard.token());

    stop(a).await?;
    println!("server A has stopped, and the lock is {:?}", guard.state());
    guard.release().await?;
    clerk.close().await;
    stop(b).await
}

/// Takes the address, and serves in a task.
async fn start(servers: &Servers, me: ServerId) -> Result<Running, Box<dyn Error>> {
    let mut limits = Limits::default();
    limits.locks = 10_000;
    let server = Server::builder(servers.clone(), me).limits(limits); // and what else differs
    let server = server.bind().await?;
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(server.run(async {
        let _ = stopped.await; // an error: nobody can stop it any more, so it stops
    }));
    Ok((stop, serving))
}

/// Asks a server to stop; it hands over to its peer, and answers what is in flight.
async fn stop((stop, serving): Running) -> Result<(), Box<dyn Error>> {
    let _ = stop.send(()); // an error: it has stopped by itself, and says why
    serving.await??;
    Ok(())
}
