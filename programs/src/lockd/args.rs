//! The command line of `lockd`.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::memory::{MaxMemory, max_memory};
use crate::options::{self, ClusterOptions};
use lockservice::config::Limits;
use lockservice::server::ServerConfig;
use lockservice::transport::Addr;
use lockservice::types::ServerId;

/// What is logged unless `RUST_LOG` says otherwise. tarpc tells of every request at `info`, of
/// broken channels at `warn`, without saying which, and of each request whose deadline passes at
/// `error`: any client could fill the disk with that.
const DEFAULT_FILTER: &str = "info,tarpc=error,tarpc::server::in_flight_requests=off";

const AFTER_HELP: &str = "\
Examples:
  lockd dev                                 both servers here; then: lockc run hello -- date

  export LOCK_SERVERS=10.0.0.1:5100,10.0.0.2:5100
  lockd primary                             on 10.0.0.1
  lockd backup                              on 10.0.0.2

  lockd primary --listen 0.0.0.0:5100       bind another address than the listed one

A server that was lost is started again with the command line it had: it joins as backup.

Signals:
  SIGTERM, SIGINT   stop accepting, answer what is in flight, leave the rest to the other server;
                    the second one stops at once

Exit codes:
  0    stopped on request
  2    the command line is wrong
  69   the address cannot be bound
  70   internal error";

/// A server of a lock pair
///
/// Two servers keep the same locks in memory. The primary answers once the backup has what led to
/// the answer; when one is lost, the other goes on with everything that was acknowledged.
#[derive(Debug, Parser)]
#[command(name = "lockd", version, after_help = AFTER_HELP, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    pub(super) logs: LogOptions,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server that is listed first
    ///
    /// It need not stay primary: after a failure the other one is, and this one joins it as backup.
    #[command(after_help = AFTER_HELP)]
    Primary(ServeOptions),
    /// Run the server that is listed second
    ///
    /// It need not stay backup: when the primary is lost it takes over.
    #[command(after_help = AFTER_HELP)]
    Backup(ServeOptions),
    /// Run both servers of a pair in this process, to try things out
    ///
    /// Then, in another terminal: lockc run hello -- date. Ctrl-C stops both, and the locks are
    /// gone.
    Dev(TuningOptions),
    /// Print a completion script
    ///
    /// For instance: source <(lockd completions bash)
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct LogOptions {
    /// How logs are written to stderr
    #[arg(
        long,
        value_name = "FORMAT",
        env = "LOCK_LOG",
        default_value = "text",
        global = true,
        help_heading = options::GLOBAL
    )]
    pub(super) log: LogFormat,
    /// What is logged, by module and level
    #[arg(
        long,
        value_name = "FILTER",
        env = "RUST_LOG",
        default_value = DEFAULT_FILTER,
        value_parser = filter,
        global = true,
        help_heading = options::GLOBAL
    )]
    pub(super) log_filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ServeOptions {
    /// Bind this address instead of the listed one
    ///
    /// For instance 0.0.0.0:5100, or a private address behind a proxy. Others still reach this
    /// server at its listed address.
    #[arg(long, value_name = "ADDR", env = "LOCK_LISTEN", value_parser = options::address)]
    listen: Option<Addr>,
    /// Reach the other server at this address instead of its listed one
    ///
    /// For a tunnel or a proxy between the two.
    #[arg(long, value_name = "ADDR", env = "LOCK_PEER_ADDR", value_parser = options::address)]
    peer_addr: Option<Addr>,
    /// Serve without the other server if that does not answer
    ///
    /// A server that has just started otherwise waits for it. Only for when the other one is gone
    /// for good: if it runs and cannot be reached, both will grant the same locks.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    tuning: TuningOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Timing and limits")]
pub(super) struct TuningOptions {
    /// How long the other server may be silent before it counts as dead; the same on both
    ///
    /// Too low, and a busy machine causes needless takeovers; too high, and clients wait that much
    /// longer when a server hangs. A server that dies is noticed at once.
    #[arg(
        long,
        value_name = "DURATION",
        env = "LOCK_PEER_TIMEOUT",
        default_value = "1s",
        value_parser = options::duration,
        allow_hyphen_values = true
    )]
    peer_timeout: Duration,
    /// How long a client's session outlives its last request
    #[arg(
        long,
        value_name = "DURATION",
        env = "LOCK_RECORD_TTL",
        default_value = "10m",
        value_parser = options::duration,
        allow_hyphen_values = true
    )]
    record_ttl: Duration,
    /// How long at most to poll for the next message before the thread parks, while trials show
    /// that more gets done so; 0 for never
    ///
    /// It makes calls quicker where few are made at a time, and keeps a core busy while they are.
    /// `lockc status --json` tells how long the server polls now.
    #[arg(
        long,
        value_name = "DURATION",
        env = "LOCK_BUSY_POLL",
        default_value = "500us",
        value_parser = busy_poll,
        allow_hyphen_values = true
    )]
    busy_poll: Duration,
    /// Connections of clients at a time
    #[arg(
        long,
        value_name = "COUNT",
        env = "LOCK_MAX_CONNECTIONS",
        default_value_t = Limits::default().connections,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000)
    )]
    max_connections: usize,
    /// Unanswered calls of all clients
    #[arg(
        long,
        value_name = "COUNT",
        env = "LOCK_MAX_CALLS",
        default_value_t = Limits::default().calls,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000)
    )]
    max_calls: usize,
    /// Sessions: of clients that are connected, or ended without closing them
    #[arg(
        long,
        value_name = "COUNT",
        env = "LOCK_MAX_CLIENTS",
        default_value_t = Limits::default().clients,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    max_clients: u64,
    /// How much memory this server may use, such as 512MiB; the same on both servers
    ///
    /// From it follows how much locks and clients may take: what there is no room for is refused,
    /// and nothing held is lost. `auto`: as much as the control group has; `none`: no limit. With
    /// less than 24MiB there is no room for locks. `lockd dev` shares it out to its two servers.
    #[arg(
        long,
        value_name = "SIZE",
        env = "LOCK_MAX_MEMORY",
        default_value = "auto",
        value_parser = max_memory
    )]
    max_memory: MaxMemory,
    /// Held locks, and places of sessions at locks, together; one that is owned is both. A plain
    /// one takes some 100 bytes and its name, an owned one some 370
    #[arg(
        long,
        value_name = "COUNT",
        env = "LOCK_MAX_LOCKS",
        default_value_t = Limits::default().locks,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    max_locks: u64,
}

