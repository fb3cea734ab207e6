//! The end of the leash that `lockc run` holds.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use super::watch::{ENDS, READY};
use super::{Order, PROGRAM};
use crate::cli::lockc::run::THIS_PROGRAM;

/// A leash. Dropping it ends the group that is on it.
#[derive(Debug)]
pub(in crate::cli::lockc::run) struct Leash {
    orders: Sender,
    reports: Receiver,
}

/// What a leash tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::lockc::run) enum Report {
    /// The group's time is running out, and it was asked to end.
    Ends,
    /// The leash is no more.
    Gone,
}

impl Leash {
    /// Starts a leash, and waits until it is ready, up to the `deadline`.
    pub(in crate::cli::lockc::run) async fn start(
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
        let Child { stdin, stdout, .. } = child;
        let (Some(orders), Some(reports)) = (stdin, stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut leash = Self {
            orders: Sender::from_owned_fd(OwnedFd::from(orders))?,
            reports: Receiver::from_owned_fd(OwnedFd::from(reports))?,
        };
        match timeout_at(deadline, leash.reports.read_u8()).await? {
            Ok(READY) => Ok(leash),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Err(error),
        }
    }

    /// Tells it something. The last word of a process that is killed right after is heard as well.
    pub(in crate::cli::lockc::run) fn tell(&self, order: Order) {
        // When the pipe is full the leash does not run, and when it is broken the leash is gone, which its
        // reports tell.
        let _ = self.orders.try_write(format!("{order}\n").as_bytes());
    }

    /// Waits for what it tells.
    ///
    /// # Cancel safety
    ///
    /// Safe: a report is one byte.
    pub(in crate::cli::lockc::run) async fn report(&mut self) -> Report {
        loop {
            match self.reports.read_u8().await {
                Ok(ENDS) => return Report::Ends,
                Ok(_) => {}
                Err(_) => return Report::Gone,
            }
        }
    }

    /// Whether it has asked the group to end, by itself and for want of time.
    pub(in crate::cli::lockc::run) fn has_ended_it(&self) -> bool {
        let mut reports = [0; 64];
        let length = self.reports.try_read(&mut reports).unwrap_or(0);
        reports[..length].contains(&ENDS)
    }
}
