//! The command-line client. See `lockc --help`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[ctor::ctor]
fn before_main() {
    lockservice::cli::lockc::before_main();
}

fn main() -> ExitCode {
    lockservice::cli::lockc::main()
}
