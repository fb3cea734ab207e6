//! What is held, who waits, and for whom.

use std::time::SystemTime;

use futures::future::join_all;
use lockservice::types::UnixTime;
use serde_json::{Value, json};

use crate::fixture::{Fixture, queue};
use crate::program::PATIENCE;

#[tokio::test]
async fn locks_are_listed_by_name_with_their_holders_and_the_number_of_waiters() {
    let fixture = Fixture::new().await;
    let (alice, bob) = (fixture.clerk().await, fixture.clerk().await);
    let b = alice.acquire("b/2").await.expect("it is free");
    let a = alice.acquire("a/1").await.expect("it is free");
    assert!(bob.lock("b/1").await.expect("an answer"));
    let waits = queue(&bob, "b/2", 0).await;

    let ended = fixture.run("ls").await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let rows = ended.words();
    let tokens = [&a, &b].map(|guard| guard.token().to_string());
    assert_eq!(rows[0], ["NAME", "HOLDER", "MODE", "TOKEN", "WAITERS"]);
    assert_eq!(rows[1][0], "a/1");
    assert_eq!(rows[1][2..], ["exclusive", &tokens[0], "0"]);
    assert_eq!(rows[2], ["b/1", "nobody", "-", "-", "0"]);
    assert_eq!(rows[3][0], "b/2");
    assert_eq!(rows[3][2..], ["exclusive", &tokens[1], "1"]);
    assert_eq!(rows[3][1], rows[1][1]);
    assert_eq!(rows.len(), 4);

    let told = fixture.run("ls b/ --json").await.json();
    assert_eq!(told["locks"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        told["locks"][0],
        json!({ "name": "b/1", "state": "plain", "holders": [], "waiters": 0 })
    );
    let owned = &told["locks"][1];
    assert_eq!(
        (&owned["state"], &owned["waiters"]),
        (&"owned".into(), &1.into())
    );
    assert_eq!(owned["holders"][0]["token"], b.token().get());
    drop(b);
    drop(waits.await.expect("no panic"));
}

/// Its pages are larger than what a client may send, and end between locks that are in one part of
/// the table.
#[tokio::test]
async fn a_long_listing_has_every_lock() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let names: Vec<_> = (0..2_000).map(|number| format!("{number:01000}")).collect();
    let locked = names.iter().map(|name| clerk.lock(name));
    assert!(
        join_all(locked)
            .await
            .into_iter()
            .all(|it| it.expect("an answer"))
    );
    let told = fixture.run("ls --json").await.json();
    let locks = told["locks"].as_array().expect("a list");
    let listed = locks
        .iter()
        .map(|lock| lock["name"].as_str().expect("a name"));
    assert!(listed.eq(names.iter().map(String::as_str)));
}

#[tokio::test]
async fn a_lock_that_many_share_is_listed_with_all_of_them() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let mut guards = Vec::new();
    for _ in 0..6 {
        let guard = clerk.request("config").shared().acquire().await;
        guards.push(guard.expect("it can be shared"));
    }
    let ended = fixture.run("ls").await;
    let rows = ended.words();
    for (row, guard) in rows[1..].iter().zip(&guards) {
        assert_eq!(row[2..4], ["shared", &guard.token().to_string()]);
    }
    assert_eq!(rows.len(), 7);
}

