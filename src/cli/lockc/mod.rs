//! `lockc`, the command-line client.
//!
//! It has no subscriber for logs, so that stderr holds its own one line and nothing else.

mod args;
mod bench;
mod latency;
mod progress;
mod shell;
mod status;
mod torture;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use tokio::io::BufReader;
use tokio::time::{Instant, timeout_at};

use self::args::{Cli, Command};
use self::shell::{Order, ShellError};
use self::status::PairStatus;
use super::exit::{self, Exit, block_on, complain};
use super::options::print_completions;
use crate::clerk::{self, CallError, Clerk, ConnectError, ServerReport};
use crate::net::{Network, Servers, SystemNetwork};
use crate::service::Verb;
use crate::types::LockName;

/// How much later than asked for the program gives up by itself: the clerk, which can say more, comes
/// first unless connecting has taken time already.
const GRACE: Duration = Duration::from_millis(100);

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    exit::main(|cli| block_on("lockc", run(cli)))
}

async fn run(cli: Cli) -> Exit {
    let customer = Customer::new(cli.pair.servers, cli.timeout);
    match cli.command {
        Command::Lock { name } => once(customer, Verb::Lock, name).await,
        Command::Unlock { name } => once(customer, Verb::Unlock, name).await,
        Command::Shell => shell(customer).await,
        Command::Status { json } => status(customer, json).await,
        Command::Bench(options) => bench::run(&customer.servers, cli.timeout, &options).await,
        Command::Torture(options) => {
            torture::run(&customer.servers, customer.timeout, options).await
        }
        Command::Completions { shell } => told(print_completions(Cli::command(), shell), Exit::Yes),
    }
}

/// Who asks the servers: a clerk, connected when it is first needed.
struct Customer {
    servers: Servers,
    timeout: Duration,
    clerk: Option<Clerk>,
}

/// Why there is no answer to an [`Order`].
#[derive(Debug, thiserror::Error)]
enum OrderFailure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("no answer within {}; the operation may have happened", humantime::format_duration(*.0))]
    TimedOut(Duration),
}

impl OrderFailure {
    const fn exit(&self) -> Exit {
        match self {
            Self::Call(CallError::InvalidName(_)) => Exit::Usage,
            Self::Call(CallError::Closed) => Exit::Internal,
            Self::Connect(_) | Self::Call(_) | Self::TimedOut(_) => Exit::Unavailable,
        }
    }
}

impl Customer {
    const fn new(servers: Servers, timeout: Duration) -> Self {
        Self {
            servers,
            timeout,
            clerk: None,
        }
    }

    /// Carries out one order, within the timeout in all.
    async fn execute(&mut self, order: Order) -> Result<bool, OrderFailure> {
        let deadline = Instant::now() + self.timeout + GRACE;
        let clerk = self.clerk().await?;
        let name = order.name.as_str();
        let answer = timeout_at(deadline, async {
            match order.verb {
                Verb::Lock => clerk.lock(name).await,
                Verb::Unlock => clerk.unlock(name).await,
            }
        });
        match answer.await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(OrderFailure::TimedOut(self.timeout)),
        }
    }

    async fn clerk(&mut self) -> Result<Clerk, ConnectError> {
        if let Some(clerk) = &self.clerk {
            return Ok(clerk.clone());
        }
        let builder = Clerk::builder(self.servers.clone()).timeout(self.timeout);
        let clerk = builder.connect().await?;
        Ok(self.clerk.insert(clerk).clone())
    }

    async fn close(self) {
        if let Some(clerk) = self.clerk {
            clerk.close().await;
        }
    }
}

async fn once(mut customer: Customer, verb: Verb, name: LockName) -> Exit {
    match customer.execute(Order { verb, name }).await {
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

async fn shell(mut customer: Customer) -> Exit {
    let input = BufReader::new(tokio::io::stdin());
    let ended = shell::run(input, tokio::io::stdout(), async |order| {
        customer.execute(order).await
    });
    let exit = match ended.await {
        // Whoever closes the other end of a pipe has had enough.
        Ok(()) | Err(ShellError::Output(_)) => Exit::Yes,
        Err(error @ ShellError::Input(_)) => {
            complain("lockc", &error);
            Exit::Internal
        }
    };
    customer.close().await;
    exit
}

async fn status(customer: Customer, json: bool) -> Exit {
    let status = PairStatus::new(&reports(&customer.servers, customer.timeout).await);
    let printed = print_either(json, || status.json(), || status.table());
    if status.is_answered() {
        return told(printed, Exit::Yes);
    }
    let timeout = humantime::format_duration(customer.timeout);
    complain(
        "lockc",
        &format!(
            "no server of {} answered within {timeout}",
            customer.servers
        ),
    );
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
