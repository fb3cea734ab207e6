//! Bytes pass between clients and a server in one direction only.

use lockservice::testkit::{Direction, Pair};

use crate::edition::rounds;
use crate::load::{Load, processes};
use crate::{A, B};

#[tokio::test]
async fn a_server_that_hears_clients_and_is_not_heard_or_the_reverse_costs_them_nothing() {
    let pair = Pair::start(processes()).await;
    let before = pair.status(A).await.expect("it answers").view;
    let load = Load::start(&pair, 6).await;
    for _ in 0..rounds(1, 25) {
        for server in [A, B] {
            for direction in [Direction::Replies, Direction::Requests] {
                pair.front(server).hold(direction);
                load.advance(60).await;
                // What comes late is no answer to anything any more, and no call.
                pair.front(server).release(direction);
                load.advance(20).await;
            }
        }
    }
    pair.wait_whole().await;
    let after = pair.status(A).await.expect("it answers").view;
    assert_eq!(after, before, "no failover");
    load.judge(&pair).await;
}
