//! A probe: dials the peer anew and asks who it is.
//!
//! What counts as dead is a matter of life and death for the pair, so errors are told apart with care
//! (rule M2). *Refused* is the peer's machine saying that nobody listens. *Cannot be opened* is silence,
//! and stays silence until the core's patience is over. Everything else (a connection that breaks, a
//! resolver that fails, this server being out of descriptors) says nothing about the peer.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::sleep;

use super::core::ProbeResult;
use super::peer::{Connection, Peer, unhurried};
use crate::net::{DialError, Rejection};
use crate::service::{Introduction, Obstacle};

/// How long to wait before an address that cannot be reached is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Asks the peer who it is. Never ends while the peer cannot be reached or does not answer.
pub(super) async fn ask(peer: &Peer, asker: Introduction) -> ProbeResult {
    loop {
        let Connection { client, running } = match peer.connect(1).await {
            Ok(connection) => connection,
            Err(DialError::Refused(_)) => return ProbeResult::Refused,
            Err(DialError::Unreachable(error)) if is_silence(error.kind()) => {
                sleep(RETRY).await;
                continue;
            }
            Err(DialError::Rejected(rejection)) => {
                return obstacle(rejection).map_or(ProbeResult::Broken, ProbeResult::Obstructed);
            }
            Err(DialError::NotALockServer) => {
                return ProbeResult::Obstructed(Obstacle::NotALockServer);
            }
            Err(error) => {
                tracing::warn!(peer = %peer.address, "cannot ask the peer who it is: {error}");
                return ProbeResult::Broken;
            }
        };
        let answer = tokio::select! {
            biased;
            answer = client.who(unhurried(), asker) => answer.ok(),
            () = running => None,
        };
        return answer.map_or(ProbeResult::Broken, ProbeResult::Answered);
    }
}

/// What keeps the servers apart for as long as the process there runs; none if it is merely busy.
const fn obstacle(rejection: Rejection) -> Option<Obstacle> {
    match rejection {
        Rejection::Version { theirs } => Some(Obstacle::Version { theirs }),
        Rejection::OtherServers => Some(Obstacle::OtherServers),
        Rejection::SameServer => Some(Obstacle::SameServer),
        Rejection::Itself => Some(Obstacle::Itself),
        Rejection::Busy => None,
    }
}

/// Whether the error is what silence looks like from here.
const fn is_silence(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    )
}
