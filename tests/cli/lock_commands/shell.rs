//! Owned locks in a shell.

use lockservice::{ServerId, Token};
use serde_json::{Value, json};

use crate::fixture::{Fixture, queue, wait_for_waiters};
use crate::program::Program;

#[tokio::test]
async fn a_shell_owns_what_it_acquires_until_it_releases_it() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let mut shell = fixture.start("shell");
    let token: u64 = shell
        .answer("acquire my job")
        .await
        .parse()
        .expect("a token");
    assert!(
        clerk
            .try_acquire("my job")
            .await
            .expect("an answer")
            .acquired()
            .is_none()
    );
    assert_eq!(shell.answer("try my job").await, "false");
    assert_eq!(shell.answer("release my job").await, "true");
    let again: u64 = shell.answer("try my job").await.parse().expect("a token");
    assert!(again > token);
    let told: Value = serde_json::from_str(&shell.answer("show my job").await).expect("JSON");
    assert_eq!(told["holders"][0]["token"], again);
    let ended = shell.ended().await;
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "", "")
    );
    // It has given back the rest at its end, and not left it to the lease.
    assert!(
        clerk
            .try_acquire("my job")
            .await
            .expect("an answer")
            .is_acquired()
    );
}

#[tokio::test]
async fn what_a_shell_does_not_own_it_does_not_free() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let held = clerk.acquire("theirs").await.expect("it is free");
    assert!(clerk.lock("plain").await.expect("an answer"));
    let mut shell = fixture.start("shell");
    for line in ["release theirs", "release plain", "release free"] {
        assert_eq!(
            shell.answer(line).await,
            "error: this shell does not own the lock; nothing has changed"
        );
    }
    shell.answer("acquire mine").await;
    for line in ["unlock theirs", "unlock mine"] {
        let answer = shell.answer(line).await;
        assert!(answer.starts_with("error: the lock is owned"), "{answer}");
    }
    assert_eq!(shell.answer("lock mine").await, "false");
    assert_eq!(shell.answer("release mine").await, "true");
    assert_eq!(
        shell.answer("release mine").await,
        "error: this shell does not own the lock; nothing has changed"
    );
    assert!(!clerk.lock("plain").await.expect("an answer"), "it is held");
    held.release().await.expect("it is held");
}

#[tokio::test]
async fn a_shell_can_own_several_permits_and_releases_the_last_first() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let mut shell = fixture.start("shell");
    let mut tokens = Vec::new();
    for line in ["permit 2 my pool", "try-permit 2 my pool"] {
        let token: u64 = shell.answer(line).await.parse().expect("a token");
        tokens.push(token);
    }
    assert_eq!(shell.answer("try-permit 2 my pool").await, "false");
    assert_eq!(shell.answer("try my pool").await, "false");
    let holders = async || {
        let lock = clerk.show("my pool").await.expect("an answer");
        let tokens = lock.entries.iter().filter_map(|place| place.token);
        tokens.map(Token::get).collect::<Vec<_>>()
    };
    assert_eq!(holders().await, tokens);
    assert_eq!(shell.answer("release my pool").await, "true");
    assert_eq!(holders().await, tokens[..1]);
    assert_eq!(shell.answer("release my pool").await, "true");
    assert_eq!(
        shell.answer("release my pool").await,
        "error: this shell does not own the lock; nothing has changed"
    );
    let told = shell.answer("permit 0 my pool").await;
    assert!(
        told.starts_with("error: `0` is no number of permits"),
        "{told}"
    );
}

#[tokio::test]
async fn a_line_that_waits_holds_up_the_next_and_the_answers_come_in_order() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let held = clerk.acquire("a").await.expect("it is free");
    let mut shell = fixture.start("shell");
    shell.tell("acquire a\ntry b").await;
    wait_for_waiters(&clerk, "a", 1).await;
    assert!(!clerk.show("b").await.expect("an answer").is_held());
    let token = held.token().get();
    held.release().await.expect("it was held");
    let first: u64 = shell.line().await.parse().expect("a token");
    let second: u64 = shell.line().await.parse().expect("a token");
    assert!(token < first && first < second);
}

