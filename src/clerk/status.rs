//! How the servers see themselves, asked of each of them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use tokio::time::{Instant, timeout_at};

use super::clusters::MixedClusters;
use super::connection::Connection;
use super::error::AttemptError;
use super::{Clerk, clamp, expect_runtime};
use crate::service::{RoleName, ServerStatus};
use crate::transport::{Addr, Network, Servers};
use crate::types::ServerId;

/// What one server of a pair says of itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerReport {
    /// Which server was asked.
    pub server: ServerId,
    /// Where it was looked for.
    pub address: Addr,
    /// Its answer.
    pub status: Result<ServerStatus, AttemptError>,
}

#[cfg(feature = "internals")]
#[doc(hidden)]
impl ServerReport {
    /// For tests of what is made of reports.
    #[must_use]
    pub const fn new(
        server: ServerId,
        address: Addr,
        status: Result<ServerStatus, AttemptError>,
    ) -> Self {
        Self {
            server,
            address,
            status,
        }
    }
}

/// Asks each server of the pair how it sees itself and its peer, both at once, for at most
/// `timeout`.
///
/// # Panics
///
/// Outside a Tokio runtime.
///
/// # Cancel safety
///
/// Safe.
pub async fn status(
    network: &Arc<dyn Network>,
    servers: &Servers,
    timeout: Duration,
) -> [ServerReport; 2] {
    let ask = |server| status_of(network, servers, server, timeout);
    join(ask(ServerId::A), ask(ServerId::B)).await.into()
}

impl Clerk {
    /// Asks each server of the pair how it sees itself and its peer, both at once, for at most the
    /// timeout of a call.
    ///
    /// It goes over the clerk's connections; [`status`] needs no clerk.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn status(&self) -> [ServerReport; 2] {
        expect_runtime();
        let deadline = Instant::now() + self.shared.timeout();
        let ask = async |server| {
            let connection = &self.shared.pair.connections[server];
            let status = timeout_at(deadline, connection.status(deadline)).await;
            ServerReport {
                server,
                address: connection.addr().clone(),
                status: status.unwrap_or(Err(AttemptError::NoAnswer)),
            }
        };
        join(ask(ServerId::A), ask(ServerId::B)).await.into()
    }
}

/// Asks one server of the pair how it sees itself and its peer, for at most `timeout`.
///
/// # Panics
///
/// Outside a Tokio runtime.
///
/// # Cancel safety
///
/// Safe.
pub async fn status_of(
    network: &Arc<dyn Network>,
    servers: &Servers,
    server: ServerId,
    timeout: Duration,
) -> ServerReport {
    expect_runtime();
    let deadline = Instant::now() + clamp(timeout);
    let address = servers.address(server).clone();
    let connection = Connection::new(network.clone(), address.clone());
    let status = timeout_at(deadline, connection.status(deadline)).await;
    ServerReport {
        server,
        address,
        status: status.unwrap_or(Err(AttemptError::NoAnswer)),
    }
}

/// The clusters of the servers, if these are members of different ones.
#[must_use]
pub fn mix(reports: &[ServerReport; 2]) -> Option<MixedClusters> {
    let member = |report: &ServerReport| {
        let cluster = report.status.as_ref().ok()?.cluster?;
        Some((report.address.clone(), cluster))
    };
    let [one, other] = reports.each_ref().map(member);
    let members = [one?, other?];
    (members[0].1 != members[1].1).then(|| MixedClusters::new(members))
}

/// Whether the pair survives the loss of either server: one is primary and the other its backup, in
/// one view, and neither is in doubt.
#[must_use]
pub fn is_whole(reports: &[ServerReport; 2]) -> bool {
    let in_role = |role| {
        let mut answers = reports
            .iter()
            .filter_map(|report| report.status.as_ref().ok());
        answers.find(|status| status.role == role && status.in_sync)
    };
    match (in_role(RoleName::Primary), in_role(RoleName::Backup)) {
        (Some(primary), Some(backup)) => {
            let is_one = primary.view.is_some() && primary.view == backup.view;
            is_one && mix(reports).is_none()
        }
        _ => false,
    }
}
