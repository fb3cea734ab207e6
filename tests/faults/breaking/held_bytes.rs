//! What the primary had sent to its backup arrives when the primary is long gone.

use std::time::Duration;

use futures::future::join_all;
use lockservice::service::{RoleName, ServerStatus};
use lockservice::testkit::{Direction, Pair, RecordedClerk, Recorder, wait_until};
use lockservice::types::{Digest, OpNumber, ServerId, View};

use crate::check;
use crate::edition::rounds;
use crate::load::{PATIENCE, processes};

/// Calls whose client gives up, and calls whose client asks again. Of the first there are more: if
/// the late bytes were believed, they would reach beyond what the new primary has carried out
/// since.
const GIVEN_UP: usize = 60;
const RETRIED: usize = 6;

/// Less than those calls take.
const CALLS_BYTES: u64 = 2_000;

/// More than a forward takes of as many commands as the new primary carries out before it arrives.
const BATCH_BYTES: u64 = 700;

/// A long time for so few milliseconds, so that the hold is no failure by itself.
const PEER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a round is tried at most, on a machine that has no time for it.
const MOST_TRIES: u32 = 10;

struct Clients {
    gives_up: RecordedClerk,
    asks_again: RecordedClerk,
}

/// Takes many locks at once, which nobody else wants.
async fn lock_all(client: &RecordedClerk, kind: &str, round: u32, count: usize) -> Vec<bool> {
    let names: Vec<_> = (0..count).map(|n| format!("{kind}/{round}/{n}")).collect();
    let answers = join_all(names.iter().map(|name| client.lock(name))).await;
    let answers = answers.into_iter();
    answers.map(|answer| answer.expect("an answer")).collect()
}

/// Asks both clients' calls, all at once, of a primary whose words do not reach its backup, and
/// kills it when it has carried them out. Gives the answers that the backup has for the one who
/// asks again, and how many bytes are on their way; none if the machine was so busy that the backup
/// has taken over before.
async fn ask_and_kill(
    pair: &mut Pair,
    primary: ServerId,
    clients: &Clients,
    round: u32,
) -> Option<(Vec<bool>, u64)> {
    let backup = primary.peer();
    let before = status(pair, primary).await.op.0;
    // The calls find it asleep, so that it forwards them together.
    pair.stop(primary);
    pair.link_to(backup).hold(Direction::Requests);
    let mut given_up = Box::pin(lock_all(&clients.gives_up, "given-up", round, GIVEN_UP));
    let mut answers = Box::pin(lock_all(&clients.asks_again, "retried", round, RETRIED));
    let asked = pair.front(primary).traffic().requests.passed;
    let all = before + (GIVEN_UP + RETRIED) as u64;
    let carried_out = async {
        wait_until("calls in its sockets", PATIENCE, async || {
            pair.front(primary).traffic().requests.passed - asked > CALLS_BYTES
        })
        .await;
        pair.wake(primary);
        wait_until("calls carried out", PATIENCE, async || {
            // A busy machine may take longer to answer than is waited for.
            let status = pair.status(primary).await;
            status.is_some_and(|status| status.op.0 >= all)
        })
        .await;
        let status = pair.status(backup).await;
        status.is_some_and(|status| status.role == RoleName::Backup)
    };
    // None of the calls is safe yet.
    let is_in_time = tokio::select! {
        biased;
        _ = &mut given_up => false,
        _ = &mut answers => false,
        in_time = carried_out => in_time,
    };
    if !is_in_time {
        pair.wake(primary);
        pair.link_to(backup).release(Direction::Requests);
        pair.wait_whole().await;
        return None;
    }
    let sent = pair.link_to(backup).traffic().requests;
    pair.kill(primary);
    drop(given_up);
    Some((answers.await, sent.arrived - sent.passed))
}

async fn status(pair: &Pair, server: ServerId) -> ServerStatus {
    pair.status(server).await.expect("it answers")
}

/// All that a late command could change.
fn state(status: &ServerStatus) -> (RoleName, Option<View>, OpNumber, Digest) {
    (status.role, status.view, status.op, status.digest)
}

#[tokio::test]
async fn what_a_dead_primary_had_sent_changes_nothing_when_it_arrives_after_the_takeover() {
    let mut pair = Pair::start(processes().peer_timeout(PEER_TIMEOUT)).await;
    let recorder = Recorder::new();
    let mut most_held = 0;
    let (mut played, mut round) = (0, 0);
    while played < rounds(8, 100) {
        round += 1;
        assert!(
            round < MOST_TRIES * rounds(8, 100),
            "the machine is too busy"
        );
        let primary = pair.primary().await.expect("a whole pair has one");
        let backup = primary.peer();
        // They ask the primary first.
        pair.cut_client(backup);
        let clients = Clients {
            gives_up: recorder.client(1, pair.clerk().await),
            asks_again: recorder.client(2, pair.clerk().await),
        };
        pair.mend_client(backup);
        let asked = ask_and_kill(&mut pair, primary, &clients, round).await;
        let Some((answers, held)) = asked else {
            continue;
        };
        played += 1;
        most_held = most_held.max(held);
        assert_eq!(answers, [true; RETRIED], "nobody else wants them");
        pair.wait_role(backup, RoleName::Standalone).await;

        let before = status(&pair, backup).await;
        let link = pair.link_to(backup);
        link.release(Direction::Requests);
        wait_until("nothing is on its way any more", PATIENCE, async || {
            link.traffic().open == 0
        })
        .await;
        let after = status(&pair, backup).await;
        assert_eq!(state(&after), state(&before));
        assert!(
            clients
                .asks_again
                .unlock(&format!("retried/{round}/0"))
                .await
                .expect("an answer")
        );
        pair.run(primary);
        pair.wait_whole().await;
    }
    assert!(most_held > BATCH_BYTES, "only {most_held} bytes were held");
    check(&pair, &recorder.history()).await;
}
