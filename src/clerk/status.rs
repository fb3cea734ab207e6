//! How the servers see themselves, asked of each of them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::clusters::MixedClusters;
use super::connection::Connection;
use super::error::AttemptError;
use super::{Clerk, clamp, expect_runtime};
use crate::service::{RoleName, ServerStatus};
use crate::transport::{Addr, Network, Servers};
use crate::types::ServerId;

/// What one server says of itself.
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

/// Asks each server of the list how it sees itself and its peers, all at once, for at most
/// `timeout`. The reports are in the order of the list.
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
) -> Vec<ServerReport> {
    let ask = |server| status_of(network, servers, server, timeout);
    join_all(servers.ids().map(ask)).await
}

impl Clerk {
    /// Asks each server how it sees itself and its peers, all at once, for at most the timeout of a
    /// call. The reports are in the order of the list.
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
    pub async fn status(&self) -> Vec<ServerReport> {
        expect_runtime();
        let deadline = Instant::now() + self.shared.timeout();
        let ask = async |server| {
            let connection = &self.shared.servers.connections[server];
            let status = timeout_at(deadline, connection.status(deadline)).await;
            ServerReport {
                server,
                address: connection.addr().clone(),
                status: status.unwrap_or(Err(AttemptError::NoAnswer)),
            }
        };
        join_all(self.shared.servers.ids().map(ask)).await
    }
}

/// Asks one server of the list how it sees itself and its peers, for at most `timeout`.
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
pub fn mix(reports: &[ServerReport]) -> Option<MixedClusters> {
    let member = |report: &ServerReport| {
        let cluster = report.status.as_ref().ok()?.cluster?;
        Some((report.address.clone(), cluster))
    };
    MixedClusters::of(reports.iter().filter_map(member))
}

/// Whether the servers survive the loss of any one of them: one is primary and every other its
/// backup, in one view, and none is in doubt.
#[must_use]
pub fn is_whole(reports: &[ServerReport]) -> bool {
    let servers: Option<Vec<_>> = reports
        .iter()
        .map(|report| report.status.as_ref().ok())
        .collect();
    let Some([first, others @ ..]) = servers.as_deref() else {
        return false;
    };
    let is_one = |other: &&ServerStatus| other.view.is_some() && other.view == first.view;
    let count = |role| {
        servers
            .iter()
            .flatten()
            .filter(|it| it.role == role)
            .count()
    };
    !others.is_empty()
        && others.iter().all(is_one)
        && servers.iter().flatten().all(|server| server.in_sync)
        && (count(RoleName::Primary), count(RoleName::Backup)) == (1, others.len())
        && mix(reports).is_none()
}
