//! `lockd`, the server.

pub(super) mod args;
mod cgroup;
mod descriptors;
mod logs;
mod memory;

use std::io::ErrorKind;
use std::pin::pin;
use std::process::ExitCode;

use clap::CommandFactory as _;
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use self::args::{Cli, Command};
use super::exit::{self, Exit, block_on, complain};
use super::options::print_completions;
use super::signals::StopSignals;
use lockservice::server::{BindError, Server, ServerConfig};

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    exit::main("lockd", |cli| run(&cli))
}

fn run(cli: &Cli) -> Exit {
    if let Command::Completions { shell } = cli.command {
        return match print_completions(Cli::command(), shell) {
            Ok(()) => Exit::Yes,
            Err(unwritten) => unwritten.end("lockd", Exit::Yes),
        };
    }
    if let Err(error) = logs::init(&cli.logs) {
        complain("lockd", &format!("cannot begin to log: {error}"));
        return Exit::Internal;
    }
    let mut servers = cli.servers(cgroup::memory_limit());
    if let Err(too_few) = descriptors::share(&mut servers) {
        complain("lockd", &too_few);
        return Exit::Internal;
    }
    block_on("lockd", serve(servers))
}

/// Serves until a signal comes; the second one cuts short what the first one began.
async fn serve(configs: Vec<ServerConfig>) -> Exit {
    let mut signals = match StopSignals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!("cannot catch signals: {error}");
            return Exit::Internal;
        }
    };
    let servers = match bind(configs).await {
        Ok(servers) => servers,
        Err(error) => {
            tracing::error!("{error}{}", hint(&error));
            return exit_code(&error);
        }
    };
    let stop = CancellationToken::new();
    let run = |server: Server| server.run(stop.clone().cancelled_owned());
    let mut running = pin!(try_join_all(servers.into_iter().map(run)));
    loop {
        tokio::select! {
            ended = &mut running => return match ended {
                Ok(_) => Exit::Yes,
                Err(error) => {
                    tracing::error!("{error}");
                    Exit::Internal
                }
            },
            name = signals.next() => {
                if stop.is_cancelled() {
                    tracing::warn!("{name} again: stopped at once");
                    return Exit::Yes;
                }
                tracing::info!("{name}: stopping");
                stop.cancel();
            }
        }
    }
}

const fn exit_code(error: &BindError) -> Exit {
    match error {
        BindError::NotAPair { .. } => Exit::Usage,
        _ => Exit::Unavailable,
    }
}

/// What to do about a server that cannot begin.
fn hint(error: &BindError) -> &'static str {
    let BindError::Address { source, .. } = error else {
        return "; name the same two with --servers at both";
    };
    match source.kind() {
        ErrorKind::AddrInUse => {
            "; does a server run there already? --servers names other addresses for the pair, and --listen \
             another one to bind"
        }
        ErrorKind::AddrNotAvailable => {
            "; it is not an address of this machine: --listen names the one to bind, such as 0.0.0.0:5100"
        }
        ErrorKind::PermissionDenied => "; this user may not bind it: use a port from 1024 on",
        _ => "",
    }
}

async fn bind(configs: Vec<ServerConfig>) -> Result<Vec<Server>, BindError> {
    let mut servers = Vec::new();
    for config in configs {
        let (me, pair) = (config.me, config.servers.clone());
        if let Some(memory) = config.limits.memory {
            let memory = bytesize::ByteSize::b(memory);
            tracing::info!(
                "server {me} uses at most {memory} of memory, and refuses locks before that"
            );
        }
        let server = Server::bind(config).await?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            "server {me} of the pair {pair} listens on {}",
            server.local_addr()
        );
        servers.push(server);
    }
    Ok(servers)
}