#[tokio::test]
async fn a_shell_waits_no_longer_than_the_timeout_and_leaves_the_queue() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let _held = clerk.acquire("a").await.expect("it is free");
    let mut shell = fixture.start("--timeout 2s shell");
    assert_eq!(
        shell.answer("acquire a").await,
        "error: \"a\" was still held by others after 2s"
    );
    assert_eq!(shell.answer("lock b").await, "true");
    wait_for_waiters(&clerk, "a", 0).await;
}

#[tokio::test]
async fn a_shell_breaks_a_lock_by_its_token_and_tells_of_bad_lines() {
    let fixture = Fixture::new().await;
    let (alice, bob) = (fixture.clerk().await, fixture.clerk().await);
    let held = alice.acquire("a").await.expect("it is free");
    let next = queue(&bob, "a", 0).await;
    let token = held.token().get();
    let mut shell = fixture.start("shell");
    for (line, beginning) in [
        ("break a", "error: `` is no token"),
        (&format!("break a {token}"), "error: a reason must be given"),
        ("steal a", "error: unknown command `steal`"),
        (&format!("break a {} it hangs", token + 1), "false"),
        (&format!("break a {token} it hangs"), "true"),
    ] {
        let answer = shell.answer(line).await;
        assert!(answer.starts_with(beginning), "{line}: {answer}");
    }
    drop(next.await.expect("no panic"));
}

#[tokio::test]
async fn a_shell_tells_that_a_lock_was_lost_when_it_is_released_and_can_have_it_again() {
    let fixture = Fixture::new().await;
    let mut shell = fixture.start("shell");
    let token: u64 = shell.answer("acquire a").await.parse().expect("a token");
    assert_eq!(
        shell.answer(&format!("break a {token} a test")).await,
        "true"
    );
    let answer = shell.answer("release a").await;
    assert!(answer.starts_with("error: the lock was"), "{answer}");
    let again: u64 = shell.answer("acquire a").await.parse().expect("a token");
    assert!(again > token);
    assert_eq!(
        shell.answer(&format!("break a {again} a test")).await,
        "true"
    );
    // Also without having released what it has lost.
    let third: u64 = shell.answer("try a").await.parse().expect("a token");
    assert!(third > again);
    assert_eq!(shell.answer("release a").await, "true");
}

/// What a shell answers in JSON to a line.
async fn told(shell: &mut Program, line: &str) -> Value {
    let answer = shell.answer(line).await;
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{line}: {error}: {answer}"))
}

