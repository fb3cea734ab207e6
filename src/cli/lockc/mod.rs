//! `lockc`, the command-line client.
//!
//! It has no subscriber for logs, so that stderr holds its own one line and nothing else.

pub(super) mod args;
mod bench;
mod customer;
mod latency;
mod locks;
mod progress;
#[cfg(target_os = "linux")]
mod run;
mod shell;
mod status;
mod table;
mod torture;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use tokio::io::BufReader;

use self::args::{Cli, Command};
use self::customer::{Customer, NOBODY_LISTENS};
use self::shell::{ShellError, Teller};
use self::status::PairStatus;
use self::table::terminal_width;
use super::exit::{self, Exit, block_on, complain};
use super::options::print_completions;
use crate::clerk::{self, ServerReport};
use crate::net::{Network, Servers, SystemNetwork};
use crate::service::Verb;
use crate::types::LockName;

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
    exit::main(|cli| block_on("lockc", run(cli)))
}

async fn run(cli: Cli) -> Exit {
    let customer = Customer::new(cli.pair.servers, cli.timeout);
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
        Command::Completions { shell } => told(print_completions(Cli::command(), shell), Exit::Yes),
    }
}

async fn once(mut customer: Customer, verb: Verb, name: LockName) -> Exit {
    match customer.call(verb, &name).await {
        Ok(outcome) => {
            let exit = told(
                print(&outcome.to_string()),
                if outcome { Exit::Yes } else { Exit::No },
            );
            customer.close().await;
            exit
        }
        Err(failure) => {
            complain("lockc", &failure);
            failure.exit()
        }
    }
}

async fn shell(customer: Customer) -> Exit {
    let mut teller = Teller::new(customer);
    let input = BufReader::new(tokio::io::stdin());
    let ended = shell::run(input, tokio::io::stdout(), async |order| {
        teller.execute(order).await
    });
    let exit = match ended.await {
        // Whoever closes the other end of a pipe has had enough.
        Ok(()) | Err(ShellError::Output(_)) if !teller.is_unheard() => Exit::Yes,
        Ok(()) | Err(ShellError::Output(_)) => Exit::Unavailable,
        Err(error @ ShellError::Input(_)) => {
            complain("lockc", &error);
            Exit::Internal
        }
    };
    teller.close().await;
    exit
}

async fn status(customer: Customer, json: bool) -> Exit {
    let status = PairStatus::new(&reports(&customer.servers, customer.timeout).await);
    let printed = print_either(json, || status.json(), || status.table(terminal_width()));
    if status.is_answered() {
        return told(printed, Exit::Yes);
    }
    let timeout = humantime::format_duration(customer.timeout);
    let servers = &customer.servers;
    let mut told_so = format!("no server of {servers} answered within {timeout}");
    if status.is_nobody_there() {
        told_so = format!("{told_so}; {NOBODY_LISTENS}");
    }
    complain("lockc", &told_so);
    told(printed, Exit::Unavailable)
}

async fn reports(servers: &Servers, timeout: Duration) -> [ServerReport; 2] {
    let network: Arc<dyn Network> = Arc::new(SystemNetwork);
    clerk::status(&network, servers, timeout).await
}

/// Prints the one for machines or the one for people.
fn print_either(
    is_json: bool,
    json: impl FnOnce() -> serde_json::Result<String>,
    text: impl FnOnce() -> String,
) -> io::Result<()> {
    print(&if is_json { json()? } else { text() })
}

fn print(answer: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{answer}")?;
    stdout.flush()
}

/// How the program ends once its answer is written.
fn told(written: io::Result<()>, exit: Exit) -> Exit {
    match written {
        Ok(()) => exit,
        Err(error) => {
            complain("lockc", &format!("cannot write the answer: {error}"));
            Exit::Internal
        }
    }
}
