//! The server. See `lockd --help`.

use std::process::ExitCode;

/// Gives memory back when many clients have gone, also when no work comes to remind it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    lockservice_programs::lockd::main()
}
