//! The messages about a lock while it is waited for, and when it was not granted.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::pending;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, SystemTime};

use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use tokio::time::{sleep, timeout};

use crate::escape::escaped;
use crate::lockc::locks::HolderName;
use crate::lockc::progress::Line;
use lockservice::clerk::Clerk;
use lockservice::service::LockInfo;
use lockservice::types::{ClientId, LockName};

/// How long a wait lasts before it is reported: most are over by then.
const QUIET: Duration = Duration::from_millis(500);

/// How often the message is updated. An inspection costs the servers about as much as a call.
const EVERY: Duration = Duration::from_secs(1);

/// How long the servers are asked who holds the lock when it was not granted. It is only for the
/// message.
const ASK: Duration = Duration::from_millis(500);

/// Says on the terminal what is waited for, where there is one. Dropping it clears the line.
///
/// # Cancel safety
///
/// Safe.
pub(super) async fn tell(clerk: &Clerk, name: &LockName) -> Infallible {
    if !io::stderr().is_terminal() {
        return pending().await;
    }
    sleep(QUIET).await;
    let line = Line::new();
    loop {
        // What runs in the background writes nothing into the line that is being typed.
        if tcgetpgrp(io::stderr()) == Ok(getpgrp()) {
            let looked = timeout(EVERY, clerk.show(name.as_str())).await;
            let seen = looked.ok().and_then(Result::ok);
            line.say(&waiting(
                name,
                seen.as_ref(),
                clerk.client(),
                SystemTime::now(),
            ));
        }
        sleep(EVERY).await;
    }
}

/// Explains in one line why the lock was not granted.
///
/// # Cancel safety
///
/// Safe.
pub(super) async fn refusal(clerk: &Clerk, name: &LockName, exit: u8, is_chosen: bool) -> String {
    let looked = timeout(ASK, clerk.show(name.as_str())).await;
    let seen = looked.ok().and_then(Result::ok);
    let hint = if is_chosen {
        ""
    } else {
        " (-E chooses another)"
    };
    let why = seen.and_then(|lock| held_by(&lock, SystemTime::now()));
    let why = why.unwrap_or_else(|| "was held by others".to_owned());
    let name = escaped(name.as_str());
    format!("not run: {name} {why}; exit code {exit}{hint}")
}

/// `waiting for jobs/nightly, held by deploy@web-3 for 12s, 3 ahead`.
fn waiting(name: &LockName, seen: Option<&LockInfo>, me: ClientId, now: SystemTime) -> String {
    let mut text = format!("waiting for {}", escaped(name.as_str()));
    let Some(lock) = seen else {
        text.push_str("; no server answers at the moment");
        return text;
    };
    if let Some(held) = held_by(lock, now) {
        // A string takes what is written to it.
        let _ = write!(text, ", {}", held.trim_start_matches("is "));
    }
    let ahead = lock.queue().take_while(|place| place.client != me).count();
    let _ = write!(text, ", {ahead} ahead");
    text
}

/// `is held by deploy@web-3 and 1 more for 12s`. None when it is free.
fn held_by(lock: &LockInfo, now: SystemTime) -> Option<String> {
    if lock.is_unowned {
        return Some("is held by nobody, until `lockc unlock` frees it".to_owned());
    }
    let first = lock.holders().next()?;
    if first.is_left {
        let more = first.retained_for.unwrap_or_default().as_secs();
        let more = humantime::format_duration(Duration::from_secs(more));
        return Some(format!(
            "is kept for {more} more, though its holder has ended"
        ));
    }
    let mut text = format!("is held by {}", HolderName(first));
    let others = lock.holders().count() - 1;
    if others > 0 {
        let _ = write!(text, " and {others} more");
    }
    if let Some(since) = first.since {
        let held = now.duration_since(since.time()).unwrap_or_default();
        let held = humantime::format_duration(Duration::from_secs(held.as_secs()));
        let _ = write!(text, " for {held}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockservice::inspect::samples::{free, lock, shared, unowned};
    use lockservice::types::UnixTime;

    /// The id of a client in the samples.
    const fn client(number: u128) -> ClientId {
        ClientId::from_u128(number << 96)
    }

    fn said(lock: &LockInfo, me: u128) -> String {
        waiting(&lock.name, Some(lock), client(me), UnixTime(22).time())
    }

    #[test]
    fn it_says_who_has_the_lock_since_when_and_how_many_are_ahead() {
        let held = lock("a", &[(1, 10)], &[2, 3, 4]);
        assert_eq!(
            said(&held, 4),
            "waiting for a, held by 00000001/1 for 12s, 2 ahead"
        );
        assert_eq!(
            said(&held, 2),
            "waiting for a, held by 00000001/1 for 12s, 0 ahead"
        );
        let held = shared("a", &[(1, 10), (2, 11)], &[3]);
        assert_eq!(
            said(&held, 3),
            "waiting for a, held by 00000001/1 and 1 more for 12s, 0 ahead"
        );
    }

    #[test]
    fn a_lock_that_belongs_to_nobody_is_told_for_nobody_may_ever_free_it() {
        assert_eq!(
            said(&unowned("a", &[1]), 1),
            "waiting for a, held by nobody, until `lockc unlock` frees it, 0 ahead"
        );
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        assert!(!said(&free("a\x1b[2J"), 1).contains('\x1b'));
        let name = LockName::new("a").expect("a name");
        assert_eq!(
            waiting(&name, None, client(1), SystemTime::now()),
            "waiting for a; no server answers at the moment"
        );
    }
}
