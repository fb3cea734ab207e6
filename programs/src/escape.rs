//! Text from users and from other machines, as it is shown on a terminal or in a log.
//!
//! A name may hold any characters. Some of them act on a terminal, some begin a line that looks
//! like another message, some turn the direction of the text that follows. None of them is shown as
//! it is.

use std::fmt::{self, Write as _};

/// What [`str::escape_debug`] escapes though it is harmless.
const HARMLESS: [char; 3] = ['"', '\'', '\\'];

/// Shows `text` on one line, with each character that cannot be printed written as an escape: `\n`,
/// `\u{1b}`, `\u{202e}`.
///
/// Backslashes stay as they are, so this is for people. Programs read JSON, which holds names as
/// they are.
pub(super) const fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text)
}

/// See [`escaped`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(HARMLESS) {
            let (before, from) = rest.split_at(at);
            write!(f, "{}", before.escape_debug())?;
            let mut chars = from.chars();
            chars.next().map_or(Ok(()), |char| f.write_char(char))?;
            rest = chars.as_str();
        }
        write!(f, "{}", rest.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        for (text, shown) in [
            ("a\nb", r"a\nb"),
            ("a\tb\r", r"a\tb\r"),
            ("\x1b[31m", r"\u{1b}[31m"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("\u{7f}\0", r"\u{7f}\0"),
            ("a\u{202e}b", r"a\u{202e}b"),
            ("\u{2066}\u{2069}", r"\u{2066}\u{2069}"),
            ("a\u{2028}b", r"a\u{2028}b"),
            ("a\u{200b}b\u{feff}", r"a\u{200b}b\u{feff}"),
            ("\u{e0041}", r"\u{e0041}"),
        ] {
            assert_eq!(escaped(text).to_string(), shown);
        }
    }

    #[test]
    fn what_people_write_is_shown_as_they_wrote_it() {
        for text in [
            "jobs/nightly",
            "it's \"here\"",
            r"C:\jobs\new",
            "straße, 日本語, قفل",
            "e\u{301}",
            "🔒",
            "",
        ] {
            assert_eq!(escaped(text).to_string(), text);
        }
    }
}
