//! What kind of word the last one of an unfinished command line is.
//!
//! It goes through the words by the definition of the command line, as the parser does, but has
//! no complaints.

use std::any::TypeId;

use clap::builder::StyledStr;
use clap::{Arg, Command, ValueHint};

use lockservice::types::LockName;

/// The arguments that the beginning of a lock's name is given in.
const PREFIX: &str = "prefix";

/// The option that tells the servers.
const SERVERS: &str = "servers";

/// What was found out about an unfinished command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) place: Place,
    /// The servers that the line names.
    pub(super) servers: Option<String>,
}

/// What kind of word is to be completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The name of a lock, or its beginning.
    LockName,
    /// One of these, or nothing that can be listed if there are none.
    Words(Vec<Candidate>),
    /// A path.
    File,
    /// A word of another command, which begins with the `first` word of the line, the program
    /// being word 0.
    Command { first: usize },
}

/// A word that can stand there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) word: String,
    /// What it means, in one line.
    pub(super) help: Option<String>,
}

impl Candidate {
    pub(super) const fn plain(word: String) -> Self {
        Self { word, help: None }
    }

    fn new(word: &str, help: Option<&StyledStr>) -> Self {
        let help = help.map(ToString::to_string);
        let help = help.and_then(|help| help.lines().next().map(str::to_owned));
        let word = word.to_owned();
        Self { word, help }
    }
}

/// Says what kind of word `current` is, which follows `words`, which follow the program's name.
pub(super) fn place(mut program: Command, words: &[String], current: &str) -> Found {
    program.build();
    let mut walk = Walk::new(&program);
    for (at, word) in words.iter().enumerate() {
        if walk.is_at_command(word) {
            let place = Place::Command { first: at + 1 };
            let servers = walk.servers;
            return Found { place, servers };
        }
        walk.pass(word);
    }
    Found {
        place: walk.place(current, words.len() + 1),
        servers: walk.servers,
    }
}

/// How far it has come.
struct Walk<'a> {
    command: &'a Command,
    /// How many positional arguments of the command have passed.
    positionals: usize,
    /// Whether `--` has passed.
    is_escaped: bool,
    /// The option whose value is the next word.
    pending: Option<&'a Arg>,
    servers: Option<String>,
}

impl<'a> Walk<'a> {
    const fn new(command: &'a Command) -> Self {
        Self {
            command,
            positionals: 0,
            is_escaped: false,
            pending: None,
            servers: None,
        }
    }

    fn pass(&mut self, word: &str) {
        if let Some(option) = self.pending.take() {
            self.pass_value(option, word);
        } else if self.is_option(word) {
            match word.strip_prefix("--") {
                Some("") => self.is_escaped = true,
                Some(long) => self.pass_long(long),
                None => self.pass_short(word.trim_start_matches('-')),
            }
        } else if let Some(command) = self.command.find_subcommand(word) {
            self.command = command;
        } else {
            self.positionals += 1;
        }
    }

    fn pass_long(&mut self, long: &str) {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let mut arguments = self.command.get_arguments();
        let option = arguments.find(|arg| arg.get_long() == Some(name));
        self.pass_option(option, value);
    }

    /// Passes letters behind one hyphen: the first one with a value has the others as its value.
    fn pass_short(&mut self, letters: &str) {
        for (at, letter) in letters.char_indices() {
            let mut arguments = self.command.get_arguments();
            let option = arguments.find(|arg| arg.get_short() == Some(letter));
            if option.is_some_and(takes_value) {
                let value = &letters[at + letter.len_utf8()..];
                let value = (!value.is_empty()).then_some(value);
                return self.pass_option(option, value);
            }
        }
    }

    fn pass_option(&mut self, option: Option<&'a Arg>, value: Option<&str>) {
        let Some(option) = option.filter(|option| takes_value(option)) else {
            return;
        };
        match value {
            Some(value) => self.pass_value(option, value),
            None => self.pending = Some(option),
        }
    }

    fn pass_value(&mut self, option: &Arg, value: &str) {
        if option.get_id() == SERVERS {
            self.servers = Some(value.to_owned());
        }
    }

    fn is_option(&self, word: &str) -> bool {
        !self.is_escaped && word.len() > 1 && word.starts_with('-')
    }