#[tokio::test]
async fn a_shell_lists_locks_and_tells_who_waits_for_whom_as_the_commands_do() {
    let fixture = Fixture::new().await;
    let (alice, bob) = (fixture.clerk().await, fixture.clerk().await);
    let mut shell = fixture.start("shell");
    assert_eq!(shell.answer("ls").await, r#"{"locks":[]}"#);
    let _a = alice.acquire("my a").await.expect("it is free");
    let _b = bob.acquire("b\n").await.expect("it is free");
    let _alice_waits = queue(&alice, "b\n", 0).await;
    assert_eq!(told(&mut shell, "why my a").await["deadlock"], false);
    let _bob_waits = queue(&bob, "my a", 0).await;
    for (line, args) in [
        ("ls", &["ls", "--json"][..]),
        ("ls my ", &["ls", "my", "--json"]),
        ("ls c", &["ls", "c", "--json"]),
        ("show my a", &["show", "my a", "--json"]),
        ("why my a", &["why", "my a", "--json"]),
    ] {
        let expected = fixture.start_with(args).ended().await.json();
        assert_eq!(told(&mut shell, line).await, expected, "{line}");
    }
    assert_eq!(told(&mut shell, "why my a").await["deadlock"], true);
    let answer = shell.answer("why").await;
    assert!(answer.starts_with("error: a lock name"), "{answer}");
    let answer = shell.answer(&format!("ls {}", "x".repeat(1_025))).await;
    assert!(answer.starts_with("error: a lock name"), "{answer}");
}

/// The events that a shell tells when it is asked to watch.
async fn events(shell: &mut Program, line: &str) -> Vec<(String, String)> {
    let told = told(shell, line).await;
    let changes = told.as_array().expect("a list").iter();
    let text = |change: &Value, field: &str| change[field].as_str().expect(field).to_owned();
    changes
        .map(|change| (text(change, "event"), text(change, "name")))
        .collect()
}

fn event(event: &str, name: &str) -> (String, String) {
    (event.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_shell_watches_each_prefix_from_where_it_was_asked_last() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let mut shell = fixture.start("shell");
    assert_eq!(shell.answer("watch a").await, "[]");
    assert!(clerk.lock("a 1").await.expect("an answer"));
    assert!(clerk.lock("b").await.expect("an answer"));
    assert_eq!(
        events(&mut shell, "watch").await,
        [event("locked", "a 1"), event("locked", "b")]
    );
    assert_eq!(
        events(&mut shell, "watch a").await,
        [event("locked", "a 1")]
    );
    assert_eq!(
        shell.answer("watch a 1").await,
        r#"[{"event":"locked","name":"a 1"}]"#
    );
    // It has changed before it is asked, and while it waits.
    assert!(clerk.unlock("b").await.expect("an answer"));
    assert_eq!(events(&mut shell, "watch").await, [event("unlocked", "b")]);
    shell.tell("watch a\nlock b").await;
    assert!(clerk.unlock("a 1").await.expect("an answer"));
    let told: Value = serde_json::from_str(&shell.line().await).expect("JSON");
    assert_eq!(told, json!([{ "event": "unlocked", "name": "a 1" }]));
    assert_eq!(shell.line().await, "true");
}

#[tokio::test]
async fn a_shell_that_sees_nothing_change_says_so_and_one_that_sees_nothing_at_all_says_that() {
    let mut fixture = Fixture::new().await;
    let mut shell = fixture.start("--timeout 2s shell");
    assert_eq!(shell.answer("watch").await, "[]");
    assert_eq!(shell.answer("watch").await, "[]");
    assert_eq!(shell.answer("lock a").await, "true");
    for server in ServerId::BOTH {
        fixture.pair.kill(server);
    }
    for line in ["watch", "watch a"] {
        let answer = shell.answer(line).await;
        let beginning = "error: no answer within 2s; nothing was changed";
        assert!(answer.starts_with(beginning), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_shell_watches_no_more_prefixes_than_it_may() {
    let fixture = Fixture::new().await;
    let mut shell = fixture.start("shell");
    for prefix in 0..64 {
        assert_eq!(shell.answer(&format!("watch {prefix}")).await, "[]");
    }
    assert_eq!(
        shell.answer("watch another").await,
        "error: this shell watches 64 prefixes already; nothing was looked at"
    );
    assert_eq!(shell.answer("lock 7").await, "true");
    assert_eq!(events(&mut shell, "watch 7").await, [event("locked", "7")]);
    let answer = shell.answer(&format!("watch {}", "x".repeat(1_025))).await;
    assert!(answer.starts_with("error: a lock name"), "{answer}");
}

#[tokio::test]
async fn a_shell_is_elected_and_resigns_by_a_release() {
    let fixture = Fixture::new().await;
    let mut first = fixture.start("shell");
    let token: u64 = first
        .answer("elect my boss")
        .await
        .parse()
        .expect("a token");
    let mut second = fixture.start("--timeout 2s shell");
    assert_eq!(
        second.answer("elect my boss").await,
        "error: \"my boss\" was still held by others after 2s"
    );
    let show = told(&mut first, "show my boss").await;
    assert_eq!(show["holders"][0]["token"], token);
    assert_eq!(first.answer("release my boss").await, "true");
    let next: u64 = second
        .answer("elect my boss")
        .await
        .parse()
        .expect("a token");
    assert!(next > token);
    let answer = first.answer("elect").await;
    assert!(answer.starts_with("error: a lock name"), "{answer}");
}
