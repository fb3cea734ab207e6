//! Prints locks: as tables for people, as JSON for machines.

use std::fmt::{self, Write as _};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::escape::escaped;
use crate::lockc::table::{Column, table};
use lockservice::service::{LockInfo, LockMode, QueueEntryInfo};
use lockservice::types::{ClientAddress, LockName, SessionName, Token, UnixTime};

/// All locks of a listing. Field names are a contract.
#[derive(Debug, Serialize)]
pub(in crate::lockc) struct Listing {
    locks: Vec<LockView>,
}

/// A lock. Field names are a contract.
#[derive(Debug, Serialize)]
pub(in crate::lockc) struct LockView {
    name: LockName,
    state: State,
    holders: Vec<QueueEntryView>,
    waiters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Vec<QueueEntryView>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Free,
    /// Held, by nobody.
    #[serde(rename = "plain")]
    Unowned,
    Owned,
}

/// Who holds a lock, or waits for it.
#[derive(Debug, Serialize)]
pub(super) struct QueueEntryView {
    client: String,
    session: u64,
    #[serde(flatten)]
    mode: ModeView,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    /// In seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_name: Option<SessionName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<ClientAddress>,
    /// The sessions that it runs inside, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inside: Vec<u64>,
    /// How many more seconds the lock is retained, even if the session ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    retained_seconds: Option<u64>,
    /// The session has let go of the lock, which is only retained.
    #[serde(skip_serializing_if = "is_false")]
    is_left: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// How many may hold a lock at once. Field names are a contract.
#[derive(Debug, Serialize)]
pub(super) struct ModeView {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<NonZeroU32>,
}

impl ModeView {
    pub(super) const fn new(mode: LockMode) -> Self {
        let (mode, permits) = match mode {
            LockMode::Exclusive => ("exclusive", None),
            LockMode::Shared => ("shared", None),
            LockMode::Permits(most) => ("permits", Some(most)),
        };
        Self { mode, permits }
    }
}

impl QueueEntryView {
    pub(super) fn new(place: &QueueEntryInfo) -> Self {
        Self {
            client: place.client.to_string(),
            session: place.session.0,
            mode: ModeView::new(place.mode),
            token: place.token.map(Token::get),
            since: place.since.map(|since| since.0),
            session_name: place.name.clone(),
            address: place.address.clone(),
            inside: place.inside.iter().map(|session| session.0).collect(),
            retained_seconds: place.retained_for.map(in_seconds),
            is_left: place.is_left,
        }
    }
}

/// In whole seconds: what is left of one counts as one.
fn in_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

impl LockView {
    /// Without its queue.
    pub(super) fn new(lock: &LockInfo) -> Self {
        Self {
            name: lock.name.clone(),
            state: match lock {
                lock if lock.is_unowned => State::Unowned,
                lock if lock.is_held() => State::Owned,
                _ => State::Free,
            },
            holders: lock.holders().map(QueueEntryView::new).collect(),
            waiters: lock.waiters,
            queue: None,
        }
    }

