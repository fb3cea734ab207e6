//! What the sessions of `lockc` are called, for people who find one of them in their way.

use std::env;
use std::ffi::OsStr;

use crate::types::SessionName;

/// What is left out of a command that is too long.
const CUT: char = '…';

/// The name of a session of this process: ``deploy@web-3, pid 4711, `./nightly --all` ``.
pub(super) fn session_name<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> String {
    let words = command.into_iter();
    let words: Vec<_> = words
        .map(|it| it.as_ref().to_string_lossy().into_owned())
        .collect();
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    name_of(&user(), &host, std::process::id(), &words.join(" "))
}

/// The name of a session of the command that this process runs.
pub(super) fn own_session_name() -> String {
    session_name(["lockc".into()].into_iter().chain(env::args_os().skip(1)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "who runs the program is told by its environment"
)]
fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().filter_map(env::var_os);
    let mut named = named.filter(|name| !name.is_empty());
    let name = named.next().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
}

fn name_of(user: &str, host: &str, pid: u32, command: &str) -> String {
    let mut name = format!("{user}@{host}, pid {pid}, `{command}");
    let most = SessionName::MAX_BYTES - '`'.len_utf8();
    if name.len() > most {
        name.truncate(name.floor_char_boundary(most - CUT.len_utf8()));
        name.push(CUT);
    }
    name.push('`');
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_user_host_process_and_command() {
        let name = name_of("deploy", "web-3", 4711, "./nightly --all");
        assert_eq!(name, "deploy@web-3, pid 4711, `./nightly --all`");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_off_between_characters() {
        for blanks in 0..3 {
            let command = " ".repeat(blanks) + &"ä".repeat(200);
            let name = name_of("me", "here", 1, &command);
            assert!(name.ends_with("ä…`"), "{name}");
            assert!(SessionName::new(name.as_str()).is_ok(), "{name}");
        }
        assert!(SessionName::new(own_session_name()).is_ok());
    }
}
