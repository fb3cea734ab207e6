//! One client after the other, and a server that dies between two calls.

use lockservice::service::RoleName;
use lockservice::testkit::PairOptions;
use lockservice::types::ServerId;

use crate::fixture::{A, B, Fixture, lock, unlock};

/// Basic lock and unlock: every answer there is, on two locks that do not depend on each other.
pub(crate) async fn none(options: PairOptions) {
    let mut fixture = Fixture::start(options).await;
    let one = fixture.client().await;
    let other = fixture.client().await;

    assert!(!unlock(&one, "x").await, "a lock never used is free");
    assert!(lock(&one, "x").await);
    assert!(!lock(&one, "x").await, "held by the same client");
    assert!(!lock(&other, "x").await, "held by another client");
    assert!(lock(&other, "y").await);
    assert!(unlock(&one, "x").await);
    assert!(!unlock(&one, "x").await, "free already");
    assert!(!lock(&one, "y").await, "still held");
    assert!(unlock(&one, "y").await, "anybody may unlock");
    assert!(!unlock(&other, "y").await);
    assert!(lock(&other, "x").await);
    fixture.end().await;
}

/// The primary dies: its backup keeps what was held, and what was free.
pub(crate) async fn of_the_primary(options: PairOptions) {
    outlive(A, options).await;
}

/// The backup dies: the primary goes on alone.
pub(crate) async fn of_the_backup(options: PairOptions) {
    outlive(B, options).await;
}

async fn outlive(dead: ServerId, options: PairOptions) {
    let mut fixture = Fixture::start(options).await;
    let one = fixture.client().await;
    let other = fixture.client().await;
    assert!(lock(&one, "held").await);
    assert!(lock(&other, "freed").await);
    assert!(unlock(&one, "freed").await);

    fixture.pair.kill(dead);
    assert!(!lock(&one, "held").await);
    assert!(!lock(&other, "held").await);
    assert!(!unlock(&one, "freed").await);
    fixture
        .pair
        .wait_role(dead.peer(), RoleName::Standalone)
        .await;
    assert!(unlock(&other, "held").await);
    assert!(lock(&other, "freed").await);
    let newcomer = fixture.client().await;
    assert!(!lock(&newcomer, "freed").await);
    assert!(lock(&newcomer, "held").await);
    fixture.end_after_a_kill_of(dead).await;
}
