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

use super::context::{Context, HostAction, pass};
use super::network::{client_host, host};
use super::owner_faults;
use super::owners::Owners;
use super::rng::Rng;

/// How much goes wrong in a run.
#[derive(Debug, Clone)]
pub(crate) struct FaultPlan {
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
pub(crate) async fn schedule(context: Context, script: FaultPlan, mut rng: Rng) -> turmoil::Result {
    context.wait_whole().await?;
    context.tell(format_args!("the pair is whole"));
    load(&context, script.ballast).await?;
    let weather = spawn_local(vary_network(context.clone(), script.clone(), rng.fork()));
    let owners = &script.owners;
    let perils = spawn_local(owner_faults::inject(
        context.clone(),
        owners.clone(),
        rng.fork(),
    ));
    let watch = spawn_local(owner_faults::watch(
        context.clone(),
        owners.clone(),
        rng.fork(),
    ));
    for _ in 0..script.failures {
        pass(rng.millis(0..600)).await;
        if !script.is_repaired {
            fail_for_good(&context, &mut rng).await;
            continue;
        }
        fail(&context, &mut rng).await?;
        context.wait_whole().await?;
        context.tell(format_args!("the pair is whole"));
    }
    pass(rng.millis(0..300)).await;
    for ends in [weather, perils] {
        ends.abort();
        let _ = ends.await;
    }
    clear_up(&context);
    everybody_is_answered(&context).await?;
    context.close();
    owner_faults::lose_one(&context, owners, &mut rng);
    context.wait_clients_gone().await?;
    watch.abort();
    owner_faults::succeed(&context, owners).await?;
    inspect(&context, &script).await
}

/// Fills the lock table. A few at a time: a burst that is cut into several writes is cut where the
/// random ids in it happen to end.
async fn load(context: &Context, ballast: u64) -> turmoil::Result {
    let clerk = clerk(context).await?;
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

pub(crate) async fn clerk(context: &Context) -> turmoil::Result<Clerk> {
    let builder = Clerk::builder(context.servers()).network(context.network("director"));
    Ok(builder.connect().await?)
}

/// One failure of one server, or of the link between the two; perhaps the same server again before
/// the pair is whole.
async fn fail(context: &Context, rng: &mut Rng) -> turmoil::Result {
    let server = rng.pick(&ServerId::BOTH);
    if rng.one_in(5) {
        return hold_link(context, rng).await;
    }
    loop {
        fail_once(context, server, rng).await?;
        if !rng.one_in(3) {
            return Ok(());
        }
        pass(rng.millis(0..400)).await;
    }
}

/// The first server is lost, or stopped until the other one has taken over.
async fn fail_for_good(context: &Context, rng: &mut Rng) {
    if rng.one_in(2) {
        return context.act(HostAction::Kill(ServerId::A));
    }
    context.act(HostAction::Stop(ServerId::A));
    pass(2 * context.peer_timeout()).await;
    wake(context, ServerId::A, rng).await;
}

/// Wakes a server; perhaps just when clients, who had gone to the other one, have come back.
async fn wake(context: &Context, server: ServerId, rng: &mut Rng) {
    if rng.one_in(2) {
        context.act(HostAction::ResetClients(server.peer()));
        pass(rng.millis(0..40)).await;
    }
    context.act(HostAction::Wake(server));
}

async fn fail_once(context: &Context, server: ServerId, rng: &mut Rng) -> turmoil::Result {
    let timeout = context.peer_timeout_millis();
    match rng.within(0..10) {
        0..3 => {
            context.act(HostAction::Kill(server));
            pass(rng.millis(0..2 * timeout)).await;
            context.act(HostAction::Start(server));
        }
        3 => {
            context.act(HostAction::Vanish(server));
            pass(rng.millis(0..3 * timeout)).await;
            context.act(HostAction::Start(server));
        }
        4 => {
            context.act(HostAction::Terminate(server));
            let ended = || !context.is_running(server);
            context.wait("a server to end", ended).await?;
            pass(rng.millis(0..timeout)).await;
            context.act(HostAction::Start(server));
        }
        5 => {
            context.act(HostAction::Stop(server));
            pass(rng.millis(0..3 * timeout)).await;
            context.act(HostAction::Kill(server));
            pass(rng.millis(0..timeout)).await;
            context.act(HostAction::Start(server));
        }
        _ => {
            context.act(HostAction::Stop(server));
            pass(rng.millis(1..3 * timeout)).await;
            wake(context, server, rng).await;
        }
    }
    Ok(())
}

/// Nothing passes between the servers for a while that is too short to count as a cut. What was
/// sent arrives later, or is lost with the connections it was sent on.
async fn hold_link(context: &Context, rng: &mut Rng) -> turmoil::Result {
    if rng.one_in(2) {
        lose_link(context, rng).await;
    } else {
        context.tell(format_args!("the link between the servers is held"));
        turmoil::hold("a", "b");
        pass(rng.millis(1..context.peer_timeout_millis() / 2)).await;
        turmoil::release("a", "b");
        context.tell(format_args!("it is released"));
    }
    // Two of them in a row would be a cut.
    pass(2 * context.peer_timeout()).await;
    Ok(())
}

async fn lose_link(context: &Context, rng: &mut Rng) {
    context.tell(format_args!("no server can reach the other one"));
    context.faults().lose_dials(true);
    for server in ServerId::BOTH {
        context.act(HostAction::ResetPeer(server));
    }
    pass(rng.millis(1..context.peer_timeout_millis() / 3)).await;
    context.faults().lose_dials(false);
    context.tell(format_args!("they can again"));
}

/// What happens between failures, during them and after.
async fn vary_network(context: Context, script: FaultPlan, mut rng: Rng) {
    loop {
        pass(rng.millis(5..400)).await;
        let server = rng.pick(&ServerId::BOTH);
        match rng.within(0..10) {
            0 => context.act(HostAction::ResetPeer(server)),
            1 => {
                for server in ServerId::BOTH {
                    context.act(HostAction::ResetPeer(server));
                }
            }
            2 | 3 => context.act(HostAction::ResetClients(server)),
            4 if script.is_repaired => {
                let most = rng.millis(1..context.peer_timeout_millis() / 12);
                context.act(HostAction::Latency("a", "b", most));
            }
            _ => {
                let client = rng.within(0..script.clients as u64);
                let client = client_host(usize::try_from(client).expect("a few"));
                cut(&context, &client, &mut rng).await;
            }
        }
    }
}

/// One client is cut off from one server for a while, in both directions or in one.
pub(crate) async fn cut(context: &Context, here: &str, rng: &mut Rng) {
    let server = rng.pick(&ServerId::BOTH);
    let there = host(server);
    context.tell(format_args!("{here} is cut off from {server}"));
    context.faults().cut(here, server);
    match rng.within(0..3) {
        0 => turmoil::partition(here, there),
        1 => turmoil::partition_oneway(here, there),
        _ => turmoil::partition_oneway(there, here),
    }
    pass(rng.millis(10..800)).await;
    mend(context, here, server);
    context.tell(format_args!("{here} reaches {server} again"));
}

pub(crate) fn mend(context: &Context, client: &str, server: ServerId) {
    context.faults().mend(client, server);
    // A machine that has vanished is cut off from everybody.
    if !context.faults().is_silent(client, host(server)) {
        turmoil::repair(client, host(server));
    }
}

fn clear_up(context: &Context) {
    for customer in context.client_hosts() {
        for server in ServerId::BOTH {
            mend(context, &customer, server);
        }
    }
    (0..context.owners()).for_each(|owner| context.act(HostAction::Revive(owner)));
}

/// A client that hangs for ever, or a server that does, is noticed here.
async fn everybody_is_answered(context: &Context) -> turmoil::Result {
    let owners = std::iter::repeat_n(1, context.owners());
    let more = std::iter::repeat_n(3, context.clients()).chain(owners);
    let goals: Vec<_> = std::iter::zip(context.answers(), more)
        .map(|(answers, more)| answers + more)
        .collect();
    context
        .wait("answers to every client", || {
            let answers = context.answers();
            let failed = !context.complaints().is_empty();
            failed || answers.iter().zip(&goals).all(|(now, goal)| now >= goal)
        })
        .await
}

/// Looks where things stand when nothing is under way any more.
async fn inspect(context: &Context, script: &FaultPlan) -> turmoil::Result {
    let history = context.recorder().history();
    let held = check(context, &history).await?;
    let servers = if script.is_repaired {
        at_rest(context).await?
    } else {
        Vec::new()
    };
    context.set_end(FinalState { held, servers });
    Ok(())
}

/// What the servers say once both stand at the same op.
async fn at_rest(context: &Context) -> turmoil::Result<Vec<ServerStatus>> {
    for _ in 0..100 {
        context.wait_whole().await?;
        let reports = context.reports().await.into_iter();
        let servers: Vec<_> = reports.filter_map(|report| report.status.ok()).collect();
        if servers.len() == 2 && servers[0].op == servers[1].op {
            return Ok(servers);
        }
        pass(Duration::from_millis(5)).await;
    }
    Err("the servers do not come to rest".into())
}

/// Which locks are held, tried out.
async fn check(context: &Context, history: &History) -> turmoil::Result<BTreeMap<LockName, bool>> {
    let clerk = clerk(context).await?;
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