    fn positional(&self) -> Option<&'a Arg> {
        self.command.get_positionals().nth(self.positionals)
    }

    /// Whether another command begins with this word.
    fn is_at_command(&self, word: &str) -> bool {
        let takes_all = |arg: &Arg| arg.get_value_hint() == ValueHint::CommandWithArguments;
        self.pending.is_none() && !self.is_option(word) && self.positional().is_some_and(takes_all)
    }

    fn place(&self, current: &str, at: usize) -> Place {
        if let Some(option) = self.pending {
            values(option)
        } else if !self.is_escaped && current.starts_with('-') {
            Place::Words(self.options())
        } else if self.is_at_command(current) {
            Place::Command { first: at }
        } else if self.command.has_subcommands() {
            Place::Words(self.subcommands())
        } else {
            self.positional()
                .map_or_else(|| Place::Words(Vec::new()), values)
        }
    }

    fn options(&self) -> Vec<Candidate> {
        let shown = self
            .command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set());
        let candidate = |arg: &Arg| {
            let long = arg.get_long()?;
            Some(Candidate::new(&format!("--{long}"), arg.get_help()))
        };
        shown.filter_map(candidate).collect()
    }

    fn subcommands(&self) -> Vec<Candidate> {
        let shown = self.command.get_subcommands();
        let shown = shown.filter(|command| !command.is_hide_set());
        shown
            .map(|command| Candidate::new(command.get_name(), command.get_about()))
            .collect()
    }
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

/// What a value of `arg` can be.
fn values(arg: &Arg) -> Place {
    let parser = arg.get_value_parser();
    if parser.type_id() == TypeId::of::<LockName>() || arg.get_id() == PREFIX {
        return Place::LockName;
    }
    if matches!(
        arg.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath
    ) {
        return Place::File;
    }
    let values = parser.possible_values().into_iter().flatten();
    Place::Words(
        values
            .map(|value| Candidate::new(value.get_name(), value.get_help()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::lockc::args::Cli;

    fn found(line: &str) -> Found {
        let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let current = words.pop().expect("a word");
        place(Cli::command(), &words[1..], &current)
    }

    fn words(line: &str) -> Vec<String> {
        match found(line).place {
            Place::Words(candidates) => candidates.into_iter().map(|it| it.word).collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn names_of_locks_stand_where_a_command_takes_one() {
        for line in [
            "lockc lock ",
            "lockc unlock jo",
            "lockc show jo",
            "lockc show --json jo",
            "lockc show -- jo",
            "lockc why jo",
            "lockc break --token 3 jo",
            "lockc ls jo",
            "lockc watch --every 2s jo",
            "lockc elect --lease=2s jo",
            "lockc --servers a:1,b:2 show jo",
        ] {
            assert_eq!(found(line).place, Place::LockName, "{line}");
        }
        for line in ["lockc show a ", "lockc break a --token ", "lockc status "] {
            assert_eq!(words(line), [""; 0], "{line}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_command_begins_behind_the_name_of_its_lock() {
        for (line, first) in [
            ("lockc run a ", 3),
            ("lockc run a l", 3),
            ("lockc run a -- l", 4),
            ("lockc run a -- -odd", 4),
            ("lockc run -nsw 5 a -- ls -", 6),
            ("lockc run -w5 a -n ls --servers x", 5),
            ("lockc run a -- ls -- show ", 4),
        ] {
            assert_eq!(found(line).place, Place::Command { first }, "{line}");
        }
        for line in ["lockc run ", "lockc run -w 5 jo", "lockc run -- jo"] {
            assert_eq!(found(line).place, Place::LockName, "{line}");
        }
        assert_eq!(words("lockc run -w "), [""; 0]);
        assert!(words("lockc run a -").contains(&"--nonblock".to_owned()));
    }

    #[test]
    fn what_is_not_a_name_is_listed() {
        let commands = words("lockc ");
        assert!(commands.contains(&"show".to_owned()), "{commands:?}");
        assert!(!commands.contains(&"__complete".to_owned()), "{commands:?}");
        assert_eq!(words("lockc help "), commands);
        let options = words("lockc ls -");
        assert!(options.contains(&"--json".to_owned()), "{options:?}");
        assert!(options.contains(&"--servers".to_owned()), "{options:?}");
        assert!(words("lockc completions ").contains(&"zsh".to_owned()));
        assert_eq!(found("lockc torture --history ").place, Place::File);
    }

    #[test]
    fn the_servers_are_those_that_the_line_names() {
        for line in [
            "lockc --servers a:1,b:2 show ",
            "lockc --servers=a:1,b:2 show ",
            "lockc show --servers a:1,b:2 ",
        ] {
            assert_eq!(found(line).servers.as_deref(), Some("a:1,b:2"), "{line}");
        }
        assert_eq!(found("lockc show ").servers, None);
    }
}
