//! Watches over a command while its lock is held.
//!
//! The watchdog ends the command when the lock cannot be renewed any more. This process tells it
//! how long the lock is safe, and kills the command itself should the watchdog fail.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::mem;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};
use rustix::thread::{Timespec, nanosleep};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::group::{Group, Members};
use super::launch::launch;
use super::left::LeftBehind;
use super::options::Terms;
use super::signals::{Signals, stop_job};
use super::terminal::Terminal;
use super::watchdog::{Moment, Report, Watchdog, WatchdogCommand};
use crate::death::SignalDeath;
use crate::exit::Exit;
use lockservice::clerk::{LockGuard, LossReason};

/// How often it is looked whether the last of a command's processes is gone.
const LOOK: Duration = Duration::from_millis(5);

/// How many times in a lease the watchdog is told how long the lock is safe: often, beside four
/// renewals.
const TOLD_IN_LEASE: u32 = 16;

/// Which part of a lease is kept for the kernel, which takes its time to end what was killed.
const KERNEL_MARGIN: u32 = 64;

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// How it ended.
    pub(super) exit: Exit,
    /// Why it was ended, if it was.
    pub(super) cut_short: Option<Cut>,
    /// What has left its group, and goes on without the lock.
    pub(super) left: LeftBehind,
}

/// Why a command was ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the lock was lost: {0}")]
    Lost(LossReason),
    #[error("the lock was not renewed in time")]
    NotRenewed,
    #[error("nothing would do so in time any more: {0}")]
    NoWatchdog(io::Error),
}

/// Runs `command` with `environment` while `lock` is held.
///
/// Whatever it returns, no process of the command's group is left.
///
/// # Errors
///
/// When the command cannot be started or be watched over.
pub(super) async fn supervise(
    command: &[OsString],
    environment: &[(&str, String)],
    lock: &LockGuard,
    signals: &mut Signals,
    terms: Terms,
) -> io::Result<Ended> {
    // What the command leaves behind becomes a child of this process, which waits for it. Else a
    // group may seem to live on though it has ended, where nobody else waits for orphans.
    set_child_subreaper(Some(getpid()))?;
    let mut children = signal(SignalKind::child())?;
    let watchdog = Watchdog::start(terms.grace, Instant::from_std(lock.safe_until())).await?;
    let group = launch(command, environment)?;
    let mut watch = Supervisor {
        lock,
        signals,
        terms,
        terminal: Terminal::open(),
        watchdog: Some(watchdog),
        reported_deadline: None,
        group,
        members: Members::of(group),
        phase: Phase::Launching,
        has_passed_stop_on: false,
        cut_short: None,
        kill_at: None,
    };
    loop {
        if let Some(ended) = watch.ended() {
            return Ok(ended);
        }
        watch.tell_time();
        let next = watch.next_look();
        tokio::select! {
            biased;
            why = lock.lost(), if watch.cut_short.is_none() => watch.cut(Cut::Lost(why)),
            report = next_report(&mut watch.watchdog) => watch.take_in(report).await,
            _ = children.recv() => watch.look_at_children()?,
            signal = watch.signals.next() => watch.forward_signal(signal),
            () = sleep_until(next) => watch.enforce(),
        }
    }
}

async fn next_report(watchdog: &mut Option<Watchdog>) -> Report {
    match watchdog {
        Some(watchdog) => watchdog.report().await,
        None => pending().await,
    }
}

struct Supervisor<'a> {
    lock: &'a LockGuard,
    signals: &'a mut Signals,
    terms: Terms,
    terminal: Option<Terminal>,
    watchdog: Option<Watchdog>,
    /// Until when the lock is safe, as the watchdog was told last, and when.
    reported_deadline: Option<(Instant, Instant)>,
    group: Group,
    members: Members,
    phase: Phase,
    /// Whether the command was asked to stop, as a terminal does at Ctrl-Z.
    has_passed_stop_on: bool,
    cut_short: Option<Cut>,
    /// When what is left of the group is killed, if it has to end.
    kill_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits to be continued, and is no command yet.
    Launching,
    Running,
    /// It has ended so. Others of its group may not have.
    Ended(Exit),
}

