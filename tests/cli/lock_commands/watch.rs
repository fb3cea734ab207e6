//! Changes, as they are seen.

use lockservice::ServerId;
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Fixture, queue};
use crate::program::Program;

async fn event(watch: &mut Program) -> (String, String, Option<u64>) {
    let line = watch.line().await;
    let told: Value = serde_json::from_str(&line).expect("JSON");
    let text = |field: &str| told[field].as_str().expect(field).to_owned();
    (text("event"), text("name"), told["token"].as_u64())
}

fn expected(event: &str, name: &str, token: Option<u64>) -> (String, String, Option<u64>) {
    (event.to_owned(), name.to_owned(), token)
}

#[tokio::test]
async fn each_change_is_a_line_beginning_with_what_is_there() {
    let fixture = Fixture::new().await;
    let (alice, bob) = (fixture.clerk().await, fixture.clerk().await);
    let first = alice.acquire("a/1").await.expect("it is free");
    let mut watch = fixture.start("watch a/ --json --every 10ms");
    let token = Some(first.token().get());
    assert_eq!(event(&mut watch).await, expected("granted", "a/1", token));

    let waits = queue(&bob, "a/1", 0).await;
    assert_eq!(event(&mut watch).await, expected("queued", "a/1", None));
    first.release().await.expect("it was held");
    let second = waits.await.expect("no panic");
    assert_eq!(event(&mut watch).await, expected("ended", "a/1", token));
    let token = Some(second.token().get());
    assert_eq!(event(&mut watch).await, expected("granted", "a/1", token));

    let gives_up = queue(&alice, "a/1", 0).await;
    assert_eq!(event(&mut watch).await, expected("queued", "a/1", None));
    gives_up.abort();
    assert_eq!(event(&mut watch).await, expected("left", "a/1", None));

    assert!(alice.lock("b").await.expect("an answer"));
    assert!(alice.lock("a/2").await.expect("an answer"));
    assert_eq!(event(&mut watch).await, expected("locked", "a/2", None));
    assert!(alice.unlock("a/2").await.expect("an answer"));
    assert_eq!(event(&mut watch).await, expected("unlocked", "a/2", None));

    let broken = alice.break_lock("a/1", second.token(), "a test").await;
    assert!(broken.expect("an answer").is_broken());
    assert_eq!(event(&mut watch).await, expected("ended", "a/1", token));
    watch.send(Signal::INT);
    let ended = watch.ended().await;
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "", "")
    );
}

#[tokio::test]
async fn people_read_sentences_and_sigterm_ends_it_as_well() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let held = clerk.acquire("a").await.expect("it is free");
    let mut watch = fixture.start("watch --every 10ms");
    let line = watch.line().await;
    let (beginning, end) = (
        "a: granted to ",
        format!(", exclusive, token {}", held.token()),
    );
    assert!(
        line.starts_with(beginning) && line.ends_with(&end),
        "{line}"
    );
    watch.send(Signal::TERM);
    assert_eq!(watch.ended().await.code, Some(0));
}

#[tokio::test]
async fn it_goes_on_when_the_servers_are_back() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.clerk().await.lock("a").await.expect("an answer"));
    let mut watch = fixture.start("--timeout 2s watch --json --every 10ms");
    assert_eq!(event(&mut watch).await, expected("locked", "a", None));
    for server in ServerId::BOTH {
        fixture.pair.kill(server);
    }
    let complaint = watch.complaint().await;
    assert!(
        complaint.starts_with("lockc: no answer within 2s; nothing was changed"),
        "{complaint}"
    );
    for server in ServerId::BOTH {
        fixture.pair.run(server);
    }
    assert_eq!(event(&mut watch).await, expected("unlocked", "a", None));
    watch.send(Signal::INT);
    assert_eq!(watch.ended().await.code, Some(0));
}
