//! Names that would act on a terminal, or forge a line of a log: no text output has them as they
//! are.

use std::process::Stdio;

use lockservice::testkit::wait_until;
use lockservice::{Clerk, ServerId};
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fault::{Fault, PATIENCE, Which};
use crate::lockc::Fixture;

/// An escape, a new line, marks that turn the direction of a text, a tab, a control sequence.
const HOSTILE: &str = "a\x1b[31m\nb\u{202e}\u{2066}\tc\u{9b}";
/// How it is shown.
const SHOWN: &str = r"a\u{1b}[31m\nb\u{202e}\u{2066}\tc\u{9b}";

/// What `lockc` with these words writes to both of its outputs, and to stdout alone.
async fn written(fixture: &Fixture, args: &[&str], input: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockc"));
    command.env_clear().args(args);
    command.env("LOCK_SERVERS", fixture.pair.servers().to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let write = tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes());
    write.await.expect("it reads");
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("it ends in time").expect("it is ours");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    (format!("{out}{err}"), out)
}

fn is_harmless(text: &str) -> bool {
    !text.contains(['\x1b', '\u{202e}', '\u{2066}', '\t', '\u{9b}'])
}

#[tokio::test]
async fn no_text_output_shows_a_name_that_cannot_be_printed_as_it_is() {
    let fixture = Fixture::new().await;
    let held = fixture.clerk.acquire(HOSTILE).await.expect("it is free");
    let shell_name = HOSTILE.replace('\n', "");
    let held_too = fixture
        .clerk
        .acquire(&shell_name)
        .await
        .expect("it is free");
    let token = held.token().to_string();
    let wrong = (held.token().get() + 1).to_string();
    let long = format!("{HOSTILE}{}", "x".repeat(1_025));
    for args in [
        &["ls"][..],
        &["show", HOSTILE],
        &["why", HOSTILE],
        &["break", HOSTILE, "--token", &wrong, "--reason", HOSTILE],
        &["run", "-n", HOSTILE, "--", "true"],
        &["run", "y", "--", HOSTILE],
        &["--servers", HOSTILE, "ls"],
        &["lock", &long],
        &["show", HOSTILE, HOSTILE],
    ] {
        let (text, _) = written(&fixture, args, "").await;
        assert!(is_harmless(&text), "{args:?}: {text:?}");
        assert!(text.contains(r"\u{202e}"), "{args:?}: {text}");
    }
    for args in [&["ls"][..], &["show", HOSTILE], &["why", HOSTILE]] {
        let (text, _) = written(&fixture, args, "").await;
        assert!(text.contains(SHOWN), "{text}");
        let (_, json) = written(&fixture, &[args, &["--json"]].concat(), "").await;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let lock = json.pointer("/locks/0").unwrap_or(&json);
        assert_eq!(lock["name"], HOSTILE, "{json}");
    }
    let orders = format!("unlock {shell_name}\n{shell_name}\nrelease {shell_name}\n");
    let (text, _) = written(&fixture, &["shell"], &orders).await;
    assert!(is_harmless(&text), "{text:?}");
    assert_eq!(text.lines().count(), 3, "{text}");

    let args = ["break", HOSTILE, "--token", &token, "--reason", HOSTILE];
    let (text, _) = written(&fixture, &args, "").await;
    assert_eq!(text, "true\n");
    let logs = ServerId::BOTH.map(|server| fixture.pair.log(server));
    let logs = logs.join("");
    assert!(is_harmless(&logs), "{logs:?}");
    let broken = logs.lines().find(|line| line.contains("was broken"));
    let broken = broken.expect("it is logged");
    assert_eq!(broken.matches(SHOWN).count(), 2, "{broken}");
    drop(held_too);
}

/// The first line of a watch.
async fn watched(fixture: &Fixture) -> String {
    let mut watch = fixture.start("watch", Which::Stderr, Fault::Closed);
    watch.first_line().await
}

#[tokio::test]
async fn a_watch_shows_no_name_as_it_is_either() {
    let fixture = Fixture::new().await;
    let _held = fixture.clerk.acquire(HOSTILE).await.expect("it is free");
    let line = watched(&fixture).await;
    assert!(
        line.starts_with(&format!("{SHOWN}: granted to ")),
        "{line:?}"
    );
}

/// A clerk whose session has a name that cannot be printed.
async fn stranger(fixture: &Fixture) -> Clerk {
    let builder = Clerk::builder(fixture.pair.servers().clone()).lease(PATIENCE);
    let connect = builder.name(HOSTILE).connect();
    connect.await.expect("a server answers")
}

/// Lets a clerk wait for the lock `name`, and sees it in the queue.
async fn queue(fixture: &Fixture, clerk: Clerk, name: &'static str) -> JoinHandle<()> {
    let waits = tokio::spawn(async move { drop(clerk.acquire(name).await) });
    wait_until("it waits", PATIENCE, async || {
        let lock = fixture.clerk.show(name).await;
        lock.expect("an answer").waiters == 1
    })
    .await;
    waits
}

#[tokio::test]
async fn the_name_of_a_session_is_shown_no_other_way() {
    let fixture = Fixture::new().await;
    let (one, other) = (stranger(&fixture).await, stranger(&fixture).await);
    let held = one.acquire("a").await.expect("it is free");
    let line = watched(&fixture).await;
    assert!(
        line.starts_with(&format!("a: granted to {SHOWN}, ")),
        "{line:?}"
    );
    let _held_too = other.acquire("b").await.expect("it is free");
    let _one_waits = queue(&fixture, one, "b").await;
    let _other_waits = queue(&fixture, other, "a").await;

    let names = |json: &str| json.matches(&Value::from(HOSTILE).to_string()).count();
    for (args, places) in [(&["ls"][..], 2), (&["show", "a"], 2), (&["why", "a"], 4)] {
        let (text, _) = written(&fixture, args, "").await;
        assert!(is_harmless(&text), "{args:?}: {text:?}");
        assert!(text.matches(SHOWN).count() >= places, "{args:?}: {text}");
        let (_, json) = written(&fixture, &[args, &["--json"]].concat(), "").await;
        assert!(names(&json) >= places, "{args:?}: {json}");
    }
    let wrong = (held.token().get() + 1).to_string();
    let right = held.token().to_string();
    for args in [
        &["run", "-n", "a", "--", "true"][..],
        &["break", "a", "--token", &wrong, "--reason", "a test"],
    ] {
        let (text, _) = written(&fixture, args, "").await;
        assert!(is_harmless(&text), "{args:?}: {text:?}");
        assert!(text.contains(SHOWN), "{args:?}: {text}");
    }
    let args = ["break", "a", "--token", &right, "--reason", "a test"];
    assert_eq!(written(&fixture, &args, "").await.0, "true\n");
    let logs = ServerId::BOTH.map(|server| fixture.pair.log(server));
    let logs = logs.join("");
    assert!(is_harmless(&logs), "{logs:?}");
    let broken = logs.lines().find(|line| line.contains("was broken"));
    let broken = broken.expect("it is logged");
    assert!(broken.contains(SHOWN), "{broken}");
}
