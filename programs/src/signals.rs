//! The signals that ask a program to stop.

use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;

/// A signal that asks a program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSignal {
    Terminate,
    Interrupt,
    HangUp,
}

impl StopSignal {
    fn kind(self) -> SignalKind {
        match self {
            Self::Terminate => SignalKind::terminate(),
            Self::Interrupt => SignalKind::interrupt(),
            Self::HangUp => SignalKind::hangup(),
        }
    }

    /// How a program ends that the signal has interrupted, as shells tell it.
    pub(super) fn exit(self) -> Exit {
        let number = self.kind().as_raw_value();
        Exit::Code(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
        })
    }
}

/// The signals that ask a program to stop, which end it no more once they are caught.
pub(super) struct StopSignals(Vec<(StopSignal, Signal)>);

impl StopSignals {
    /// Catches SIGTERM and SIGINT.
    pub(super) fn catch() -> io::Result<Self> {
        Self::catch_each(&[StopSignal::Terminate, StopSignal::Interrupt])
    }

    /// Catches SIGHUP as well, unless it is ignored, as nohup(1) has it.
    pub(super) fn catch_with_hang_up() -> io::Result<Self> {
        let all = [
            StopSignal::Terminate,
            StopSignal::Interrupt,
            StopSignal::HangUp,
        ];
        let heeded = if ignores_hang_ups() { &all[..2] } else { &all };
        Self::catch_each(heeded)
    }

    fn catch_each(signals: &[StopSignal]) -> io::Result<Self> {
        let catch = |stop: &StopSignal| Ok((*stop, signal(stop.kind())?));
        signals
            .iter()
            .map(catch)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn next(&mut self) -> StopSignal {
        poll_fn(|context| {
            let caught = self
                .0
                .iter_mut()
                .find_map(|(stop, signal)| signal.poll_recv(context).is_ready().then_some(*stop));
            caught.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Whether this process ignores SIGHUP. Where there is no `/proc` to tell, it does not.
fn ignores_hang_ups() -> bool {
    const HANG_UP: u64 = 1;
    read_ignored().is_ok_and(|ignored| ignored & HANG_UP != 0)
}

/// The signals that this process ignores: of the signal with number n, bit n - 1.
///
/// # Errors
///
/// Errors if there is no `/proc` to tell.
pub(super) fn read_ignored() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
