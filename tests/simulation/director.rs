//! Decides, by the dice, what goes wrong and when; never more than is promised to be survived.
//!
//! One server at a time fails, and the other one only once the pair is whole again. The servers are
//! never cut off from each other while both run: their link is held for less than a `peer_timeout`,
//! and reset at any time. What lies between clients and servers may do anything, as long as each
//! client reaches one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use lockservice::clerk::Clerk;
use lockservice::service::ServerStatus;
use lockservice::testkit::History;
use lockservice::testkit::invariants::FinalState;
use lockservice::types::{LockName, ServerId};
use tokio::task::spawn_local;

use super::dice::Dice;
use super::net::{client_host, host};
use super::owners::Owners;
use super::perils;
use super::stage::{Order, Stage, pass};

/// How much goes wrong in a run.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Failures of a server, one after the other.
    pub(crate) failures: u64,
    pub(crate) clients: usize,
    /// Whether a server comes back from every failure, so that the pair is whole again.
    pub(crate) is_repaired: bool,
    /// Locks with long names that are held all the time.
    pub(crate) ballast: u64,
    /// Those who own locks.
    pub(crate) owners: Owners,
}

/// Runs the whole show, and looks where things stand in the end.
pub(crate) async fn direct(stage: Stage, script: Script, mut dice: Dice) -> turmoil::Result {
    stage.wait_whole().await?;
    stage.tell(format_args!("the pair is whole"));
    load(&stage, script.ballast).await?;
    let weather = spawn_local(weather(stage.clone(), script.clone(), dice.fork()));
    let owners = &script.owners;
    let perils = spawn_local(perils::befall(stage.clone(), owners.clone(), dice.fork()));
    let watch = spawn_local(perils::watch(stage.clone(), owners.clone(), dice.fork()));
    for _ in 0..script.failures {
        pass(dice.millis(0..600)).await;
        if !script.is_repaired {
            fail_for_good(&stage, &mut dice).await;
            continue;
        }
        fail(&stage, &mut dice).await?;
        stage.wait_whole().await?;
        stage.tell(format_args!("the pair is whole"));
    }
    pass(dice.millis(0..300)).await;
    for ends in [weather, perils] {
        ends.abort();
        let _ = ends.await;
    }
    clear_up(&stage);
    everybody_is_answered(&stage).await?;
    stage.close();
    perils::lose_one(&stage, owners, &mut dice);
    stage.wait_clients_gone().await?;
    watch.abort();
    perils::succeed(&stage, owners).await?;
    look(&stage, &script).await
}

/// Fills the lock table. A few at a time: a burst that is cut into several writes is cut where the
/// random ids in it happen to end.
async fn load(stage: &Stage, ballast: u64) -> turmoil::Result {
    let clerk = clerk(stage).await?;
    let names = (0..ballast).map(|number| format!("{number:0width$}", width = LockName::MAX_BYTES));
    let calls = names.map(|name| {
        let clerk = &clerk;
        async move { clerk.lock(&name).await }
    });
    let loading = stream::iter(calls).buffer_unordered(4);
    loading.try_for_each(async |_| Ok(())).await?;
    clerk.close().await;
    Ok(())
}

pub(crate) async fn clerk(stage: &Stage) -> turmoil::Result<Clerk> {
    let builder = Clerk::builder(stage.servers()).network(stage.network("director"));
    Ok(builder.connect().await?)
}

/// One failure of one server, or of the link between the two; perhaps the same server again before
/// the pair is whole.
async fn fail(stage: &Stage, dice: &mut Dice) -> turmoil::Result {
    let server = dice.pick(&ServerId::BOTH);
    if dice.one_in(5) {
        return hold_link(stage, dice).await;
    }
    loop {
        fail_once(stage, server, dice).await?;
        if !dice.one_in(3) {
            return Ok(());
        }
        pass(dice.millis(0..400)).await;
    }
}

/// The first server is lost, or stopped until the other one has taken over.
async fn fail_for_good(stage: &Stage, dice: &mut Dice) {
    if dice.one_in(2) {
        return stage.order(Order::Kill(ServerId::A));
    }
    stage.order(Order::Stop(ServerId::A));
    pass(2 * stage.peer_timeout()).await;
    wake(stage, ServerId::A, dice).await;
}

/// Wakes a server; perhaps just when clients, who had gone to the other one, have come back.
async fn wake(stage: &Stage, server: ServerId, dice: &mut Dice) {
    if dice.one_in(2) {
        stage.order(Order::ResetClients(server.peer()));
        pass(dice.millis(0..40)).await;
    }
    stage.order(Order::Wake(server));
}

async fn fail_once(stage: &Stage, server: ServerId, dice: &mut Dice) -> turmoil::Result {
    let timeout = stage.peer_timeout_millis();
    match dice.within(0..10) {
        0..3 => {
            stage.order(Order::Kill(server));
            pass(dice.millis(0..2 * timeout)).await;
            stage.order(Order::Start(server));
        }
        3 => {
            stage.order(Order::Vanish(server));
            pass(dice.millis(0..3 * timeout)).await;
            stage.order(Order::Start(server));
        }
        4 => {
            stage.order(Order::Terminate(server));
            let ended = || !stage.is_running(server);
            stage.wait("a server to end", ended).await?;
            pass(dice.millis(0..timeout)).await;
            stage.order(Order::Start(server));
        }
        5 => {
            stage.order(Order::Stop(server));
            pass(dice.millis(0..3 * timeout)).await;
            stage.order(Order::Kill(server));
            pass(dice.millis(0..timeout)).await;
            stage.order(Order::Start(server));
        }
        _ => {
            stage.order(Order::Stop(server));
            pass(dice.millis(1..3 * timeout)).await;
            wake(stage, server, dice).await;
        }
    }
    Ok(())
}

