//! What the sessions of `lockc` are called, for people who find one of them in their way.

use std::env;
use std::ffi::OsStr;

use lockservice::types::SessionName;

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

/// Who runs this process. Services and containers often run without either variable.
#[expect(
    clippy::disallowed_methods,
    reason = "who runs the program is told by its environment"
)]
fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().filter_map(env::var_os);
    let mut named = named.filter(|name| !name.is_empty());
    match named.next() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => user_of(rustix::process::getuid().as_raw()),
    }
}

/// The name of a user by the system's list of users, or the number of one who is not in it.
fn user_of(uid: u32) -> String {
    listed_name(uid).unwrap_or_else(|| uid.to_string())
}

#[cfg(target_os = "linux")]
fn listed_name(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(uid.into()).ok()??;
    Some(user.name)
}

#[cfg(not(target_os = "linux"))]
const fn listed_name(_: u32) -> Option<String> {
    None
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_user_without_a_name_is_told_by_a_number() {
        assert_eq!(user_of(0), "root");
        let unlisted = 3_999_999_999;
        assert_eq!(user_of(unlisted), unlisted.to_string());
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
