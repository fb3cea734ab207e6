//! The names of locks, asked of the servers while somebody waits at a shell.

use std::time::Duration;

use tokio::time::timeout;

use crate::escape::escaped;
use lockservice::clerk::{Clerk, ClerkBuilder};
use lockservice::service::Cursor;
use lockservice::transport::Servers;

/// How many names are offered at most: more than a person reads.
const MOST: usize = 1_000;

/// The names of locks that begin with `prefix`, in order, as far as they are found within this time
/// and can be printed. None when no server answers.
pub(super) async fn names(servers: Servers, prefix: &str, within: Duration) -> Vec<String> {
    let mut names = Vec::new();
    let builder = Clerk::builder(servers).timeout(within);
    // What was found before time was over counts.
    let _ = timeout(within, find(builder, prefix, &mut names)).await;
    names.truncate(MOST);
    names.sort();
    names
}

/// Finds names until there are enough. Says nothing of failures, as nobody would read it.
async fn find(builder: ClerkBuilder, prefix: &str, names: &mut Vec<String>) {
    let Ok(clerk) = builder.connect().await else {
        return;
    };
    let mut next = Some(Cursor::default());
    while let Some(from) = next
        && names.len() < MOST
        && let Ok(page) = clerk.list_page(prefix, from).await
    {
        let found = page.locks.iter().map(|lock| lock.name.as_str());
        names.extend(found.filter(|name| is_printable(name)).map(str::to_owned));
        next = page.next;
    }
    clerk.close().await;
}

/// Whether a terminal shows the name as it is, on one line.
fn is_printable(name: &str) -> bool {
    escaped(name).to_string() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_act_on_a_terminal_are_not_offered() {
        for (name, expected) in [
            ("jobs/nightly", true),
            ("it's \"a\" $name", true),
            ("straße", true),
            ("a\nb", false),
            ("a\tb", false),
            ("\u{1b}[31m", false),
            ("a\u{202e}b", false),
        ] {
            assert_eq!(is_printable(name), expected, "{name:?}");
        }
    }
}
