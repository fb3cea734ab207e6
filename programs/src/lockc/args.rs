//! The command line of `lockc`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};
use clap_complete::Shell;

use super::complete::CompleteOptions;
use super::locks::{BreakOptions, ElectOptions, LsOptions, ShowOptions, WatchOptions, WhyOptions};
#[cfg(target_os = "linux")]
use super::run::RunOptions;
use crate::options::{self, ClusterOptions};
use lockservice::types::LockName;

const EXAMPLES: &str = "\
Examples:
  lockc run jobs/nightly -- ./nightly       wait for the lock, run the job, free the lock
  lockc run -n jobs/nightly -- ./nightly    only if nobody else runs it
  lockc show jobs/nightly                   who holds it, by which token, and who waits
  lockc status                              is the pair ready for a failure?";

const MORE_HELP: &str = "\
  lockc elect leaders/mail                  be the leader until interrupted
  lockc lock flags/frozen                   a lock that belongs to nobody: it stays held
  lockc unlock flags/frozen                 when its locker ends, and anyone can unlock it
  lockc lock -- -odd-name                   a name that begins with a hyphen
  lockc status --json | jq .whole
  printf 'acquire a\\nrelease a\\n' | lockc shell
  lockc torture --duration 5m               is every answer right, whatever fails meanwhile?

Exit codes:
  0    yes: granted, released; show: held; why: no deadlock; elect: resigned;
       status: a server answered; torture: every answer was right
  1    no: held by someone, or not held; why: a deadlock; elect: stopped before it was elected;
       torture: an answer was wrong
  2    the command line is wrong
  69   no server could answer in time; shell: none answered any of its commands
  70   internal error
  74   the answer could not be written, to a full disk for instance; or it could not because its reader
       has gone, and something was changed (a lock is now held or free): stderr says what
  75   elect: the leadership was lost; run: the lock was lost while the command ran

lockc run ends as its command does; `lockc run --help` tells of its own codes.
A duration is written 500ms, 2s or 1m, or in seconds without a unit: 30 or 0.5.";

#[cfg(target_os = "linux")]
const RUN_EXAMPLES: &str = "\
Examples:
  lockc run jobs/nightly -- ./nightly --all       wait for the lock, then run the job
  lockc run -n jobs/nightly -- ./nightly          not if somebody else holds the lock
  lockc run -w 30 -E 75 jobs/nightly -- ./nightly wait for 30 s at most, exit 75 if that was too short
  lockc run -s db/schema -- ./read                hold it together with others that share it
  lockc run --permits 3 api/calls -- ./call       up to three at a time
  lockc run a -- sh -c 'one; two'                 several commands

Everything after `--` is the command and its arguments.";

