//! An interactive shell whose line is completed.

use tokio::process::Command;

use crate::terminal::Terminal;

/// Goes to the beginning of the line, and has the shell print its words and not run it.
const PRINT: &str = "\u{1}printf '{%s}' WORDS: ";

/// The prompt, which nothing that is typed holds.
const PROMPT: &str = "READY> ";

pub(crate) struct Shell(Terminal);

impl Shell {
    /// Runs `shell` by `script`.
    pub(crate) async fn start(mut script: Command, shell: &str) -> Self {
        script.env("PS1", PROMPT);
        let mut terminal = Terminal::start(script, &format!("exec {shell}"));
        terminal.shows(PROMPT).await;
        Self(terminal)
    }

    /// Runs a command to its end.
    pub(crate) async fn runs(&mut self, command: &str) {
        self.0.types(&format!("{command}; echo do\"\"ne\n")).await;
        self.0.shows("done").await;
        self.0.shows(PROMPT).await;
    }

    /// The words of the line, for the shell itself, when this has been typed.
    pub(crate) async fn words(&mut self, typed: &str) -> Vec<String> {
        self.0.types(&format!("{typed}{PRINT}\n")).await;
        self.0.shows("{WORDS:}").await;
        let words = self.0.shows(PROMPT).await;
        let words = words.trim_end().strip_prefix('{').expect("words");
        let (words, _) = words.rsplit_once('}').expect("words");
        words.split("}{").map(str::to_owned).collect()
    }
}
