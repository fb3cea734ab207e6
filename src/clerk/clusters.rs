//! Whether the servers of the list are members of one cluster.
//!
//! A server names its cluster when it is dialled. Two servers that name different ones need not be
//! a mix: one of them may have named it long ago, before both were lost and formed a new pair. So
//! the other one is asked anew before anything is refused.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join;
use tokio::time::timeout;

use super::per_server::PerServer;
use crate::rpc;
use crate::transport::{Addr, Network, Servers};
use crate::types::{ClusterId, ServerId};

/// The servers of the list are members of two clusters, so what one of them grants the other does
/// not know. Nothing is asked of either until both belong to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixedClusters(Arc<[(Addr, ClusterId); 2]>);

impl MixedClusters {
    pub(super) fn new(members: [(Addr, ClusterId); 2]) -> Self {
        Self(Arc::new(members))
    }

    /// Each server, and its cluster.
    #[must_use]
    pub fn members(&self) -> &[(Addr, ClusterId); 2] {
        &self.0
    }
}

impl fmt::Display for MixedClusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(one, first), (other, second)] = self.members();
        write!(
            f,
            "the list of servers mixes two clusters: {one} belongs to {first} and {other} to {second}"
        )
    }
}

impl std::error::Error for MixedClusters {}

/// What the servers said of their clusters.
#[derive(Debug)]
pub(super) struct Clusters {
    network: Arc<dyn Network>,
    servers: Servers,
    /// How long a server may take to say it.
    patience: Duration,
    said: Mutex<PerServer<Option<ClusterId>>>,
    is_mixed: AtomicBool,
}

impl Clusters {
    pub(super) fn new(network: Arc<dyn Network>, servers: Servers, hedge_delay: Duration) -> Self {
        Self {
            network,
            servers,
            patience: hedge_delay,
            said: Mutex::default(),
            is_mixed: AtomicBool::new(false),
        }
    }

    /// Checks what a server has just said.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn check(
        &self,
        server: ServerId,
        cluster: Option<ClusterId>,
    ) -> Result<(), MixedClusters> {
        let Some(cluster) = cluster else {
            return Ok(());
        };
        let peer = server.peer();
        let differs = |theirs: &ClusterId| *theirs != cluster;
        if self.note(server, cluster).is_none_or(|it| !differs(&it)) {
            return Ok(());
        }
        match self.identify(peer).await.filter(differs) {
            Some(theirs) => Err(self.mixed(server, cluster, theirs)),
            None => Ok(()),
        }
    }

    /// Asks a server, and checks what it says.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn check_server(&self, server: ServerId) -> Result<(), MixedClusters> {
        let cluster = self.identify(server).await;
        self.check(server, cluster).await
    }

    /// Asks both servers anew if they were members of two clusters when they were asked last.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn check_mix(&self) -> Result<(), MixedClusters> {
        if !self.is_mixed.load(Ordering::Relaxed) {
            return Ok(());
        }
        match join(self.identify(ServerId::A), self.identify(ServerId::B)).await {
            (Some(a), Some(b)) if a != b => Err(self.mixed(ServerId::A, a, b)),
            _ => {
                self.is_mixed.store(false, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// What a server says now, if it can be reached and is a member of a cluster.
    async fn identify(&self, server: ServerId) -> Option<ClusterId> {
        let dial = rpc::dial_as_client(&*self.network, self.servers.address(server));
        let (_, cluster) = timeout(self.patience, dial).await.ok()?.ok()?;
        self.said(|said| said[server] = cluster);
        cluster
    }

    /// Notes what a server says; gives what the other one said last.
    fn note(&self, server: ServerId, cluster: ClusterId) -> Option<ClusterId> {
        self.said(|said| {
            said[server] = Some(cluster);
            said[server.peer()]
        })
    }

    fn said<T>(&self, change: impl FnOnce(&mut PerServer<Option<ClusterId>>) -> T) -> T {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn mixed(&self, server: ServerId, ours: ClusterId, theirs: ClusterId) -> MixedClusters {
        self.is_mixed.store(true, Ordering::Relaxed);
        let member = |it| {
            let cluster = if it == server { ours } else { theirs };
            (self.servers.address(it).clone(), cluster)
        };
        MixedClusters::new(ServerId::BOTH.map(member))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::ServerId::{A, B};
    use super::*;
    use crate::rpc::{greet, welcome};
    use crate::transport::MemoryNetwork;

    const ONE: ClusterId = ClusterId(1);
    const OTHER: ClusterId = ClusterId(2);

    /// Two servers, and the cluster that each says it is a member of.
    async fn servers() -> (Clusters, PerServer<Arc<AtomicU64>>) {
        let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
        let servers = Servers::new("memory:a", "memory:b").expect("two addresses");
        let says = PerServer::of(|_| Arc::new(AtomicU64::new(ONE.0)));
        for server in ServerId::BOTH {
            let listening = network.listen(servers.address(server)).await;
            let (mut listener, says) = (listening.expect("it is free"), says[server].clone());
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    greet(&mut stream).await.expect("a preface");
                    let cluster = ClusterId(says.load(Ordering::Relaxed));
                    welcome(&mut stream, Some(cluster)).await.expect("sent");
                }
            });
        }
        let hedge_delay = Duration::from_secs(1);
        (Clusters::new(network, servers, hedge_delay), says)
    }

    #[tokio::test(start_paused = true)]
    async fn servers_of_two_clusters_are_told_by_name_until_they_are_of_one() {
        let (clusters, says) = servers().await;
        says[B].store(OTHER.0, Ordering::Relaxed);
        assert_eq!(clusters.check_server(A).await, Ok(()));
        let mix = clusters.check_server(B).await.expect_err("two clusters");
        assert_eq!(
            mix.to_string(),
            "the list of servers mixes two clusters: memory:a belongs to 0000000000000001 and \
             memory:b to 0000000000000002"
        );
        assert_eq!(clusters.check_mix().await, Err(mix));
        says[B].store(ONE.0, Ordering::Relaxed);
        assert_eq!(clusters.check_mix().await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_was_lost_and_formed_anew_is_no_mix() {
        let (clusters, says) = servers().await;
        for server in ServerId::BOTH {
            assert_eq!(clusters.check_server(server).await, Ok(()));
        }
        for server in ServerId::BOTH {
            says[server].store(OTHER.0, Ordering::Relaxed);
        }
        assert_eq!(clusters.check(A, Some(OTHER)).await, Ok(()));
        assert_eq!(clusters.check(B, Some(OTHER)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_without_a_cluster_is_no_mix() {
        let (clusters, says) = servers().await;
        says[B].store(0, Ordering::Relaxed);
        for server in ServerId::BOTH {
            assert_eq!(clusters.check_server(server).await, Ok(()));
        }
    }
}
