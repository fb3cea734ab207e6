//! Watches over a command while its lock is held.
//!
//! The leash ends the command when the lock cannot be renewed any more. This process tells it how long the
//! lock is safe, and kills the command itself should the leash fail.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::group::Group;
use super::launch::launch;
use super::leash::{Leash, Moment, Order, Report};
use super::options::Terms;
use super::signals::{Signals, exit_code, stop_job};
use super::terminal::Terminal;
use crate::clerk::{LockGuard, LossReason};

/// How often it is looked whether the last of a command's processes is gone.
const LOOK: Duration = Duration::from_millis(5);

/// The leash is told so many times in a lease how long the lock is safe: often, beside renewals, of which
/// there are four.
const TOLD_IN_LEASE: u32 = 16;

/// Which part of a lease is kept for the kernel, which takes its time to end what was killed.
const KERNEL_MARGIN: u32 = 64;

/// What came of a command.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code, or 128 and the number of the signal that ended it.
    pub(super) code: u8,
    /// Why it was ended, if it was.
    pub(super) cut_short: Option<Cut>,
}

/// Why a command was ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error("the lock was lost: {0}")]
    Lost(LossReason),
    #[error("the lock was not renewed in time")]
    NotRenewed,
    #[error("nothing would do so in time any more: {0}")]
    NoLeash(io::Error),
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
    // What the command leaves behind becomes a child of this process, which waits for it. Else a group may
    // seem to live on though it has ended, where nobody else waits for orphans.
    set_child_subreaper(Some(getpid()))?;
    let mut children = signal(SignalKind::child())?;
    let mut watch = Watch {
        lock,
        signals,
        terms,
        terminal: Terminal::open(),
        leash: Some(Leash::start(terms.grace, lock.safe_until()).await?),
        told: None,
        group: launch(command, environment)?,
        phase: Phase::Launching,
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
            report = next_report(&mut watch.leash) => watch.take_in(report).await,
            _ = children.recv() => watch.look_at_children()?,
            signal = watch.signals.next() => watch.pass_on(signal),
            () = sleep_until(next) => watch.enforce(),
        }
    }
}

async fn next_report(leash: &mut Option<Leash>) -> Report {
    match leash {
        Some(leash) => leash.report().await,
        None => pending().await,
    }
}

struct Watch<'a> {
    lock: &'a LockGuard,
    signals: &'a mut Signals,
    terms: Terms,
    terminal: Option<Terminal>,
    leash: Option<Leash>,
    /// Until when the lock is safe, as the leash was told last, and when.
    told: Option<(Instant, Instant)>,
    group: Group,
    phase: Phase,
    cut_short: Option<Cut>,
    /// When what is left of the group is killed, if it has to end.
    kill_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits to be continued, and is no command yet.
    Launching,
    Running,
    /// It has ended, with this code. Others of its group may not have.
    Ended(u8),
}

