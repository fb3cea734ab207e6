//! The command-line client. See `lockc --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockservice::cli::lockc::main()
}