/// A client of a lock pair
///
/// Asks whichever server answers. Each command is executed once, however often it has to be
/// retried.
#[derive(Debug, Parser)]
#[command(
    name = "lockc",
    version,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n{MORE_HELP}"),
    subcommand_required = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(super) cluster: ClusterOptions,
    /// How long to try before giving up; in a shell, for each command
    #[arg(
        long,
        value_name = "DURATION",
        env = "LOCK_TIMEOUT",
        default_value = "10s",
        value_parser = options::duration,
        allow_hyphen_values = true,
        global = true,
        help_heading = options::GLOBAL
    )]
    pub(super) timeout: Duration,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a command while a lock is held
    ///
    /// Waits for its turn, holds the lock for the command, and releases it when the command has
    /// ended; exits with the command's code, or dies of the signal that ended it, which a shell
    /// tells as 128 and its number. On a terminal it says what it waits for. The command finds
    /// `LOCK_NAME`, `LOCK_TOKEN` (for what refuses a late holder) and `LOCK_SESSION` in its
    /// environment.
    ///
    /// The lock is lost when the servers cannot be reached for a lease. The command is ended before
    /// others can have it, with SIGTERM, and SIGKILL after the grace; also when this program is
    /// killed or stopped. Signals are passed on to the command's process group; what it leaves
    /// behind in that group when it ends is ended as well. What leaves that group, as with
    /// `setsid`, is not waited for: it goes on without the lock.
    ///
    /// Exit code 1, or that of -E: the lock is held by others, and a line on stderr says by whom
    /// (none with -E 0); 2: the command line is wrong, or the lock is held around this very
    /// command, which would wait for itself; 69: no server could answer in time; 75: the lock was
    /// lost while the command ran; 126 and 127: the command cannot be executed, or was not found.
    #[cfg(target_os = "linux")]
    #[command(
        after_help = RUN_EXAMPLES,
        override_usage = "lockc run [OPTIONS] <NAME> -- <COMMAND> [ARGUMENT]..."
    )]
    Run(RunOptions),
    /// Take a lock that belongs to nobody, and do not wait: prints true, or false if it was held
    ///
    /// It stays held when this program ends, until `lockc unlock`; by anybody. To hold a lock for a
    /// command, use `lockc run`.
    Lock {
        /// The lock: 1 to 1,024 bytes of UTF-8
        name: LockName,
    },
    /// Free a lock: prints true when it was held and is now free, false when it was free
    Unlock {
        /// The lock: 1 to 1,024 bytes of UTF-8
        name: LockName,
    },
    /// Show which locks are held, by whom, and how many wait
    ///
    /// Prints a row for each holder, at most 256 of one lock, sorted by name. HOLDER is the
    /// beginning of the client's id and the number of its session, or nobody for a lock of `lockc
    /// lock`. A lock that is taken or released meanwhile may be missing.
    Ls(LsOptions),
    /// Show who holds a lock, and who waits for it
    ///
    /// Prints the holders, each with its token and since when it has held the lock (by the servers'
    /// clock, and how long ago that is by the clock here), then the queue in its order; at most 256
    /// in all. Exit code 0 when the lock is held, 1 when it is free.
    Show(ShowOptions),
    /// Show who waits for whom, and name a deadlock
    ///
    /// Goes from the lock to those who hold it, to the locks that their sessions wait for, and so
    /// on. Exit code 0 when they do not wait for each other in a circle, 1 when they do: a
    /// deadlock, which ends when one of them gives up, or when one of its locks is broken.
    ///
    /// The servers know sessions, not the tasks within: a session that holds and waits in two tasks
    /// may still go on. One that waits for a lock that it holds itself is shown, and does not count
    /// as a deadlock.
    Why(WhyOptions),
    /// Take a lock from its holder: prints true when it was held by that token, false when it was
    /// not
    ///
    /// The holder is notified, and the lock is granted to the next waiter. That does not stop the
    /// holder: only a resource that checks tokens refuses its late writes. For a lock that belongs
    /// to nobody, use `lockc unlock`.
    Break(BreakOptions),
    /// Print a line for each change of a lock, until interrupted
    ///
    /// Inspects the locks at intervals and compares, so it misses a change that is undone in
    /// between. It begins with what is held. Events: granted, ended (released, broken, or its lease
    /// is over: an inspection cannot tell), queued, left (the queue), and locked and unlocked for a
    /// lock that belongs to nobody. While no server answers it says so on stderr and goes on. It
    /// ends with exit code 0 when it is interrupted, or when nobody reads its output any more.
    Watch(WatchOptions),
    /// Be the leader: wait for a lock, and hold it until told to stop
    ///
    /// Prints `leader TOKEN` when it has been elected; the token rises with every leader. SIGINT,
    /// SIGTERM and SIGHUP make it resign, and so does the end of the program that reads its output.
    /// Exit code 0 when it has resigned; 1 when it was stopped before it was elected; 75 when the
    /// leadership was lost: no server answered for a lease, or the lock was broken.
    Elect(ElectOptions),
    /// Carry out commands from stdin, one a line: `acquire NAME`, `release NAME`, ...; `help` names
    /// them
    ///
    /// acquire NAME: waits for the lock, for --timeout at most, and answers with its token; the
    /// lines behind it wait as well. lock NAME, unlock NAME: as the commands of that name. try
    /// NAME: answers with the token, or false when others hold the lock. permit N NAME and
    /// try-permit N NAME: the same for one of N permits; a shell can hold several. elect NAME:
    /// stands for election, for --timeout at most, and answers with the token of the leader.
    /// release NAME: gives back what this shell has acquired, the last first, or resigns.
    /// break NAME TOKEN REASON: as `lockc break`; this NAME has no blanks.
    ///
    /// ls PREFIX, show NAME and why NAME: answer with the JSON of `lockc ls --json`, and so on.
    /// watch PREFIX: answers with what has changed since this shell was last asked to watch this
    /// prefix, an array of the objects of `lockc watch --json`: as soon as there is something, or
    /// an empty one after --timeout; the first time, at once with what is held. It inspects every
    /// second, and at least four times within the timeout. A shell watches at most 64 prefixes.
    /// Without a PREFIX, all locks are watched.
    ///
    /// Each is answered with one line, in order: `true`, `false`, a token, JSON, or `error: WHY`. A
    /// name or a prefix is the rest of its line, without blanks at its ends. Empty lines are passed
    /// over. Ends at the end of the input, with exit code 0; 69 when no server answered any of its
    /// commands, 70 when the input could not be read, 128 and the number of a signal (SIGINT,
    /// SIGTERM, SIGHUP) that ended it. It also ends when nobody reads its answers any more. At its
    /// end it releases what it still holds. If a lock was lost meanwhile (no server answered for
    /// 10s, or it was broken), its release says so.
    Shell,
    /// Show how each server sees itself and its peer
    ///
    /// The pair is whole when one server is primary, the other is its backup, and neither is
    /// unconfirmed: then it survives the loss of either. Exit code 0 when a server answered, 69
    /// when none did.
    Status {
        /// Print JSON
        ///
        /// { "whole": bool, "servers": [ { "address", "reachable", "role", "view", "op", ... } ] }
        #[arg(long)]
        json: bool,
    },
    /// Measure how quickly the pair answers, and the processor time that its servers use
    ///
    /// Locks and unlocks without a pause, each call in flight with a lock of its own; frees them at
    /// the end. It loads the servers as much as it can: their other clients notice.
    Bench(BenchOptions),
    /// Load the pair, and check that every answer is right
    ///
    /// Many clerks lock and unlock at random: a few hot locks, which all of them want, and many
    /// cold ones. Kill, stop and restart servers meanwhile, one at a time, if you like: as long as
    /// the pair is whole again before the next failure, no answer may be wrong. The locks have
    /// names that nobody else uses, and are freed at the end.
    ///
    /// Right means linearizable: each call took effect at one moment between its start and its end,
    /// once, and no lock was granted while it was held. Exit code 0 when every answer was right, 1
    /// when one was not (the calls that show it are in the history file), 69 when no server
    /// answered at all. Calls that failed are counted, and are not wrong. SIGINT ends it early.
    Torture(TortureOptions),
    /// Print a completion script
    ///
    /// For bash and zsh, in ~/.bashrc or ~/.zshrc (there after compinit):
    ///
    /// source <(lockc completions bash)
    ///
    /// For fish, in ~/.config/fish/config.fish: lockc completions fish | source
    ///
    /// In these three, names of locks are completed too, as the servers of the line or of
    /// `LOCK_SERVERS` list them within a second or `LOCK_COMPLETION_TIMEOUT` (at most 1,000, those
    /// that can be printed), and the command of `lockc run` as it is without `lockc`. When no
    /// server answers, no names are offered.
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Complete a command line, for a shell
    #[command(name = "__complete", hide = true)]
    Complete(CompleteOptions),
}