impl Watch<'_> {
    /// What came of the command, once nothing is left of it.
    fn ended(&mut self) -> Option<Ended> {
        let Phase::Ended(code) = self.phase else {
            return None;
        };
        if !self.group.is_gone() {
            return None;
        }
        if let Some(leash) = &mut self.leash {
            leash.tell(Order::LetGo);
            if leash.has_ended_it() {
                self.cut_short.get_or_insert(Cut::NotRenewed);
            }
        }
        let cut_short = self.cut_short.take();
        Some(Ended { code, cut_short })
    }

    /// When nothing may run any more, unless the lock is renewed.
    fn deadline(&self) -> Instant {
        self.lock.safe_until() - self.terms.lease / KERNEL_MARGIN
    }

    /// When to look again, if nothing happens before.
    fn next_look(&self) -> Instant {
        if self.kill_at.is_some() {
            return Instant::now() + LOOK;
        }
        let pause = self.terms.lease / TOLD_IN_LEASE;
        let told = self.told.map_or_else(Instant::now, |(_, at)| at + pause);
        told.min(self.deadline())
    }

    /// Tells the leash how long the lock is safe.
    fn tell_time(&mut self) {
        // In this order: the moment then comes out earlier than it is, and not later, if it takes long.
        let (moment, now) = (Moment::now(), Instant::now());
        let until = self.deadline();
        if self.told.is_some_and(|(told, _)| told == until) {
            self.told = Some((until, now));
            return;
        }
        if let Some(leash) = &self.leash {
            let left = until.saturating_duration_since(now);
            leash.tell(Order::Until(moment.after(left)));
            self.told = Some((until, now));
        }
    }

    /// Lets the command begin, now that it is there and waits.
    fn let_begin(&mut self) {
        self.told = None;
        self.tell_time();
        self.tell(Order::Hold(self.group));
        if self.kill_at.is_some() {
            self.tell(Order::End);
        }
        self.phase = Phase::Running;
        self.group.send(Signal::CONT);
    }

    fn tell(&self, order: Order) {
        if let Some(leash) = &self.leash {
            leash.tell(order);
        }
    }

    /// Ends the command, for the first reason that there is.
    fn cut(&mut self, why: Cut) {
        self.cut_short.get_or_insert(why);
        self.end();
    }

    /// Lets the leash end what is left of the group.
    fn end(&mut self) {
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + self.terms.grace);
            self.tell(Order::End);
        }
    }

    async fn take_in(&mut self, report: Report) {
        match report {
            Report::Ends => self.cut(Cut::NotRenewed),
            Report::Gone => self.replace_leash().await,
        }
    }

    /// Takes another leash, unless the last one has done what it is for.
    async fn replace_leash(&mut self) {
        self.leash = None;
        if self.kill_at.is_some() {
            return self.group.send(Signal::KILL);
        }
        match Leash::start(self.terms.grace, self.deadline()).await {
            Ok(leash) => {
                self.leash = Some(leash);
                self.told = None;
                self.tell_time();
                if self.phase == Phase::Running {
                    self.tell(Order::Hold(self.group));
                }
            }
            Err(error) => {
                self.group.send(Signal::KILL);
                self.cut(Cut::NoLeash(error));
            }
        }
    }

    /// Kills what is left when nothing may be, should the leash not have done so.
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
                (None, _) => self.phase = Phase::Ended(code(status)),
            }
        }
        if matches!(self.phase, Phase::Ended(_)) && !self.group.is_gone() {
            self.end();
        }
        Ok(())
    }

    /// Does what has to follow when the command was stopped.
    fn stopped(&mut self, by: i32) {
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        let wants_terminal = [Signal::TTIN, Signal::TTOU]
            .map(Signal::as_raw)
            .contains(&by);
        let was_lent = terminal.is_lent();
        if wants_terminal && terminal.lend(self.group) {
            self.group.send(Signal::CONT);
        } else if by != Signal::STOP.as_raw() || was_lent {
            terminal.take_back();
            if !stop_job() && wants_terminal {
                // As the kernel does to those that nobody could continue.
                self.group.send(Signal::HUP);
            }
            if was_lent {
                terminal.lend(self.group);
            }
            self.group.send(Signal::CONT);
        }
    }

    fn pass_on(&self, signal: Signal) {
        if signal != Signal::CONT || self.phase != Phase::Launching {
            self.group.send(signal);
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        while !self.group.is_gone() {
            self.group.send(Signal::KILL);
            if wait(WaitOptions::empty()).is_err() {
                return;
            }
        }
    }
}

/// The next child that has ended or was stopped.
fn next_change() -> io::Result<Option<(Pid, WaitStatus)>> {
    match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        Ok(change) => Ok(change),
        Err(Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The exit code of a process that has ended, as shells tell it.
fn code(status: WaitStatus) -> u8 {
    if let Some(signal) = status.terminating_signal() {
        return exit_code(signal);
    }
    let code = status
        .exit_status()
        .and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(u8::MAX)
}
