//! Words as a POSIX shell quotes them, for bash, which completes them as they were typed.

/// The end of a line: the word that is to be completed.
#[derive(Debug)]
pub(super) struct Typed {
    text: String,
    /// How much of the text stays on the line, before the completion.
    kept: usize,
    /// How the completion is to be quoted. None: not at all.
    quoting: Option<Quoting>,
}

/// Inside which quotes a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Bare,
    Single,
    Double,
}

impl Typed {
    /// A word without quotes, which the shell puts around the completion itself.
    pub(super) const fn plain(text: String) -> Self {
        Self {
            text,
            kept: 0,
            quoting: None,
        }
    }

    /// A word as it was typed; the completion replaces its end.
    pub(super) fn quoted(word: &str, replaced: &str) -> Self {
        let kept = word.strip_suffix(replaced).unwrap_or_default();
        let (kept, quoting) = unquote(kept);
        Self {
            text: unquoted(word),
            kept: kept.len(),
            quoting: Some(quoting),
        }
    }

    /// The word without its quotes.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What to put on the line so that the word becomes `word`; none if it begins otherwise.
    pub(super) fn completed(&self, word: &str) -> Option<String> {
        let rest = word.starts_with(&self.text).then(|| &word[self.kept..])?;
        Some(match self.quoting {
            None => rest.to_owned(),
            Some(quoting) => quoting.quote(rest),
        })
    }
}

impl Quoting {
    fn quote(self, text: &str) -> String {
        match self {
            Self::Single => text.replace('\'', r"'\''"),
            Self::Double => with_backslashes(text, |char| !r#""\$`"#.contains(char)),
            Self::Bare => with_backslashes(text, |char| {
                char.is_alphanumeric() || !char.is_ascii() || "_-./,:@%+=".contains(char)
            }),
        }
    }
}

fn with_backslashes(text: &str, is_harmless: impl Fn(char) -> bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for char in text.chars() {
        if !is_harmless(char) {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted
}

/// The word without its quotes; the closing one may be missing. What a shell would expand stays
/// as it is.
pub(super) fn unquoted(word: &str) -> String {
    unquote(word).0
}

fn unquote(word: &str) -> (String, Quoting) {
    let (mut text, mut quoting) = (String::new(), Quoting::Bare);
    let mut chars = word.chars().peekable();
    while let Some(char) = chars.next() {
        quoting = match (quoting, char) {
            (Quoting::Bare, '\'') => Quoting::Single,
            (Quoting::Bare, '"') => Quoting::Double,
            (Quoting::Single, '\'') | (Quoting::Double, '"') => Quoting::Bare,
            (Quoting::Bare, '\\') => {
                text.extend(chars.next());
                quoting
            }
            (Quoting::Double, '\\') => {
                let next = chars.next_if(|next| r#""\$`"#.contains(*next));
                text.push(next.unwrap_or('\\'));
                quoting
            }
            _ => {
                text.push(char);
                quoting
            }
        };
    }
    (text, quoting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off_as_a_shell_does() {
        for (word, text) in [
            ("plain", "plain"),
            (r"my\ lock", "my lock"),
            (r#""my lo"#, "my lo"),
            (r#"a"b c"d"#, "ab cd"),
            ("'a\\b'c", "a\\bc"),
            (r#""a\"b\c\$""#, r#"a"b\c$"#),
            ("a\\", "a"),
        ] {
            assert_eq!(unquoted(word), text, "{word}");
        }
    }

    #[test]
    fn a_completion_is_quoted_as_the_word_was_begun() {
        for (word, replaced, lock, completed) in [
            ("my", "my", "my lock", r"my\ lock"),
            (r"my\ l", r"my\ l", "my lock", r"my\ lock"),
            ("\"my ", "my ", "my $lock", r"my \$lock"),
            ("'my l", "my l", "my l'ock", r"my l'\''ock"),
            ("jobs:ni", "ni", "jobs:nightly it's", r"nightly\ it\'s"),
            ("a\"b ", "b ", "ab c\"", "b c\\\""),
            ("", "", "straße;$x", r"straße\;\$x"),
        ] {
            let typed = Typed::quoted(word, replaced);
            assert_eq!(typed.completed(lock).as_deref(), Some(completed), "{word}");
        }
        assert_eq!(Typed::quoted("my", "my").completed("yours"), None);
        assert_eq!(
            Typed::plain("my".into()).completed("my lock").as_deref(),
            Some("my lock")
        );
    }
}