impl Supervisor<'_> {
    /// How the command ended, once its group is empty.
    fn ended(&mut self) -> Option<Ended> {
        let Phase::Ended(exit) = self.phase else {
            return None;
        };
        if !self.members.have_ended() {
            return None;
        }
        let mut is_late = Instant::now() >= self.deadline();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.tell(WatchdogCommand::LetGo);
            is_late |= watchdog.has_ended_it();
        }
        if is_late {
            self.cut_short.get_or_insert(Cut::NotRenewed);
        }
        Some(Ended {
            exit,
            cut_short: self.cut_short.take(),
            left: LeftBehind::find(),
        })
    }

    /// When nothing may run any more, unless the lock is renewed.
    fn deadline(&self) -> Instant {
        Instant::from_std(self.lock.safe_until()) - self.terms.lease / KERNEL_MARGIN
    }

    /// When to check again, if nothing happens before.
    fn next_look(&self) -> Instant {
        if self.kill_at.is_some() {
            return Instant::now() + LOOK;
        }
        let pause = self.terms.lease / TOLD_IN_LEASE;
        let told = self
            .reported_deadline
            .map_or_else(Instant::now, |(_, at)| at + pause);
        told.min(self.deadline())
    }

    /// Tells the watchdog how long the lock is safe.
    fn tell_time(&mut self) {
        // In this order: the moment then comes out earlier than it is, and not later, if it takes
        // long.
        let (moment, now) = (Moment::now(), Instant::now());
        let until = self.deadline();
        if self
            .reported_deadline
            .is_some_and(|(told, _)| told == until)
        {
            self.reported_deadline = Some((until, now));
            return;
        }
        if let Some(watchdog) = &self.watchdog {
            let left = until.saturating_duration_since(now);
            watchdog.tell(WatchdogCommand::Until(moment.after(left)));
            self.reported_deadline = Some((until, now));
        }
    }

    /// Lets the command begin, now that it is there and waits.
    fn let_begin(&mut self) {
        self.reported_deadline = None;
        self.tell_time();
        self.tell_group();
        if self.kill_at.is_some() {
            self.tell(WatchdogCommand::End);
        }
        self.phase = Phase::Running;
        self.group.send(Signal::CONT);
    }

    /// Tells the watchdog what it is there for.
    fn tell_group(&self) {
        if let Some(terminal) = &self.terminal {
            self.tell(WatchdogCommand::Home(terminal.home()));
        }
        self.tell(WatchdogCommand::Hold(self.group));
    }

    fn tell(&self, order: WatchdogCommand) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.tell(order);
        }
    }

    /// Ends the command, for the first reason that there is.
    fn cut(&mut self, why: Cut) {
        self.cut_short.get_or_insert(why);
        self.end();
    }

    /// Lets the watchdog end what is left of the group.
    fn end(&mut self) {
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + self.terms.grace);
            self.tell(WatchdogCommand::End);
        }
    }

    async fn take_in(&mut self, report: Report) {
        match report {
            Report::Ends => self.cut(Cut::NotRenewed),
            Report::Gone => self.replace_watchdog().await,
        }
    }

    /// Takes another watchdog, unless the last one has done what it is for.
    async fn replace_watchdog(&mut self) {
        self.watchdog = None;
        if self.kill_at.is_some() {
            return self.group.send(Signal::KILL);
        }
        match Watchdog::start(self.terms.grace, self.deadline()).await {
            Ok(watchdog) => {
                self.watchdog = Some(watchdog);
                self.reported_deadline = None;
                self.tell_time();
                if self.phase == Phase::Running {
                    self.tell_group();
                }
            }
            Err(error) => {
                self.group.send(Signal::KILL);
                self.cut(Cut::NoWatchdog(error));
            }
        }
    }

    /// Kills what is left when nothing may be, should the watchdog not have done so.
    fn enforce(&mut self) {
        let now = Instant::now();
        if now >= self.deadline() {
            self.cut(Cut::NotRenewed);
            self.group.send(Signal::KILL);
        } else if self.kill_at.is_some_and(|kill_at| now >= kill_at) {
            self.group.send(Signal::KILL);
        }
    }

    fn look_at_children(&mut self) -> io::Result<()> {
        while let Some((child, status)) = next_change()? {
            if child != self.group.leader() {
                continue;
            }
            match (status.stopping_signal(), self.phase) {
                (Some(_), Phase::Launching) => self.let_begin(),
                (Some(by), _) => self.stopped(by),
                (None, _) => self.has_ended(status),
            }
        }
        if matches!(self.phase, Phase::Ended(_)) && !self.members.have_ended() {
            self.end();
        }
        Ok(())
    }

    fn has_ended(&mut self, status: WaitStatus) {
        let had_terminal = self.terminal.as_mut().is_some_and(Terminal::take_back);
        self.phase = Phase::Ended(exit(status, had_terminal));
    }

    /// Does what has to follow when the command was stopped.
    fn stopped(&mut self, by: i32) {
        let for_job = mem::take(&mut self.has_passed_stop_on);
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        let wants_terminal = [Signal::TTIN, Signal::TTOU]
            .map(Signal::as_raw)
            .contains(&by);
        let was_lent = terminal.is_lent();
        if wants_terminal && terminal.lend(self.group) {
            self.group.send(Signal::CONT);
        } else if by != Signal::STOP.as_raw() || was_lent || for_job {
            terminal.take_back();
            // This tells the process that lent the terminal that it is wanted.
            let stop = [Signal::STOP, Signal::TTIN][usize::from(wants_terminal)];
            if !stop_job(stop) && wants_terminal {
                // As the kernel does to those that nobody could continue.
                self.group.send(Signal::HUP);
            }
            if was_lent {
                terminal.lend(self.group);
            }
            self.group.send(Signal::CONT);
        }
    }

    fn forward_signal(&mut self, signal: Signal) {
        self.has_passed_stop_on |= signal == Signal::TSTP;
        if signal != Signal::CONT || self.phase != Phase::Launching {
            self.group.send(signal);
        }
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        while !self.members.have_ended() {
            self.group.send(Signal::KILL);
            while let Ok(Some(_)) = next_change() {}
            let pause = Timespec::try_from(LOOK).unwrap_or_default();
            let _ = nanosleep(&pause);
        }
    }
}

/// The next child that has ended or was stopped.
fn next_change() -> io::Result<Option<(Pid, WaitStatus)>> {
    match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        Ok(change) => Ok(change),
        // There is none at all.
        Err(Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How `lockc run` ends when its command has ended so.
fn exit(status: WaitStatus, had_terminal: bool) -> Exit {
    if let Some(signal) = status.terminating_signal() {
        let is_key = [Signal::INT, Signal::QUIT].map(Signal::as_raw);
        // The key was meant for all that the shell has started together.
        return Exit::Signal(if had_terminal && is_key.contains(&signal) {
            SignalDeath::with_group(signal)
        } else {
            SignalDeath::of_this_process(signal)
        });
    }
    let code = status
        .exit_status()
        .and_then(|code| u8::try_from(code).ok());
    Exit::Code(code.unwrap_or(u8::MAX))
}
