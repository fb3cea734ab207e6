//! The watchdog: a process beside the command that ends it in time, whatever becomes of
//! `lockc run`.
//!
//! `lockc run` holds one end of a pipe, and tells through it which group it watches, and until when
//! that may run. When that moment draws near and was not put off, or the pipe breaks, the watchdog
//! ends the group: SIGTERM, and SIGKILL after the grace, or when the time is over if that comes
//! first. So a command is gone before the lease of its lock can end, also when `lockc run` was
//! killed, or stopped, or hangs.
//!
//! It keeps the time by the clock that goes on while the machine is suspended.

mod countdown;
mod handle;
mod watch;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::Pid;
use rustix::time::{ClockId, Timespec, clock_gettime};

pub(super) use self::handle::{Report, Watchdog};
pub(super) use self::watch::watch;
use super::group::{Group, Members};
use super::terminal;

/// What this program is called when it is a watchdog.
pub(super) const PROGRAM: &str = "lock-watchdog";

/// A moment that means the same to all processes of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    /// When the machine was started.
    pub(super) const START: Self = Self(Duration::ZERO);

    pub(super) fn now() -> Self {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
        let part = |number: i64| u64::try_from(number).unwrap_or(0);
        Self(Duration::from_secs(part(tv_sec)) + Duration::from_nanos(part(tv_nsec)))
    }

    pub(super) const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    pub(super) const fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }

    fn timespec(self) -> Timespec {
        Timespec {
            tv_sec: i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: self.0.subsec_nanos().into(),
        }
    }
}

/// What the watchdog is told, one a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchdogCommand {
    /// It watches this group.
    Hold(Group),
    /// This group has the terminal when the command's has it no more.
    Home(Pid),
    /// It may run until then.
    Until(Moment),
    /// End it.
    End,
    /// It is gone.
    LetGo,
}

impl fmt::Display for WatchdogCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(group) => write!(f, "hold {}", group.leader()),
            Self::Home(group) => write!(f, "home {group}"),
            Self::Until(Moment(since_start)) => write!(f, "until {}", since_start.as_nanos()),
            Self::End => f.write_str("end"),
            Self::LetGo => f.write_str("let go"),
        }
    }
}

/// A line is no [`WatchdogCommand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an order to a watchdog")]
pub(super) struct WatchdogCommandError;

impl FromStr for WatchdogCommand {
    type Err = WatchdogCommandError;

    fn from_str(line: &str) -> Result<Self, WatchdogCommandError> {
        let order = match line.split_once(' ') {
            Some(("hold", number)) => number
                .parse()
                .ok()
                .and_then(Group::from_raw)
                .map(Self::Hold),
            Some(("home", number)) => number.parse().ok().and_then(Pid::from_raw).map(Self::Home),
            Some(("until", nanos)) => nanos
                .parse()
                .ok()
                .map(|nanos| Self::Until(Moment(Duration::from_nanos(nanos)))),
            Some(("let", "go")) => Some(Self::LetGo),
            None if line == "end" => Some(Self::End),
            _ => None,
        };
        order.ok_or(WatchdogCommandError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_understood_as_it_was_given() {
        let group = Group::from_raw(17).expect("a number");
        for order in [
            WatchdogCommand::Hold(group),
            WatchdogCommand::Home(group.leader()),
            WatchdogCommand::Until(Moment::now()),
            WatchdogCommand::End,
            WatchdogCommand::LetGo,
        ] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for line in [
            "", "hold", "hold 0", "hold x", "home 0", "until ", "until -1", "end it",
        ] {
            assert_eq!(
                line.parse::<WatchdogCommand>(),
                Err(WatchdogCommandError),
                "{line}"
            );
        }
    }
}