impl Cli {
    /// The servers to run; none for a command that runs no server. `group`: the memory that the
    /// control group of this process has, in bytes.
    pub(super) fn servers(&self, group: Option<u64>) -> Vec<ServerConfig> {
        let mut servers = match &self.command {
            Command::Primary(options) => vec![self.server(ServerId::A, options)],
            Command::Backup(options) => vec![self.server(ServerId::B, options)],
            Command::Dev(tuning) => ServerId::BOTH.map(|me| self.tuned(me, tuning)).into(),
            Command::Completions { .. } => vec![],
        };
        let each = self.max_memory().bytes(group);
        let each = each.map(|memory| memory / servers.len().max(1) as u64);
        for server in &mut servers {
            server.limits.memory = each;
        }
        servers
    }

    const fn max_memory(&self) -> MaxMemory {
        match &self.command {
            Command::Primary(options) | Command::Backup(options) => options.tuning.max_memory,
            Command::Dev(tuning) => tuning.max_memory,
            Command::Completions { .. } => MaxMemory::Unlimited,
        }
    }

    fn server(&self, me: ServerId, options: &ServeOptions) -> ServerConfig {
        let mut config = self.tuned(me, &options.tuning);
        config.listen.clone_from(&options.listen);
        config.peer_addr.clone_from(&options.peer_addr);
        config.alone = options.alone;
        config
    }

    fn tuned(&self, me: ServerId, tuning: &TuningOptions) -> ServerConfig {
        let mut config = ServerConfig::new(self.cluster.servers.clone(), me);
        config.timing.peer_timeout = tuning.peer_timeout;
        config.timing.session_time_to_live = tuning.record_ttl;
        config.timing.busy_poll = tuning.busy_poll;
        config.limits.connections = tuning.max_connections;
        config.limits.calls = tuning.max_calls;
        config.limits.clients = tuning.max_clients;
        config.limits.locks = tuning.max_locks;
        config
    }
}

/// Why a text does not say how long to poll.
#[derive(Debug, PartialEq, thiserror::Error)]
enum BusyPollError {
    #[error(transparent)]
    Malformed(#[from] options::DurationError),
    #[error("it must be at most 10ms, for a core is kept busy that long; write 500us, or 0")]
    TooLong,
}

fn busy_poll(text: &str) -> Result<Duration, BusyPollError> {
    match options::span(text)? {
        duration if duration > Duration::from_millis(10) => Err(BusyPollError::TooLong),
        duration => Ok(duration),
    }
}

/// Checks a filter. An empty one, as a variable that is set to nothing gives, means the default.
fn filter(text: &str) -> Result<String, ParseError> {
    let text = if text.is_empty() {
        DEFAULT_FILTER
    } else {
        text
    };
    EnvFilter::builder().parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use lockservice::config::BUSY_POLL;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        options::tests::parse(line)
    }

