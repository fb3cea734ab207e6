//! A holder is stopped for longer than its lease, between looking at its lock and writing. Another
//! one takes over, and the late write of the first one is refused, by its fencing token.
//!
//! ```text
//! cargo run --locked --example paused_holder
//! ```
//!
//! The servers and the second holder are in this process. The first holder is a process of its own,
//! this program once more, and it is really stopped (`SIGSTOP`). What both write is a file, behind
//! a [`FileGate`].

use std::error::Error;
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use lockservice::fencing::{FileGate, GateError};
use lockservice::testkit::{Pair, PairOptions, Process};
use lockservice::{Clerk, Servers, Token};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};

/// Short, so that it is soon over.
const LEASE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => second_holder().await,
        ["first", servers, directory] => first_holder(servers.parse()?, directory.as_ref()).await,
        // `cargo test` runs this as a test, and passes on which ones are meant.
        _ => Ok(()),
    }
}

/// What both do with the lock: each write goes through the gate, with the token of whoever writes.
fn write(directory: &Path, token: Token, text: &str) -> Result<(), GateError> {
    let gate = FileGate::new(directory.join("report.fence"));
    gate.write(token, || fs::write(directory.join("report"), text))
}

/// Acquires the lock, and is stopped just before it writes.
async fn first_holder(servers: Servers, directory: &Path) -> Result<(), Box<dyn Error>> {
    let clerk = Clerk::builder(servers).lease(LEASE).connect().await?;
    let guard = clerk.acquire("report").await?;
    let token = guard.token();

    // It looks, and the lock is its own. Then its machine is suspended, or its memory swapped out,
    // or somebody types `kill -STOP`. It does not run, so nothing renews its lease.
    println!("first:  by token {token}, the lock is {:?}", guard.state());
    kill_process(getpid(), Signal::STOP)?;

    // It goes on where it was, and does not know. To look once more would only move the place where
    // it is stopped.
    match write(directory, token, "by the first") {
        Err(GateError::Stale(stale)) => println!("first:  writes, and is refused: {stale}"),
        other => return Err(format!("it was not refused: {other:?}").into()),
    }
    println!("first:  by token {token}, the lock is {:?}", guard.state());
    Ok(())
}

/// Starts a pair and the first holder, takes over when the first one's lease is over, and wakes it
/// up.
async fn second_holder() -> Result<(), Box<dyn Error>> {
    let pair = Pair::start(PairOptions::threads()).await; // yours: `lockd primary` and `lockd backup`
    let clerk = Clerk::connect(pair.servers().clone()).await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path();

    let (program, servers) = (env::current_exe()?, pair.servers().to_string());
    let args = ["first".as_ref(), servers.as_ref(), path.as_os_str()];
    let mut first = Process::start("the first holder", &program, args, path.join("first.log"))?;
    wait_until_it_stops(&first)?;
    let told = first.log();
    print!("{told}");
    println!("        and is stopped");

    let guard = clerk.acquire("report").await?;
    let token = guard.token();
    println!("second: by token {token}, the lock is {:?}", guard.state());
    write(path, token, "by the second")?;
    println!("second: writes");

    first.wake();
    let ended = first.wait(Duration::from_secs(30)).await;
    print!("{}", &first.log()[told.len()..]);
    let report = fs::read_to_string(path.join("report"))?;
    println!("the report was written {report}");
    guard.release().await?;
    if !ended.success() {
        return Err("the first holder failed".into());
    }
    Ok(())
}

/// It stops by itself, unless something goes wrong and it ends.
fn wait_until_it_stops(process: &Process) -> Result<(), Box<dyn Error>> {
    let pid = Pid::from_raw(process.id().try_into()?).ok_or("no process")?;
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options)?;
    Ok(())
}
