//! The state of a pair, for tests.

use std::sync::Arc;
use std::time::Duration;

use super::host::log_file;
use super::{Pair, SOON};
use crate::clerk::{ServerReport, is_whole, status, status_of};
use crate::service::{RoleName, ServerStatus};
use crate::testkit::invariants::FinalState;
use crate::testkit::{History, wait_until};
use crate::transport::{Network, SystemNetwork};
use crate::types::ServerId;

/// How long a server may take to report its status before it counts as silent.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// The status of the pair, read without the proxies.
impl Pair {
    /// Returns the status of both servers. A server that hangs costs a second.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn reports(&self) -> Vec<ServerReport> {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        status(&network, &self.behind, STATUS_TIMEOUT).await
    }

    /// The status of a server; none when it does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn status(&self, server: ServerId) -> Option<ServerStatus> {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        let report = status_of(&network, &self.behind, server, STATUS_TIMEOUT).await;
        report.status.ok()
    }

    /// The log of a server that is a process, of all its runs. Empty for one on a thread.
    #[must_use]
    pub fn log(&self, server: ServerId) -> String {
        let bytes = std::fs::read(log_file(self.directory.path(), server)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The primary, if a server says that it is; with two of them, the one of the higher view.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn primary(&self) -> Option<ServerId> {
        let reports = self.reports().await.into_iter();
        reports
            .filter_map(|report| report.status.ok())
            .filter(|status| matches!(status.role, RoleName::Primary | RoleName::Standalone))
            .max_by_key(|status| status.view)
            .map(|status| status.server)
    }

    /// Waits until the pair is whole: a primary and its backup, neither in doubt.
    ///
    /// # Panics
    ///
    /// When it is not within half a minute.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait_whole(&self) {
        wait_until("a whole pair", SOON, async || {
            is_whole(&self.reports().await)
        })
        .await;
    }

    /// Waits until a server has a role.
    ///
    /// # Panics
    ///
    /// When it has not within half a minute.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait_role(&self, server: ServerId, role: RoleName) {
        let what = format!("server {server} to be {role}");
        wait_until(&what, SOON, async || {
            self.status(server)
                .await
                .is_some_and(|status| status.role == role)
        })
        .await;
    }

    /// Reads the final state, when all calls of `history` are over, for the
    /// [invariants](crate::testkit::invariants). It takes and releases each free lock to see that
    /// it is free.
    ///
    /// # Panics
    ///
    /// When no server answers, or the running servers do not reach the same op in half a minute.
    ///
    /// # Cancel safety
    ///
    /// A lock may stay held.
    pub async fn final_state(&self, history: &History) -> FinalState {
        let clerk = self.clerk().await;
        let mut end = FinalState::default();
        for name in history.by_name().into_keys() {
            let free = clerk.lock(name.as_str()).await.expect("a server answers");
            if free {
                clerk.unlock(name.as_str()).await.expect("a server answers");
            }
            end.held.insert(name.clone(), !free);
        }
        clerk.close().await;
        wait_until("servers at rest", SOON, async || {
            let reports = self.reports().await.into_iter();
            end.servers = reports.filter_map(|report| report.status.ok()).collect();
            are_level(&end.servers)
        })
        .await;
        end
    }
}

/// Whether at least one server runs, and all that run are at the same op.
fn are_level(servers: &[ServerStatus]) -> bool {
    !servers.is_empty() && servers.windows(2).all(|pair| pair[0].op == pair[1].op)
}
