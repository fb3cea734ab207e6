//! The server. See `lockd --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockservice::cli::lockd::main()
}