    /// With its queue.
    pub(in crate::lockc) fn whole(lock: &LockInfo) -> Self {
        Self {
            queue: Some(lock.queue().map(QueueEntryView::new).collect()),
            ..Self::new(lock)
        }
    }
}

impl Listing {
    pub(in crate::lockc) fn new(locks: &[LockInfo]) -> Self {
        Self {
            locks: locks.iter().map(LockView::new).collect(),
        }
    }
}

/// A row for each holder, in `width` columns of a terminal where there is one.
pub(super) fn listing_table(locks: &[LockInfo], width: Option<usize>) -> String {
    let mut rows = Vec::new();
    for lock in locks {
        let name = escaped(lock.name.as_str()).to_string();
        let waiters = lock.waiters.to_string();
        if lock.is_unowned {
            let [nobody, none] = ["nobody", "-"].map(str::to_owned);
            rows.push([name.clone(), nobody, none.clone(), none, waiters.clone()]);
        }
        for holder in lock.holders() {
            let [who, mode, token] = cells(holder);
            rows.push([name.clone(), who, mode, token, waiters.clone()]);
        }
    }
    let columns = [
        Column::Shrinks("NAME"),
        Column::Shrinks("HOLDER"),
        Column::Whole("MODE"),
        Column::Whole("TOKEN"),
        Column::Whole("WAITERS"),
    ];
    table(&columns, rows, width)
}

/// What the lock is, and its places, in `width` columns of a terminal where there is one. `now`:
/// what time it is here.
pub(super) fn show_text(lock: &LockInfo, now: SystemTime, width: Option<usize>) -> String {
    let mut text = headline(lock, now);
    if lock.entries.is_empty() {
        return text;
    }
    let mut rows: Vec<[String; 6]> = Vec::new();
    for holder in lock.holders() {
        let [who, mode, token] = cells(holder);
        let since = holder.since.map_or_else(String::new, |it| since(it, now));
        let address = address(holder);
        rows.push(["holds".to_owned(), who, address, mode, token, since]);
    }
    for (at, waiter) in (1..).zip(lock.queue()) {
        let [who, mode, token] = cells(waiter);
        let (at, address) = (format!("waits, {at}"), address(waiter));
        rows.push([at, who, address, mode, token, "-".to_owned()]);
    }
    text.push_str("\n\n");
    let columns = [
        Column::Whole("PLACE"),
        Column::Shrinks("WHO"),
        Column::Shrinks("FROM"),
        Column::Whole("MODE"),
        Column::Whole("TOKEN"),
        Column::Shrinks("SINCE"),
    ];
    text.push_str(&table(&columns, rows, width));
    let unseen = lock.waiters.saturating_sub(lock.queue().count() as u64);
    if unseen > 0 {
        // A string takes what is written to it.
        let _ = write!(text, "\nand {unseen} more wait");
    }
    text
}

/// The lock in one line. `now`: what time it is here.
pub(super) fn headline(lock: &LockInfo, now: SystemTime) -> String {
    let name = escaped(lock.name.as_str());
    let waiters = match lock.waiters {
        0 => "nobody waits".to_owned(),
        1 => "1 waits".to_owned(),
        count => format!("{count} wait"),
    };
    let holders: Vec<_> = lock.holders().map(|it| holder(it, now)).collect();
    match &holders[..] {
        _ if lock.is_unowned => format!("{name} is held, but by nobody; {waiters}"),
        [] => format!("{name} is free"),
        holders => format!("{name} is held by {}; {waiters}", holders.join("; by ")),
    }
}

/// Why a lock was not broken by `token`.
pub(super) fn not_broken(lock: &LockInfo, token: Token, now: SystemTime) -> String {
    let name = escaped(lock.name.as_str());
    let mut text = format!(
        "token {token} does not hold {name}: {}",
        headline(lock, now)
    );
    if lock.is_unowned {
        text.push_str("; `lockc unlock` frees it");
    }
    text
}

/// ``deploy@web-3, pid 4711, `./nightly`, for 12 minutes, token 17``.
fn holder(place: &QueueEntryInfo, now: SystemTime) -> String {
    let mut text = HolderName(place).to_string();
    if place.mode != LockMode::Exclusive {
        text = format!("{text}, {}", mode(place.mode));
    }
    if let Some(since) = place.since {
        let held = now.duration_since(since.time()).unwrap_or_default();
        text = format!("{text}, for {}", roughly(held));
    }
    if let Some(left) = place.retained_for {
        let until = stamp(now + left);
        let left = roughly(left);
        text = if place.is_left {
            format!("{text}, let go of, but retained until about {until} (for {left})")
        } else {
            format!("{text}, at least until about {until} (for {left})")
        };
    }
    let [.., token] = cells(place);
    format!("{text}, token {token}")
}

/// A span of time in the largest unit that fits it twice, or once.
fn roughly(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

fn address(place: &QueueEntryInfo) -> String {
    let address = place.address.as_ref().map(ClientAddress::as_str);
    escaped(address.unwrap_or("-")).to_string()
}

fn cells(place: &QueueEntryInfo) -> [String; 3] {
    let token = place
        .token
        .map_or_else(|| "-".to_owned(), |token| token.to_string());
    [HolderName(place).to_string(), mode(place.mode), token]
}

/// A moment, and how long ago that was. The clocks of two machines differ: it can be yet to come
/// here.
fn since(since: UnixTime, now: SystemTime) -> String {
    let since = since.time();
    let stamp = stamp(since);
    let ago = now.duration_since(since).unwrap_or_default().as_secs();
    let ago = humantime::format_duration(Duration::from_secs(ago));
    format!("{stamp} ({ago} ago)")
}

fn stamp(time: SystemTime) -> String {
    let stamp = humantime::format_rfc3339_seconds(time).to_string();
    stamp.replace('T', " ").replace('Z', " UTC")
}

/// Whose place it is: the name of its session; without one, as much of the client as can be told at
/// a glance, and which of its sessions.
pub(in crate::lockc) struct HolderName<'a>(pub(in crate::lockc) &'a QueueEntryInfo);

impl fmt::Display for HolderName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.0.name {
            return write!(f, "{}", escaped(name.as_str()));
        }
        let client = self.0.client.to_string();
        let short = client.split('-').next().unwrap_or_default();
        write!(f, "{short}/{}", self.0.session)
    }
}

