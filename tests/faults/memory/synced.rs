//! A sync where there is little room for it.

use futures::future::join_all;
use lockservice::clerk::CallError;
use lockservice::service::Resource;
use lockservice::{Clerk, ServerId};
use tokio_util::sync::CancellationToken;

use crate::fixture::Fixture;

/// So little that many short names soon fill it: those that cost most to copy.
const MEMORY: u64 = 40 * 1024 * 1024;

const TASKS: u32 = 128;

pub(crate) async fn a_lone_primary_near_its_limit_survives_the_return_of_its_backup()
-> Result<(), String> {
    let mut fixture = Fixture::new(MEMORY, &[]).await?;
    fixture.kill(ServerId::B).await;
    fixture.until_alone(ServerId::A).await;
    let clerk = fixture.clerk().await;
    let taken = join_all((0..TASKS).map(|task| fill(&clerk, task))).await;
    let held = taken.iter().map(|count| u64::from(*count)).sum::<u64>();
    assert!(held > 10_000, "only {held} locks fit");

    let stop = CancellationToken::new();
    let churning = join_all(taken.iter().zip(0..).map(|(count, task)| {
        let (clerk, stop, count) = (clerk.clone(), stop.clone(), *count);
        async move { churn(&clerk, task, count, &stop).await }
    }));
    let churning = tokio::spawn(churning);
    fixture.start(ServerId::B);
    fixture.until_whole().await;
    stop.cancel();
    churning.await.expect("every answer is right");
    fixture.until_whole().await;
    for server in fixture.status().await {
        let status = server.status.expect("it answers");
        assert_eq!(status.locks, held, "{status:?}");
    }
    Ok(())
}

fn name(task: u32, number: u32) -> String {
    format!("{task}/{number}")
}

/// Locks until it is refused, and tells how many it has.
async fn fill(clerk: &Clerk, task: u32) -> u32 {
    let mut number = 0;
    loop {
        match clerk.lock(&name(task, number)).await {
            Ok(true) => number += 1,
            Err(CallError::Overloaded {
                resource: Resource::Memory,
                ..
            }) => return number,
            other => panic!("{task}, {number}: {other:?}"),
        }
    }
}

/// Frees and takes its locks one after the other, so that every part of the table is written to
/// meanwhile.
async fn churn(clerk: &Clerk, task: u32, count: u32, stop: &CancellationToken) {
    for number in (0..count).cycle() {
        if stop.is_cancelled() {
            return;
        }
        let name = name(task, number);
        assert_eq!(clerk.unlock(&name).await.ok(), Some(true), "{name}");
        let locked = clerk.lock(&name).await;
        assert!(matches!(locked, Ok(true)), "{name}: {locked:?}");
    }
}
