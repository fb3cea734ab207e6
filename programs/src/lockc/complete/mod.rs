//! Completion of command lines, for shells.
//!
//! The scripts for bash, zsh and fish are small and stay as they are: for each word they ask
//! `lockc __complete`, which knows the options, asks the servers for the names of locks, and says
//! where the command begins that `lockc run` runs, which the shell completes itself. The other
//! shells have the static scripts of clap, which know no names.

mod names;
mod place;
mod quoting;

use std::time::Duration;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use self::names::names;
use self::place::{Candidate, Place, place};
use self::quoting::Typed;
use super::args::Cli;
use crate::exit::Exit;
use crate::options::{duration, print_completions, servers};
use crate::output::answer::{self, Unwritten};
use lockservice::transport::Servers;

/// What a shell asks.
#[derive(Debug, Args)]
pub(super) struct CompleteOptions {
    /// The words are quoted, as on the line, and the completion replaces this end of the last one
    #[arg(long, value_name = "END", allow_hyphen_values = true)]
    quoted: Option<String>,
    /// How long to wait for the names of locks
    #[arg(long, env = "LOCK_COMPLETION_TIMEOUT", default_value = "1s", value_parser = duration)]
    within: Duration,
    /// The words after `lockc`, up to the cursor
    #[arg(last = true)]
    words: Vec<String>,
}

/// Prints the script for `shell`.
pub(super) fn print_script(shell: Shell) -> Result<(), Unwritten> {
    let script = match shell {
        Shell::Bash => include_str!("lockc.bash"),
        Shell::Zsh => include_str!("lockc.zsh"),
        Shell::Fish => include_str!("lockc.fish"),
        _ => return print_completions(Cli::command(), shell),
    };
    answer::write_now(script.as_bytes())
}

/// Tells a shell how the last word goes on: in a line what kind of word it is, then a candidate a
/// line, with a tab and its help where there is one.
pub(super) async fn complete(default: Servers, options: CompleteOptions) -> Exit {
    let mut words = options.words;
    let end = words.pop().unwrap_or_default();
    let typed = match &options.quoted {
        None => Typed::plain(end),
        Some(replaced) => {
            words = words.iter().map(|word| quoting::unquoted(word)).collect();
            Typed::quoted(&end, replaced)
        }
    };
    let found = place(Cli::command(), &words, typed.text());
    let answer = match found.place {
        Place::Command { first } => format!("command {first}\n"),
        Place::File => "files\n".to_owned(),
        Place::Words(candidates) => told(&typed, candidates),
        Place::LockName => {
            let asked = match found.servers {
                Some(text) => servers(&text).ok(),
                None => Some(default),
            };
            let names = match asked {
                Some(servers) => names(servers, typed.text(), options.within).await,
                None => Vec::new(),
            };
            told(&typed, names.into_iter().map(Candidate::plain))
        }
    };
    match answer::write(answer).await {
        Ok(()) => Exit::Yes,
        Err(unwritten) => unwritten.end("lockc", Exit::Yes),
    }
}

fn told(typed: &Typed, candidates: impl IntoIterator<Item = Candidate>) -> String {
    let mut answer = "words\n".to_owned();
    for Candidate { word, help } in candidates {
        if let Some(rest) = typed.completed(&word) {
            answer += &rest;
            if let Some(help) = help {
                answer.push('\t');
                answer += &help;
            }
            answer.push('\n');
        }
    }
    answer
}