/// Nothing passes between the servers for a while that is too short to count as a cut. What was
/// sent arrives later, or is lost with the connections it was sent on.
async fn hold_link(stage: &Stage, dice: &mut Dice) -> turmoil::Result {
    if dice.one_in(2) {
        lose_link(stage, dice).await;
    } else {
        stage.tell(format_args!("the link between the servers is held"));
        turmoil::hold("a", "b");
        pass(dice.millis(1..stage.peer_timeout_millis() / 2)).await;
        turmoil::release("a", "b");
        stage.tell(format_args!("it is released"));
    }
    // Two of them in a row would be a cut.
    pass(2 * stage.peer_timeout()).await;
    Ok(())
}

async fn lose_link(stage: &Stage, dice: &mut Dice) {
    stage.tell(format_args!("no server can reach the other one"));
    stage.faults().lose_dials(true);
    for server in ServerId::BOTH {
        stage.order(Order::ResetPeer(server));
    }
    pass(dice.millis(1..stage.peer_timeout_millis() / 3)).await;
    stage.faults().lose_dials(false);
    stage.tell(format_args!("they can again"));
}

/// What happens between failures, during them and after.
async fn weather(stage: Stage, script: Script, mut dice: Dice) {
    loop {
        pass(dice.millis(5..400)).await;
        let server = dice.pick(&ServerId::BOTH);
        match dice.within(0..10) {
            0 => stage.order(Order::ResetPeer(server)),
            1 => {
                for server in ServerId::BOTH {
                    stage.order(Order::ResetPeer(server));
                }
            }
            2 | 3 => stage.order(Order::ResetClients(server)),
            4 if script.is_repaired => {
                let most = dice.millis(1..stage.peer_timeout_millis() / 12);
                stage.order(Order::Latency("a", "b", most));
            }
            _ => {
                let client = dice.within(0..script.clients as u64);
                let client = client_host(usize::try_from(client).expect("a few"));
                cut(&stage, &client, &mut dice).await;
            }
        }
    }
}

/// One client is cut off from one server for a while, in both directions or in one.
pub(crate) async fn cut(stage: &Stage, here: &str, dice: &mut Dice) {
    let server = dice.pick(&ServerId::BOTH);
    let there = host(server);
    stage.tell(format_args!("{here} is cut off from {server}"));
    stage.faults().cut(here, server);
    match dice.within(0..3) {
        0 => turmoil::partition(here, there),
        1 => turmoil::partition_oneway(here, there),
        _ => turmoil::partition_oneway(there, here),
    }
    pass(dice.millis(10..800)).await;
    mend(stage, here, server);
    stage.tell(format_args!("{here} reaches {server} again"));
}

pub(crate) fn mend(stage: &Stage, client: &str, server: ServerId) {
    stage.faults().mend(client, server);
    // A machine that has vanished is cut off from everybody.
    if !stage.faults().is_silent(client, host(server)) {
        turmoil::repair(client, host(server));
    }
}

fn clear_up(stage: &Stage) {
    for customer in stage.customers() {
        for server in ServerId::BOTH {
            mend(stage, &customer, server);
        }
    }
    (0..stage.owners()).for_each(|owner| stage.order(Order::Revive(owner)));
}

/// A client that hangs for ever, or a server that does, is noticed here.
async fn everybody_is_answered(stage: &Stage) -> turmoil::Result {
    let owners = std::iter::repeat_n(1, stage.owners());
    let more = std::iter::repeat_n(3, stage.clients()).chain(owners);
    let goals: Vec<_> = std::iter::zip(stage.answers(), more)
        .map(|(answers, more)| answers + more)
        .collect();
    stage
        .wait("answers to every client", || {
            let answers = stage.answers();
            let failed = !stage.complaints().is_empty();
            failed || answers.iter().zip(&goals).all(|(now, goal)| now >= goal)
        })
        .await
}

/// Looks where things stand when nothing is under way any more.
async fn look(stage: &Stage, script: &Script) -> turmoil::Result {
    let history = stage.recorder().history();
    let held = audit(stage, &history).await?;
    let servers = if script.is_repaired {
        at_rest(stage).await?
    } else {
        Vec::new()
    };
    stage.set_end(FinalState { held, servers });
    Ok(())
}

/// What the servers say once both stand at the same op.
async fn at_rest(stage: &Stage) -> turmoil::Result<Vec<ServerStatus>> {
    for _ in 0..100 {
        stage.wait_whole().await?;
        let reports = stage.reports().await.into_iter();
        let servers: Vec<_> = reports.filter_map(|report| report.status.ok()).collect();
        if servers.len() == 2 && servers[0].op == servers[1].op {
            return Ok(servers);
        }
        pass(Duration::from_millis(5)).await;
    }
    Err("the servers do not come to rest".into())
}

/// Which locks are held, tried out.
async fn audit(stage: &Stage, history: &History) -> turmoil::Result<BTreeMap<LockName, bool>> {
    let clerk = clerk(stage).await?;
    let mut held = BTreeMap::new();
    for name in history.by_name().into_keys() {
        let is_free = clerk.lock(name.as_str()).await?;
        if is_free {
            clerk.unlock(name.as_str()).await?;
        }
        held.insert(name.clone(), !is_free);
    }
    clerk.close().await;
    Ok(held)
}