#[tokio::test]
async fn a_lock_is_shown_with_its_queue_in_order() {
    let fixture = Fixture::new().await;
    let ended = fixture.run("show job").await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), "job is free\n")
    );
    let told = fixture.run("show job --json").await;
    assert_eq!(told.code, Some(1));
    assert_eq!(
        told.json(),
        json!({ "name": "job", "state": "free", "holders": [], "waiters": 0, "queue": [] })
    );

    let holder = fixture.clerk().await;
    let held = holder.acquire("job").await.expect("it is free");
    let waiters = [
        fixture.clerk().await,
        fixture.clerk().await,
        fixture.clerk().await,
    ];
    let mut queued = Vec::new();
    let mut sessions = Vec::new();
    for (before, clerk) in (0..).zip(&waiters) {
        queued.push(queue(clerk, "job", before).await);
        let lock = clerk.show("job").await.expect("an answer");
        sessions.push(lock.entries.last().expect("its own").session.0);
    }
    let told = fixture.run("show job --json").await;
    assert_eq!(told.code, Some(0));
    let told = told.json();
    assert_eq!(
        (&told["state"], &told["waiters"]),
        (&"owned".into(), &3.into())
    );
    assert_eq!(told["holders"][0]["token"], held.token().get());
    assert_eq!(told["holders"][0]["mode"], "exclusive");
    let since = told["holders"][0]["since"].as_u64().expect("a time");
    let (since, now) = (UnixTime(since).time(), SystemTime::now());
    let ago = now.duration_since(since).expect("it is over");
    assert!(ago < PATIENCE, "{ago:?}");
    let queue = told["queue"].as_array().expect("a list");
    let order: Vec<_> = queue
        .iter()
        .map(|place| place["session"].as_u64())
        .collect();
    assert_eq!(order, sessions.into_iter().map(Some).collect::<Vec<_>>());

    let ended = fixture.run("show job").await;
    let rows = ended.words();
    assert!(
        ended.stdout.starts_with("job is held by "),
        "{}",
        ended.stdout
    );
    assert_eq!(rows[3][0], "holds");
    assert_eq!((rows[2][5], rows[3][7]), ("SINCE", "UTC"));
    assert_eq!(rows[3].last(), Some(&"ago)"));
    assert_eq!(rows[6][..2], ["waits,", "3"]);
    assert_eq!(ended.code, Some(0));
}

#[tokio::test]
async fn why_follows_the_holders_and_finds_no_deadlock_where_there_is_none() {
    let fixture = Fixture::new().await;
    let (alice, bob) = (fixture.clerk().await, fixture.clerk().await);
    let _a = alice.acquire("a").await.expect("it is free");
    let _b = bob.acquire("b").await.expect("it is free");
    let _waits = queue(&alice, "b", 0).await;
    let ended = fixture.run("why a").await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(
        ended.stdout.contains(" waits for b, place 1\n"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.ends_with("\nNo deadlock.\n"),
        "{}",
        ended.stdout
    );

    let told = fixture.run("why a --json").await.json();
    assert_eq!(
        (&told["deadlock"], &told["cycle"]),
        (&false.into(), &json!([]))
    );
    let names: Vec<_> = told["locks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|lock| &lock["name"])
        .collect();
    assert_eq!(names, ["a", "b"]);
    let ended = fixture.run("why free").await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "free is free\n\nNo deadlock.\n")
    );
}

#[tokio::test]
async fn why_names_a_deadlock_and_breaking_one_of_its_locks_ends_it() {
    let fixture = Fixture::new().await;
    let (alice, bob) = (fixture.clerk().await, fixture.clerk().await);
    let _a = alice.acquire("a").await.expect("it is free");
    let b = bob.acquire("b").await.expect("it is free");
    let alice_waits = queue(&alice, "b", 0).await;
    let _bob_waits = queue(&bob, "a", 0).await;
    let ended = fixture.run("why a").await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("\nDEADLOCK: "), "{}", ended.stdout);

    let told = fixture.run("why a --json").await;
    assert_eq!(told.code, Some(1));
    let told = told.json();
    assert_eq!(told["deadlock"], true);
    let cycle = told["cycle"].as_array().expect("a list");
    let waits: Vec<_> = cycle.iter().map(|link| &link["waits_for"]).collect();
    assert_eq!(waits, ["b", "a"]);
    assert_eq!(cycle[0]["held_by"], cycle[1]["session"]);
    let token = &cycle[0]["token"];
    assert_eq!(token, &Value::from(b.token().get()));

    let ended = fixture
        .run(&format!("break b --token {token} --reason deadlock"))
        .await;
    assert_eq!(ended.code, Some(0));
    drop(alice_waits.await.expect("no panic"));
    assert_eq!(fixture.run("why a").await.code, Some(0));
}

#[tokio::test]
async fn a_lock_that_is_owned_is_not_unlocked_and_whoever_tries_is_told_why() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let guard = clerk.acquire("job").await.expect("it is free");
    let ended = fixture.run("unlock job").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("owned"), "{ended:?}");
    assert_eq!(fixture.run("lock job").await.code, Some(1));
    guard.release().await.expect("it was held all the time");
}
