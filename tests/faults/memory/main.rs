//! Servers that may use little memory, in control groups of the kernel: whatever clients do, a
//! server refuses before the system would kill it, and it survives the return of the other one.
//!
//! Where control groups cannot be made, as without root, each test is reported as ignored, with the
//! reason.

#[cfg(target_os = "linux")]
mod fixture;
#[cfg(target_os = "linux")]
mod group;
#[cfg(target_os = "linux")]
mod refused;
#[cfg(target_os = "linux")]
mod synced;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}

#[cfg(target_os = "linux")]
fn trials() -> Vec<Trial> {
    vec![
        trial!(refused::a_client_that_locks_for_ever_is_refused_and_costs_no_server),
        trial!(synced::a_lone_primary_near_its_limit_survives_the_return_of_its_backup),
    ]
}

#[cfg(not(target_os = "linux"))]
fn trials() -> Vec<Trial> {
    Vec::new()
}

/// A test of the name of its function, on a runtime of its own; ignored where its error says that
/// it cannot be made here.
#[cfg(target_os = "linux")]
#[macro_export]
macro_rules! trial {
    ($module:ident::$name:ident) => {
        Trial::ignorable_test(stringify!($name), || {
            let runtime = tokio::runtime::Runtime::new()?;
            Ok(match runtime.block_on($module::$name()) {
                Ok(()) => libtest_mimic::Completion::Completed,
                Err(reason) => libtest_mimic::Completion::ignored_with(reason),
            })
        })
    };
}
