//! The command line, with what the environment says where it says nothing.

use clap::builder::Resettable;
use clap::{Arg, Command, Parser};

/// Parses the command line. A variable that is set to nothing counts as one that is not set, as a
/// unit file or a shell leaves it where a value is missing.
pub(super) fn parse<C: Parser>() -> Result<C, clap::Error> {
    let mut command = without_empty(C::command());
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    C::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

fn without_empty(command: Command) -> Command {
    command
        .mut_args(|arg| {
            if is_empty(&arg) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line is what reads the environment"
)]
fn is_empty(arg: &Arg) -> bool {
    let value = arg.get_env().and_then(std::env::var_os);
    value.is_some_and(|value| value.is_empty())
}
