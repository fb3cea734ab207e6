//! What a server runs in: a process of its own, or a thread of this one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::task::Task;
use crate::server::{Server, ServerConfig};
use crate::testkit::{Process, wait_until};
use crate::types::ServerId;

/// How the servers of a pair are run.
#[derive(Debug, Clone)]
pub(super) enum Hosting {
    /// As processes of this program, which takes the arguments of `lockd`, and these besides.
    Processes { program: PathBuf, args: Vec<String> },
    /// Each on a thread of its own in this process.
    Threads,
}

impl Hosting {
    /// Runs a server; a process writes its log into `directory`.
    pub(super) fn run(&self, config: ServerConfig, directory: &Path) -> io::Result<Host> {
        let name = format!("server {}", config.me);
        match self {
            Self::Processes { program, args } => {
                let log = log_file(directory, config.me);
                let args = arguments(&config).chain(args.iter().cloned());
                Process::start(name, program, args, log).map(Host::Process)
            }
            Self::Threads => Task::start(name, |stop| async {
                let server = Server::bind(config).await.expect("the address is reserved");
                let stop = async { stop.await.expect("who asks for the end waits for it") };
                server.run(stop).await.expect("a server does not fail");
            })
            .map(Host::Thread),
        }
    }
}

/// Where the server's log is, if it is a process.
pub(super) fn log_file(directory: &Path, server: ServerId) -> PathBuf {
    directory.join(format!("{server}.log"))
}

/// What `lockd` is told.
fn arguments(config: &ServerConfig) -> impl Iterator<Item = String> {
    let place = match config.me {
        ServerId::A => "primary",
        _ => "backup",
    };
    let mut args = vec![place.to_owned()];
    args.extend(["--servers".to_owned(), config.servers.to_string()]);
    let addresses = [
        ("--listen", &config.listen),
        ("--peer-addr", &config.peer_addr),
    ];
    for (flag, addr) in addresses {
        args.extend(
            addr.iter()
                .flat_map(|addr| [flag.to_owned(), addr.to_string()]),
        );
    }
    let peer_timeout = humantime::format_duration(config.timing.peer_timeout);
    args.extend(["--peer-timeout".to_owned(), peer_timeout.to_string()]);
    args.extend(config.alone.then(|| "--alone".to_owned()));
    args.into_iter()
}

/// A server that was started.
#[derive(Debug)]
pub(super) enum Host {
    Process(Process),
    Thread(Task),
}

impl Host {
    pub(super) fn kill(&mut self) {
        match self {
            Self::Process(process) => drop(process.kill()),
            Self::Thread(task) => task.kill(),
        }
    }

    pub(super) fn stop(&mut self) {
        match self {
            Self::Process(process) => process.stop(),
            Self::Thread(task) => task.stop(),
        }
    }

    pub(super) fn wake(&mut self) {
        match self {
            Self::Process(process) => process.wake(),
            Self::Thread(task) => task.wake(),
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&mut self) {
        match self {
            Self::Process(process) => process.terminate(),
            Self::Thread(task) => task.terminate(),
        }
    }

    /// Waits until it has ended; fails the test if it ends otherwise than well.
    pub(super) async fn wait(&mut self, timeout: Duration) {
        match self {
            Self::Process(process) => {
                let status = process.wait(timeout).await;
                assert!(status.success(), "the server ended with {status}");
            }
            Self::Thread(task) => {
                wait_until("the end of the server", timeout, async || task.is_over()).await;
                task.kill();
            }
        }
    }
}
