//! The end of the pipe that `lockc run` holds: its handle on the watchdog.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use super::watch::{ENDS, READY};
use super::{PROGRAM, WatchdogCommand};
use crate::lockc::run::THIS_PROGRAM;

/// A watchdog. Dropping it kills it, and leaves no zombie of it: the group has to be gone by then.
#[derive(Debug)]
pub(in crate::lockc::run) struct Watchdog {
    pid: Pid,
    commands: Sender,
    reports: Receiver,
}

/// What a watchdog reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lockc::run) enum Report {
    /// The group's time is running out, and it was asked to end.
    Ends,
    /// The watchdog is gone.
    Gone,
}

impl Watchdog {
    /// Starts a watchdog, and waits until it is ready, up to the `deadline`.
    pub(in crate::lockc::run) async fn start(
        grace: Duration,
        deadline: Instant,
    ) -> io::Result<Self> {
        let child = Command::new(THIS_PROGRAM)
            .arg0(PROGRAM)
            .arg(humantime::format_duration(grace).to_string())
            .env_clear()
            // It is in nobody's way when its directory is to be unmounted.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let Child { stdin, stdout, .. } = child;
        let (Some(orders), Some(reports)) = (stdin, stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut watchdog = Self {
            pid,
            commands: Sender::from_owned_fd(OwnedFd::from(orders))?,
            reports: Receiver::from_owned_fd(OwnedFd::from(reports))?,
        };
        match timeout_at(deadline, watchdog.reports.read_u8()).await? {
            Ok(READY) => Ok(watchdog),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Err(error),
        }
    }

    /// Tells it something. The last word of a process that is killed right after is heard as well.
    pub(in crate::lockc::run) fn tell(&self, order: WatchdogCommand) {
        // When the pipe is full the watchdog does not run, and when it is broken the watchdog is
        // gone, which its reports tell.
        let _ = self.commands.try_write(format!("{order}\n").as_bytes());
    }

    /// Waits for what it tells.
    ///
    /// # Cancel safety
    ///
    /// Safe: a report is one byte.
    pub(in crate::lockc::run) async fn report(&mut self) -> Report {
        loop {
            match self.reports.read_u8().await {
                Ok(ENDS) => return Report::Ends,
                Ok(_) => {}
                Err(_) => return Report::Gone,
            }
        }
    }

    /// Whether it has asked the group to end, by itself and for want of time.
    pub(in crate::lockc::run) fn has_ended_it(&self) -> bool {
        let mut reports = [0; 64];
        // Asked of the kernel: the runtime has not looked at it since this process was stopped, if
        // it was.
        let length = rustix::io::read(&self.reports, &mut reports).unwrap_or(0);
        reports[..length].contains(&ENDS)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let ended = WaitIdOptions::EXITED;
        // One that has been waited for is no child any more, and its number can be another
        // process'.
        let look = ended | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(self.pid), look).is_ok() {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(self.pid), ended);
        }
    }
}
