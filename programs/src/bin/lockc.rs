//! The command-line client. See `lockc --help`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[ctor::ctor]
fn before_main() {
    lockservice_programs::lockc::before_main();
}

fn main() -> ExitCode {
    lockservice_programs::lockc::main()
}
