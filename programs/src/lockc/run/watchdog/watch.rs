//! The watchdog itself, a process of its own.
//!
//! It must outlive what it guards against, so it holds all signals back that can be, is in a
//! process group of its own, and does nothing but wait for orders and the time.

use std::ffi::CString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::thread::set_name;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::countdown::{Countdown, Due};
use super::terminal;
use super::{Members, Moment, PROGRAM, WatchdogCommand};
use crate::exit::Exit;
use crate::options;

/// Says that the watchdog will survive what the command may do.
pub(super) const READY: u8 = b'r';
/// Says that the group's time is running out, and it was asked to end.
pub(super) const ENDS: u8 = b'e';

/// As much as a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

/// How often it is looked whether a group that was asked to end is gone.
const LOOK: Duration = Duration::from_millis(10);

/// The arguments of a watchdog.
#[derive(Debug, Parser)]
#[command(name = PROGRAM)]
pub(in crate::lockc::run) struct Grace {
    /// How long the command may take to end
    #[arg(value_parser = options::duration)]
    grace: Duration,
}

/// Runs the watchdog: takes orders from stdin, and reports on stdout.
pub(in crate::lockc::run) fn watch(Grace { grace }: Grace) -> Exit {
    let mut watch = WatchdogLoop {
        countdown: Countdown::new(grace),
        members: None,
        home: None,
        is_held: true,
        heard: Vec::new(),
    };
    if watch.run().is_ok() {
        return Exit::Yes;
    }
    if let Some(members) = watch.members {
        members.group().send(Signal::KILL);
    }
    Exit::Internal
}

/// What the watchdog does next.
enum Next {
    /// It waits for orders.
    Hear,
    /// It waits for orders, and for this moment.
    HearUntil(Moment),
    /// Nothing is left to do.
    End,
}

struct WatchdogLoop {
    countdown: Countdown,
    members: Option<Members>,
    /// The group that the terminal is given back to.
    home: Option<Pid>,
    /// Whether somebody has the other end.
    is_held: bool,
    /// The beginning of a line.
    heard: Vec<u8>,
}

impl WatchdogLoop {
    fn run(&mut self) -> io::Result<()> {
        SigSet::all().thread_block()?;
        let clock = Clock::new()?;
        report(READY)?;
        // Killing every `lockc` by its name is no reason to let a command run on without its lock.
        set_name(&CString::new(PROGRAM)?)?;
        loop {
            let until = match self.act()? {
                Next::Hear => None,
                Next::HearUntil(moment) => Some(moment),
                Next::End => return Ok(()),
            };
            if clock.wait(until, self.is_held)? {
                self.listen()?;
            }
        }
    }

    /// Does what is due.
    fn act(&mut self) -> io::Result<Next> {
        let now = Moment::now();
        let Some(members) = &mut self.members else {
            return Ok(if self.is_held { Next::Hear } else { Next::End });
        };
        let group = members.group();
        if !self.is_held && self.countdown.end(now) {
            group.terminate();
        }
        Ok(match self.countdown.due(now) {
            Due::Terminate => {
                self.countdown.end(now);
                // First, so that it is known why when the group is gone.
                report(ENDS)?;
                group.terminate();
                Next::HearUntil(now)
            }
            Due::Kill => {
                group.send(Signal::KILL);
                Next::End
            }
            Due::Nothing(_) if self.countdown.is_over() && members.have_ended() => Next::End,
            Due::Nothing(before) if self.countdown.is_over() => {
                Next::HearUntil(before.min(now.after(LOOK)))
            }
            Due::Nothing(before) => Next::HearUntil(before),
        })
    }

    /// Takes in all that has been said, so that no old order is acted on when there is a newer one.
    fn listen(&mut self) -> io::Result<()> {
        let mut said = vec![0; PIPE_BYTES];
        let length = rustix::io::read(io::stdin(), &mut said)?;
        self.is_held = length > 0;
        if !self.is_held {
            self.give_terminal_back();
        }
        self.heard.extend_from_slice(&said[..length]);
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            let line = str::from_utf8(&line[..end]).map_err(io::Error::other)?;
            self.obey(line.parse().map_err(io::Error::other)?);
        }
        Ok(())
    }

    /// Gives the terminal back in place of `lockc run`, which cannot any more: its shell wants to
    /// read on.
    fn give_terminal_back(&self) {
        if let (Some(members), Some(home)) = (&self.members, self.home) {
            terminal::give_back(members.group(), home);
        }
    }

    fn obey(&mut self, order: WatchdogCommand) {
        match order {
            WatchdogCommand::Hold(group) => self.members = Some(Members::of(group)),
            WatchdogCommand::Home(home) => self.home = Some(home),
            WatchdogCommand::Until(until) => self.countdown.put_off(until),
            WatchdogCommand::End => {
                if let Some(members) = &self.members
                    && self.countdown.end(Moment::now())
                {
                    members.group().terminate();
                }
            }
            WatchdogCommand::LetGo => self.members = None,
        }
    }
}

fn report(what: u8) -> io::Result<()> {
    let mut stdout = io::stdout();
    match stdout.write_all(&[what]).and_then(|()| stdout.flush()) {
        // Nobody is left to hear it, which stdin tells as well.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        reported => reported,
    }
}

/// Wakes the watchdog, at once when a suspended machine goes on.
struct Clock(OwnedFd);

impl Clock {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Waits for orders, if any may come, and `until` a moment. True when there are.
    fn wait(&self, until: Option<Moment>, may_hear: bool) -> io::Result<bool> {
        let timer = Itimerspec {
            it_interval: Moment::START.timespec(),
            // Nothing is due before the machine was started; this is how a timer is switched off.
            it_value: until.unwrap_or(Moment::START).timespec(),
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &timer)?;
        let stdin = io::stdin();
        let mut ready = [
            PollFd::new(&self.0, PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        let watched = if may_hear {
            &mut ready[..]
        } else {
            &mut ready[..1]
        };
        match poll(watched, None) {
            Ok(_) => Ok(may_hear && !ready[1].revents().is_empty()),
            // It was stopped, and goes on.
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
