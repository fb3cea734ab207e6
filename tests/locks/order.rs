//! The order of operations: whatever the timing, the backup carries out the very sequence of its
//! primary.
//!
//! A server whose handlers forward concurrently passes nearly every other test: its replicas end in
//! the same state and have answered differently on the way. So bytes are delayed here before and
//! after each send, every answer is judged, and states are compared all along: by the test whenever
//! the pair is quiet, and by the backup itself after every batch, which it would tell in its log.

#[path = "../support/load/mod.rs"]
mod load;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use lockservice::clerk::Clerk;
use lockservice::service::{RoleName, ServerStatus};
use lockservice::testkit::{Direction, Pair};
use lockservice::types::{Digest, OpNumber, ServerId, View};

use self::load::{Load, processes};

const A: ServerId = ServerId::A;
const B: ServerId = ServerId::B;

/// A pair on which every byte is late, those between the servers by `link` each way.
async fn slow_pair(link: Duration) -> Pair {
    let pair = Pair::start(processes()).await;
    for direction in [Direction::Requests, Direction::Replies] {
        for server in ServerId::BOTH {
            pair.link_to(server).delay(direction, link);
            pair.front(server)
                .delay(direction, Duration::from_millis(1));
        }
    }
    pair
}

async fn statuses(pair: &Pair) -> [ServerStatus; 2] {
    let reports = pair.reports().await.into_iter();
    let statuses: Vec<_> = reports
        .map(|report| report.status.expect("it answers"))
        .collect();
    statuses.try_into().expect("a pair")
}

/// The states that the servers were seen in. A second one at the same op is a fork.
#[derive(Default)]
struct Seen {
    digests: BTreeMap<OpNumber, Digest>,
    /// How often one server was seen where the other one had been.
    compared: u32,
}

impl Seen {
    fn note(&mut self, status: &ServerStatus) {
        let digest = *self.digests.entry(status.op).or_insert(status.digest);
        assert_eq!(digest, status.digest, "{status:?}");
    }

    /// Looks at both servers.
    async fn look(&mut self, pair: &Pair, view: Option<View>) {
        let [a, b] = statuses(pair).await;
        self.note(&a);
        self.compared += u32::from(self.digests.contains_key(&b.op));
        self.note(&b);
        assert_eq!((a.view, b.view), (view, view), "nothing fails over");
        assert_eq!((a.role, b.role), (RoleName::Primary, RoleName::Backup));
    }
}

#[tokio::test]
async fn concurrent_calls_take_the_same_order_on_both_servers_however_slow_the_link_is() {
    let pair = slow_pair(Duration::from_millis(2)).await;
    let [before, _] = statuses(&pair).await;
    let load = Load::start(&pair, 16).await;
    let mut seen = Seen::default();
    let mut work = Box::pin(load.advance(200));
    loop {
        tokio::select! {
            () = &mut work => break,
            () = seen.look(&pair, before.view) => {}
        }
    }
    drop(work);
    let history = load.judge(&pair).await;
    assert!(history.operations().len() >= 16 * 200);
    seen.look(&pair, before.view).await;
    assert!(seen.compared > 0);
    let [a, b] = statuses(&pair).await;
    assert_eq!((a.op, a.digest), (b.op, b.digest));
}

/// One call of each clerk at the same time, all about the same two locks.
async fn burst(clerks: &[Clerk], round: usize) {
    let call = async |(number, clerk): (usize, &Clerk)| {
        let name = ["x", "y"][number % 2];
        if (number + round).is_multiple_of(3) {
            clerk.unlock(name).await
        } else {
            clerk.lock(name).await
        }
    };
    for answer in join_all(clerks.iter().enumerate().map(call)).await {
        answer.expect("an answer");
    }
}

#[tokio::test]
async fn what_is_answered_is_on_the_backup_in_the_same_state_without_any_waiting() {
    let pair = slow_pair(Duration::from_millis(1)).await;
    let [before, _] = statuses(&pair).await;
    let mut clerks = Vec::new();
    for _ in 0..16 {
        clerks.push(pair.clerk().await);
    }
    for round in 0..100 {
        burst(&clerks, round).await;
        // Every call is answered, so nothing is under way: the two must be equal now, not soon.
        let [a, b] = statuses(&pair).await;
        assert_eq!((a.op, a.digest, a.locks), (b.op, b.digest, b.locks));
        assert_eq!(a.acked, Some(a.op));
        assert_eq!((a.view, b.view), (before.view, before.view));
    }
    assert!(
        [A, B]
            .iter()
            .all(|&server| !pair.log(server).contains("WARN"))
    );
}