    fn only(line: &str) -> ServerConfig {
        let mut servers = parse(line).expect("it parses").servers(None);
        assert_eq!(servers.len(), 1);
        servers.remove(0)
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn primary_is_the_first_server_and_backup_the_second() {
        assert_eq!(only("lockd primary").me, ServerId::A);
        assert_eq!(only("lockd backup").me, ServerId::B);
        let dev = parse("lockd dev").expect("it parses").servers(None);
        assert_eq!(
            dev.iter().map(|server| server.me).collect::<Vec<_>>(),
            ServerId::BOTH
        );
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let server = only("lockd primary");
        let default = ServerConfig::new(server.servers.clone(), ServerId::A);
        assert_eq!(server.servers, lockservice::transport::Servers::default());
        let mut timing = default.timing;
        timing.busy_poll = BUSY_POLL; // `lockd` has its thread for itself
        assert_eq!((server.timing, server.limits), (timing, default.limits));
        assert_eq!(
            (server.listen, server.peer_addr, server.alone),
            (None, None, false)
        );
    }

    #[test]
    fn every_option_of_a_server_arrives() {
        let server = only(
            "lockd backup --servers a:1,unix:/b --listen 0.0.0.0:2 --peer-addr c:3 --alone \
             --peer-timeout 500ms --record-ttl 1m --max-connections 1 --max-calls 2 --max-clients 3 \
             --max-locks 4 --busy-poll 20us",
        );
        assert_eq!(server.servers.to_string(), "a:1,unix:/b");
        assert_eq!(server.listen, Some(Addr::Tcp("0.0.0.0:2".to_owned())));
        assert_eq!(server.peer_addr, Some(Addr::Tcp("c:3".to_owned())));
        assert!(server.alone);
        assert_eq!(server.timing.peer_timeout, Duration::from_millis(500));
        assert_eq!(server.timing.session_time_to_live, Duration::from_mins(1));
        assert_eq!(server.timing.busy_poll, Duration::from_micros(20));
        let Limits {
            connections,
            calls,
            clients,
            locks,
            ..
        } = server.limits;
        assert_eq!((connections, calls, clients, locks), (1, 2, 3, 4));
    }

    #[test]
    fn options_of_both_programs_stand_before_or_after_the_command() {
        for line in [
            "lockd --servers a:1,b:2 primary",
            "lockd primary --servers a:1,b:2",
        ] {
            assert_eq!(only(line).servers.to_string(), "a:1,b:2");
        }
        let cli = parse("lockd dev --log json --log-filter debug").expect("it parses");
        assert_eq!(
            (cli.logs.log, cli.logs.log_filter.as_str()),
            (LogFormat::Json, "debug")
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "lockd",
            "lockd leader",
            "lockd primary --peer-timeout 0s",
            "lockd primary --peer-timeout 0",
            "lockd primary --servers a:1",
            "lockd primary --servers a:1,a:1",
            "lockd primary --listen nowhere",
            "lockd primary --max-locks 0",
            "lockd primary --max-memory 1MiB",
            "lockd primary --max-memory much",
            "lockd primary --busy-poll 1s",
            "lockd primary --busy-poll 60",
            "lockd primary --log xml",
            "lockd primary --log-filter a=b=c",
            "lockd dev --alone",
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
    }

    #[test]
    fn a_server_need_not_poll() {
        let server = only("lockd primary --busy-poll 0");
        assert_eq!(server.timing.busy_poll, Duration::ZERO);
    }

    #[test]
    fn the_memory_is_that_of_the_control_group_unless_it_is_given() {
        let memory = |line: &str, group| {
            let servers = parse(line).expect(line).servers(group);
            servers[0].limits.memory
        };
        assert_eq!(memory("lockd primary", Some(1 << 30)), Some(1 << 30));
        assert_eq!(memory("lockd primary", None), None);
        assert_eq!(memory("lockd dev", Some(1 << 30)), Some(1 << 29));
        let line = "lockd primary --max-memory 64MiB";
        assert_eq!(memory(line, Some(1 << 30)), Some(64 << 20));
        assert_eq!(
            memory("lockd primary --max-memory none", Some(1 << 30)),
            None
        );
    }

    #[test]
    fn an_empty_filter_is_the_default() {
        assert_eq!(filter("").expect("it parses"), DEFAULT_FILTER);
    }
}
