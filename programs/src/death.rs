//! The end of a program by a signal, as if it had never caught it.
//!
//! A shell stops a script when a program in it dies of SIGINT, and goes on when the program exits
//! with 130.

use rustix::process::{
    DumpableBehavior, Signal, getpid, kill_current_process_group, set_dumpable_behavior,
};
use signal_hook::low_level::emulate_default_handler;

/// By which signal the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignalDeath {
    signal: i32,
    of_group: bool,
}

impl SignalDeath {
    /// This process alone dies.
    pub(super) const fn of_this_process(signal: i32) -> Self {
        let of_group = false;
        Self { signal, of_group }
    }

    /// Its process group is sent the signal too, as a terminal does when a key for it is pressed.
    pub(super) const fn with_group(signal: i32) -> Self {
        let of_group = true;
        Self { signal, of_group }
    }

    /// The code of a program that the signal has ended, as shells tell it.
    pub(super) fn code(self) -> u8 {
        u8::try_from(128 + self.signal).unwrap_or(u8::MAX)
    }

    /// Dies of the signal. Returns when that is impossible.
    pub(super) fn die(self) {
        // The first process of a container does not die of its own signals.
        if getpid().is_init() {
            return;
        }
        // A core of this program would overwrite that of the command.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        if self.of_group
            && let Some(signal) = Signal::from_named_raw(self.signal)
        {
            let _ = kill_current_process_group(signal);
        }
        // An error says that the signal is a realtime one.
        let _ = emulate_default_handler(self.signal);
    }
}
