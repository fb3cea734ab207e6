//! `lockc`, the command-line client.
//!
//! It has no subscriber for logs, so that stderr holds its own one line and nothing else.

pub(super) mod args;
mod bench;
mod complete;
mod latency;
mod lazy_client;
mod locks;
mod progress;
#[cfg(target_os = "linux")]
mod run;
mod session_name;
mod shell;
mod status;
mod table;
mod torture;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;

use self::args::{Cli, Command};
use self::lazy_client::{LazyClient, NOBODY_LISTENS};
use self::shell::{Executor, ShellError};
use self::status::ClusterStatus;
use self::table::terminal_width;
use super::escape::escaped;
use super::exit::{self, Exit, block_on, complain};
use super::output::answer::{self, Unwritten};
use super::signals::StopSignals;
use lockservice::clerk::{self, ServerReport};
use lockservice::service::Verb;
use lockservice::transport::{Network, Servers, SystemNetwork};
use lockservice::types::LockName;

/// Notes how this program was started, as far as `main` comes too late for it.
#[cfg(target_os = "linux")]
pub fn before_main() {
    run::note_ignored_signals();
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(code) = run::help() {
        return code;
    }
    exit::main("lockc", |cli| block_on("lockc", run(cli)))
}

async fn run(cli: Cli) -> Exit {
    let customer = LazyClient::new(cli.cluster.servers, cli.timeout);
    match cli.command {
        Command::Lock { name } => once(customer, Verb::Lock, name).await,
        Command::Unlock { name } => once(customer, Verb::Unlock, name).await,
        Command::Shell => shell(customer).await,
        Command::Ls(options) => locks::ls(customer, &options).await,
        Command::Show(options) => locks::show(customer, &options).await,
        Command::Why(options) => locks::why(customer, &options).await,
        Command::Break(options) => locks::break_lock(customer, &options).await,
        Command::Watch(options) => locks::watch(customer, &options).await,
        Command::Elect(options) => locks::elect(customer, &options).await,
        Command::Status { json } => status(customer, json).await,
        Command::Bench(options) => bench::run(&customer.servers, cli.timeout, &options).await,
        Command::Torture(options) => {
            torture::run(&customer.servers, customer.timeout, options).await
        }
        #[cfg(target_os = "linux")]
        Command::Run(options) => run::run(customer.servers, cli.timeout, options).await,
        Command::Completions { shell } => told(complete::print_script(shell), Exit::Yes),
        Command::Complete(options) => complete::complete(customer.servers, options).await,
    }
}

async fn once(mut customer: LazyClient, verb: Verb, name: LockName) -> Exit {
    match customer.call(verb, &name).await {
        Ok(outcome) => {
            let change = outcome.then(|| change(verb, &name));
            let exit = tell_outcome(outcome, change).await;
            customer.close().await;
            exit
        }
        Err(failure) => {
            complain("lockc", &failure);
            failure.exit()
        }
    }
}

/// What a call has changed that was answered with yes.
fn change(verb: Verb, name: &LockName) -> String {
    let name = escaped(name.as_str());
    match verb {
        Verb::Lock => format!("the lock `{name}` is now held"),
        Verb::Unlock => format!("the lock `{name}` is now free"),
    }
}

/// What has changed when a lock was broken.
fn broken(name: &LockName) -> String {
    let name = escaped(name.as_str());
    format!("the lock `{name}` was taken from its holder")
}

/// Answers with yes or no. `change`: what has changed, if anything has.
async fn tell_outcome(outcome: bool, change: Option<String>) -> Exit {
    let exit = if outcome { Exit::Yes } else { Exit::No };
    match (print(&outcome.to_string()).await, change) {
        (Ok(()), _) => exit,
        (Err(unwritten), Some(change)) => unwritten.end_after("lockc", &change),
        (Err(unwritten), None) => unwritten.end("lockc", exit),
    }
}

/// Carries out commands until their input ends, nobody reads the answers, or a signal comes. What
/// the shell has acquired is free when it ends.
async fn shell(customer: LazyClient) -> Exit {
    let mut signals = match StopSignals::catch_with_hang_up() {
        Ok(signals) => signals,
        Err(error) => {
            complain("lockc", &format!("cannot catch signals: {error}"));
            return Exit::Internal;
        }
    };
    let mut teller = Executor::new(customer);
    let input = BufReader::new(tokio::io::stdin());
    let exit = tokio::select! {
        biased;
        signal = signals.next() => signal.exit(),
        ended = shell::run(input, answer::write, async |order| teller.execute(order).await) => {
            match ended {
                Ok(()) => teller.exit(),
                Err(ShellError::Output(unwritten)) => unwritten.end("lockc", teller.exit()),
                Err(ShellError::Unheard { what, error }) => error.end_after("lockc", &what),
                Err(error @ ShellError::Input(_)) => {
                    complain("lockc", &error);
                    Exit::Internal
                }
            }
        }
        () = answer::reader_gone() => Exit::Yes,
    };
    teller.close().await;
    exit
}

async fn status(customer: LazyClient, json: bool) -> Exit {
    let status = ClusterStatus::new(&reports(&customer.servers, customer.timeout).await);
    let exit = if status.is_answered() {
        Exit::Yes
    } else {
        let timeout = humantime::format_duration(customer.timeout);
        let servers = &customer.servers;
        let mut told_so = format!("no server of {servers} answered within {timeout}");
        if status.is_nobody_there() {
            told_so = format!("{told_so}; {NOBODY_LISTENS}");
        }
        complain("lockc", &told_so);
        Exit::Unavailable
    };
    let printed = print_either(json, || status.json(), || status.table(terminal_width()));
    told(printed.await, exit)
}

async fn reports(servers: &Servers, timeout: Duration) -> Vec<ServerReport> {
    let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
    clerk::status(&network, servers, timeout).await
}

/// Prints the one for machines or the one for people.
async fn print_either(
    is_json: bool,
    json: impl FnOnce() -> serde_json::Result<String>,
    text: impl FnOnce() -> String,
) -> Result<(), Unwritten> {
    print(&if is_json { json()? } else { text() }).await
}

async fn print(answer: &str) -> Result<(), Unwritten> {
    answer::write(format!("{answer}\n")).await
}

/// How the program ends once it has told what it found.
fn told(written: Result<(), Unwritten>, exit: Exit) -> Exit {
    match written {
        Ok(()) => exit,
        Err(unwritten) => unwritten.end("lockc", exit),
    }
}