/// A mode for people.
pub(super) fn mode(mode: LockMode) -> String {
    match mode {
        LockMode::Exclusive => "exclusive".to_owned(),
        LockMode::Shared => "shared".to_owned(),
        LockMode::Permits(most) => format!("1 of {most}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use lockservice::inspect::samples::{free, lock, permits, shared, unowned};

    const CLIENT_1: &str = "00000001-0000-0000-0000-000000000000";
    const CLIENT_2: &str = "00000002-0000-0000-0000-000000000000";

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn the_json_of_a_lock_tells_holders_and_the_queue_in_its_order() {
        let told = LockView::whole(&lock("a", &[(1, 10)], &[3, 2]));
        let told: Value = serde_json::to_value(&told).expect("it encodes");
        assert_eq!(told["name"], "a");
        assert_eq!(told["state"], "owned");
        assert_eq!(
            told["holders"],
            json!([{ "client": CLIENT_1, "session": 1, "mode": "exclusive", "token": 10, "since": 10 }])
        );
        assert_eq!(told["waiters"], 2);
        assert_eq!(told["queue"][0]["session"], 3);
        assert_eq!(
            told["queue"][1],
            json!({ "client": CLIENT_2, "session": 2, "mode": "exclusive" })
        );
    }

    #[test]
    fn the_json_of_a_listing_leaves_the_queues_out() {
        let locks = [lock("a", &[(1, 10)], &[2]), unowned("b", &[])];
        let told = serde_json::to_value(Listing::new(&locks)).expect("it encodes");
        assert_eq!(told["locks"][0].get("queue"), None);
        assert_eq!(
            told["locks"][1],
            json!({ "name": "b", "state": "plain", "holders": [], "waiters": 0 })
        );
    }

    #[test]
    fn the_json_of_a_permit_tells_how_many_there_are() {
        let told = LockView::new(&permits("a", 3, &[(1, 10)], &[]));
        let told: Value = serde_json::to_value(&told).expect("it encodes");
        assert_eq!(
            told["holders"],
            json!([{ "client": CLIENT_1, "session": 1, "mode": "permits", "permits": 3, "token": 10, "since": 10 }])
        );
        let both = permits("a", 3, &[(1, 10), (2, 11)], &[]);
        assert_eq!(
            headline(&both, UnixTime(130).time()),
            "a is held by 00000001/1, 1 of 3, for 2 minutes, token 10; \
             by 00000002/2, 1 of 3, for 119 seconds, token 11; nobody waits"
        );
    }

    #[test]
    fn a_listing_has_a_row_for_each_holder() {
        let locks = [
            shared("a\tb", &[(1, 10), (2, 11)], &[3]),
            unowned("b", &[1, 2]),
        ];
        let table = listing_table(&locks, None);
        let rows: Vec<_> = table.lines().map(words).collect();
        assert_eq!(rows[0], ["NAME", "HOLDER", "MODE", "TOKEN", "WAITERS"]);
        assert_eq!(rows[1], [r"a\tb", "00000001/1", "shared", "10", "1"]);
        assert_eq!(rows[2], [r"a\tb", "00000002/2", "shared", "11", "1"]);
        assert_eq!(rows[3], ["b", "nobody", "-", "-", "2"]);
        assert_eq!(rows.len(), 4);
    }

    #[test]
    fn a_lock_is_shown_with_its_places() {
        let now = UnixTime(75).time();
        assert_eq!(show_text(&free("a"), now, None), "a is free");
        assert_eq!(
            show_text(&unowned("a", &[]), now, None),
            "a is held, but by nobody; nobody waits"
        );
        let mut lock = lock("a", &[(1, 10)], &[3, 2]);
        lock.waiters = 7;
        let text = show_text(&lock, now, None);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "a is held by 00000001/1, for 65 seconds, token 10; 7 wait"
        );
        assert_eq!(
            words(lines[3])[..5],
            ["holds", "00000001/1", "-", "exclusive", "10"]
        );
        assert!(
            lines[3].ends_with(" 1970-01-01 00:00:10 UTC (1m 5s ago)"),
            "{text}"
        );
        assert_eq!(
            words(lines[5]),
            ["waits,", "2", "00000002/2", "-", "exclusive", "-", "-"]
        );
        assert_eq!(lines[6], "and 5 more wait");
    }

    #[test]
    fn who_breaks_a_lock_by_another_token_is_told_who_holds_it() {
        let told = |lock| not_broken(&lock, Token(9), UnixTime(11).time());
        assert_eq!(
            told(lock("a", &[(1, 10)], &[])),
            "token 9 does not hold a: a is held by 00000001/1, for 1 second, token 10; nobody waits"
        );
        assert!(told(free("a")).ends_with("a is free"));
        assert!(told(unowned("a", &[])).ends_with("`lockc unlock` frees it"));
    }

    /// Held by a session with a name that acts on terminals, and an address.
    fn named() -> LockInfo {
        let mut lock = lock("jobs/nightly", &[(1, 17)], &[]);
        let holder = &mut lock.entries[0];
        holder.name = SessionName::new("deploy@web-3, pid 4711, `./nightly\u{202e}`").ok();
        holder.address = Some(ClientAddress::new("10.0.0.7:5310"));
        lock
    }

    #[test]
    fn a_holder_with_a_name_is_told_by_it_with_nothing_that_acts_on_a_terminal() {
        let now = UnixTime(17 + 12 * 60).time();
        let text = show_text(&named(), now, None);
        let first = text.lines().next();
        let expected = "jobs/nightly is held by deploy@web-3, pid 4711, `./nightly\\u{202e}`, \
                        for 12 minutes, token 17; nobody waits";
        assert_eq!(first, Some(expected), "{text}");
        assert!(text.contains(" 10.0.0.7:5310 "), "{text}");
        let table = listing_table(&[named()], None);
        assert!(
            table.contains("deploy@web-3, pid 4711, `./nightly\\u{202e}`"),
            "{table}"
        );
        let told = serde_json::to_value(LockView::new(&named())).expect("it encodes");
        let holder = &told["holders"][0];
        assert_eq!(
            holder["session_name"],
            "deploy@web-3, pid 4711, `./nightly\u{202e}`"
        );
        assert_eq!(holder["address"], "10.0.0.7:5310");
    }

    #[test]
    fn a_lock_that_is_retained_is_told_with_the_time_when_it_is_released() {
        let mut lock = lock("a", &[(1, 10)], &[]);
        lock.entries[0].retained_for = Some(Duration::from_millis(49_500));
        let now = UnixTime(11).time();
        assert_eq!(
            headline(&lock, now),
            "a is held by 00000001/1, for 1 second, \
             at least until about 1970-01-01 00:01:00 UTC (for 49 seconds), token 10; nobody waits"
        );
        lock.entries[0].is_left = true;
        assert!(
            headline(&lock, now)
                .contains(", let go of, but retained until about 1970-01-01 00:01:00"),
            "{}",
            headline(&lock, now)
        );
        let told = serde_json::to_value(LockView::new(&lock)).expect("it encodes");
        let holder = &told["holders"][0];
        assert_eq!(holder["retained_seconds"], 50);
        assert_eq!(holder["is_left"], true);
    }

    #[test]
    fn a_moment_that_is_yet_to_come_or_far_beyond_is_told_all_the_same() {
        let now = UnixTime(100).time();
        assert_eq!(
            since(UnixTime(101), now),
            "1970-01-01 00:01:41 UTC (0s ago)"
        );
        assert_eq!(
            since(UnixTime(u64::MAX), now),
            "9999-12-31 23:59:59 UTC (0s ago)"
        );
        let now = UnixTime(1_795_659_004).time();
        assert_eq!(
            since(UnixTime(1_795_658_992), now),
            "2026-11-26 02:09:52 UTC (12s ago)"
        );
    }
}
