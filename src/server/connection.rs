//! One connection: its preface, and the service that answers its requests.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::accept::ConnectionPermits;
use super::greeting::Greeting;
use super::rpc::LockRpc;
use crate::config::{MAX_FRAME_BYTES, MAX_REQUEST_BYTES};
use crate::engine::ConnectionNumber;
use crate::rpc::serve::{Idle, answer_requests};
use crate::rpc::{GreetError, Purpose, Rejection, RunId, greet, reject, server_transport, welcome};
use crate::service::{LockService as _, LockServiceRequest};
use crate::transport::{PairId, Stream};
use crate::types::{ClientAddress, ClusterId, ServerId};

/// Serves one connection until it ends.
pub(super) async fn serve(
    shared: Arc<Shared>,
    permits: ConnectionPermits,
    number: ConnectionNumber,
    mut stream: Stream,
    who: String,
    greeting: Greeting,
) {
    let patience = shared.config.timing.preface_timeout;
    // The peer may still send requests after this server has handed over.
    let stopping = if shared.stopping.is_cancelled() {
        CancellationToken::new()
    } else {
        shared.stopping.clone()
    };
    let purpose = tokio::select! {
        biased;
        () = stopping.cancelled() => return,
        () = greeting.cancelled() => {
            return tracing::debug!(%who, "closed a connection that has not said what it is, for another");
        }
        greeted = timeout(patience, greet(&mut stream)) => match greeted {
            Ok(Ok(purpose)) => purpose,
            Ok(Err(error)) => return tell_refusal(&shared, &who, &error),
            Err(_) => return tracing::debug!(%who, "refused a connection: it did not say what it is"),
        },
    };
    drop(greeting);
    match purpose {
        Purpose::Client if shared.stopping.is_cancelled() => {}
        Purpose::Client => match permits.take(shared.config.limits.connections) {
            Some(_seated) => serve_client(&shared, stream, ClientAddress::new(&who)).await,
            None => turn_away(&shared, &mut stream, &who, Rejection::Busy).await,
        },
        Purpose::Peer { from, pair, run } => match misfit(&shared, from, pair, run) {
            None => shared.engine.serve_peer(number, stream, &stopping).await,
            Some(why) => turn_away(&shared, &mut stream, &who, why).await,
        },
    }
}

/// Why a dialing server is not a peer of this one.
fn misfit(shared: &Shared, from: ServerId, pair: PairId, run: RunId) -> Option<Rejection> {
    let config = &shared.config;
    if run == shared.run {
        Some(Rejection::Itself)
    } else if pair != config.servers.pair_id() || config.servers.ids().all(|id| id != from) {
        Some(Rejection::OtherServers)
    } else if from == config.me {
        Some(Rejection::SameServer)
    } else {
        None
    }
}

/// Logs why a connection with a bad preface was refused.
fn tell_refusal(shared: &Shared, who: &str, why: &GreetError) {
    match why {
        // A check whether the port is open ends like that.
        GreetError::Broken(_) => tracing::debug!(%who, "refused a connection: {why}"),
        _ => {
            if let Some(untold) = shared.warnings.pass(&why.to_string()) {
                tracing::info!(%who, "refused a connection: {why}{untold}");
            }
        }
    }
}

async fn turn_away(shared: &Shared, stream: &mut Stream, who: &str, why: Rejection) {
    if let Some(untold) = shared.warnings.pass(&why.to_string()) {
        tracing::warn!(%who, "refused a connection: {why}{untold}");
    }
    let _ = reject(stream, why).await;
}

async fn serve_client(shared: &Arc<Shared>, mut stream: Stream, address: ClientAddress) {
    let mut cluster = shared.engine.cluster();
    let told = *cluster.borrow_and_update();
    if welcome(&mut stream, told).await.is_err() {
        return;
    }
    let rpc = LockRpc::new(shared.clone(), address).serve();
    let most = shared.config.limits.calls_per_connection;
    let transport = server_transport(stream, MAX_REQUEST_BYTES).writing_up_to(MAX_FRAME_BYTES);
    let quota = shared.admission.quota();
    let is_look = |request: &LockServiceRequest| {
        matches!(
            request,
            LockServiceRequest::Show { .. } | LockServiceRequest::List { .. }
        )
    };
    let idle = Idle::new(shared.config.timing.session_time_to_live);
    // Clients rely on the cluster id of the preface, so their connections end when it changes. A
    // server without a cluster answers no call, and may rejoin the same one.
    let is_another = |now: &Option<ClusterId>| now.is_some() && *now != told;
    tokio::select! {
        biased;
        Ok(_) = cluster.wait_for(is_another) => {}
        () = answer_requests(transport, rpc, is_look, most, quota, idle, &shared.stopping) => {}
    }
}