/// What to measure.
#[derive(Debug, Args)]
pub(super) struct BenchOptions {
    /// Acquire and release owned locks, instead of locking and unlocking
    #[arg(long)]
    pub(super) owned: bool,
    /// How many clerks, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(super) clerks: u32,
    /// How many calls each clerk has in flight
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=4_096))]
    pub(super) in_flight: u32,
    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = options::duration, allow_hyphen_values = true)]
    pub(super) duration: Duration,
    /// How long to load the servers before that
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = options::duration, allow_hyphen_values = true)]
    pub(super) warm_up: Duration,
    /// Print JSON, with latencies in microseconds
    #[arg(long)]
    pub(super) json: bool,
}

/// How hard, and for how long.
#[derive(Debug, Args)]
pub(super) struct TortureOptions {
    /// How many clerks, each with its own connections
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(super) clerks: u32,
    /// How many calls each clerk has in flight
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(super) in_flight: u32,
    /// How many locks; up to four of them are hot, and take half of the calls
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(super) locks: u32,
    /// How many more clerks that acquire owned locks, three of them, and check that nobody else
    /// holds them; or, of the third, which has two permits, that no more than one does. Now and
    /// then they break one of them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(0..=1_000))]
    pub(super) owners: u32,
    /// How long to go on
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = options::duration, allow_hyphen_values = true)]
    pub(super) duration: Duration,
    /// What the names of the locks begin with; something that nobody else uses follows
    #[arg(long, value_name = "TEXT", default_value = "lockc-torture")]
    pub(super) prefix: String,
    /// Draw the calls from this number, which is printed, instead of a random one
    #[arg(long, value_name = "NUMBER")]
    pub(super) seed: Option<u64>,
    /// Where to write the calls that show a wrong answer, if there is one
    #[arg(long, value_name = "FILE", default_value = "lockc-torture.history")]
    pub(super) history: PathBuf,
    /// Print JSON, with latencies in microseconds
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        options::tests::parse(line)
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_default_timeout_is_that_of_the_library() {
        let cli = parse("lockc shell").expect("it parses");
        assert_eq!(cli.timeout, lockservice::config::CALL_TIMEOUT);
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        for line in [
            "lockc --servers a:1,b:2 --timeout 2s lock x",
            "lockc lock x --servers a:1,b:2 --timeout 2s",
        ] {
            let cli = parse(line).expect("it parses");
            assert_eq!(cli.cluster.servers.to_string(), "a:1,b:2");
            assert_eq!(cli.timeout, Duration::from_secs(2));
            assert!(matches!(cli.command, Command::Lock { name } if name.as_str() == "x"));
        }
    }

    #[test]
    fn the_short_help_leads_with_run_and_fits_a_screen() {
        let help = help("lockc -h");
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
        assert!(at("Commands:\n  run ") < at("\n  lock "), "{help}");
        assert!(at("Examples:\n  lockc run ") < at("lockc show"), "{help}");
        assert!(at("Global options:") > at("Commands:"), "{help}");
        assert!(!help.contains("Exit codes:"), "{help}");
        assert!(help.lines().count() <= 45, "{help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }

    #[test]
    fn the_long_help_tells_the_exit_codes_too() {
        let help = help("lockc --help");
        assert!(help.contains("Exit codes:"), "{help}");
        assert!(help.contains("Examples:\n  lockc run "), "{help}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_help_of_run_shows_the_hyphens_before_the_command_and_examples() {
        for line in ["lockc run -h", "lockc run --help"] {
            let help = help(line);
            assert!(
                help.contains("Usage: lockc run [OPTIONS] <NAME> -- <COMMAND>"),
                "{help}"
            );
            assert!(
                help.contains("\n  lockc run jobs/nightly -- ./nightly"),
                "{help}"
            );
        }
    }

    #[test]
    fn options_of_every_command_stand_under_a_heading_of_their_own() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let help = help(&format!("lockc {name} -h"));
            let (own, global) = help.split_once("Global options:").expect(name);
            for option in ["--servers", "--timeout"] {
                assert!(!own.contains(option) && global.contains(option), "{help}");
            }
        }
    }

    fn help(line: &str) -> String {
        let error = parse(line).expect_err(line);
        assert!(!error.use_stderr(), "{line}: {error}");
        error.to_string()
    }

    #[test]
    fn a_name_may_begin_with_a_hyphen() {
        let cli = parse("lockc unlock -- -x").expect("it parses");
        assert!(matches!(cli.command, Command::Unlock { name } if name.as_str() == "-x"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long = format!("lockc lock {}", "x".repeat(LockName::MAX_BYTES + 1));
        for line in [
            "lockc",
            "lockc lock",
            "lockc lock a b",
            "lockc lock ",
            "lockc --timeout 0s lock a",
            "lockc status --yaml",
            "lockc torture --clerks 0",
            "lockc torture --duration 0",
            long.as_str(),
        ] {
            assert!(parse(line).expect_err(line).use_stderr(), "{line}");
        }
    }
}
