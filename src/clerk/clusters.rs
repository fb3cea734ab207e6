//! Whether the servers of the list are members of one cluster.
//!
//! A server names its cluster when it is dialled. Servers that name different ones need not be a
//! mix: some may have named theirs long ago, before all were lost and formed a new cluster. So
//! those that differ are asked anew before anything is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::per_server::PerServer;
use crate::rpc;
use crate::transport::{Addr, Network, Servers};
use crate::types::{ClusterId, ServerId};

/// The servers of the list are members of different clusters, so what one of them grants the others
/// do not know. Nothing is asked of any until all belong to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixedClusters(Arc<[(Addr, ClusterId)]>);

impl MixedClusters {
    /// None when all of `members` are of one cluster.
    pub(super) fn of(members: impl IntoIterator<Item = (Addr, ClusterId)>) -> Option<Self> {
        let members: Arc<[_]> = members.into_iter().collect();
        let is_mix = members.iter().any(|(_, cluster)| *cluster != members[0].1);
        is_mix.then_some(Self(members))
    }

    /// Each server that has named its cluster, and that cluster.
    #[must_use]
    pub fn members(&self) -> &[(Addr, ClusterId)] {
        &self.0
    }
}

impl fmt::Display for MixedClusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters: BTreeSet<_> = self.0.iter().map(|(_, cluster)| cluster.0).collect();
        match clusters.len() {
            2 => f.write_str("the list of servers mixes two clusters: ")?,
            more => write!(f, "the list of servers mixes {more} clusters: ")?,
        }
        let last = self.0.len() - 1;
        for (place, (address, cluster)) in self.0.iter().enumerate() {
            match place {
                0 => write!(f, "{address} belongs to {cluster}")?,
                _ if place == last => write!(f, " and {address} to {cluster}")?,
                _ => write!(f, ", {address} to {cluster}")?,
            }
        }
        Ok(())
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
            said: Mutex::new(PerServer::of(servers.ids(), |_| None)),
            servers,
            patience: hedge_delay,
            is_mixed: AtomicBool::new(false),
        }
    }

    /// The servers, in their order.
    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = ServerId> + use<> {
        self.servers.ids()
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
        let mut said = self.note(server, cluster);
        let differing: Vec<_> = said
            .ids()
            .filter(|it| said[*it].is_some_and(|theirs| theirs != cluster))
            .collect();
        let asked = join_all(differing.iter().map(|it| self.identify(*it))).await;
        for (server, says) in differing.into_iter().zip(asked) {
            said[server] = says;
        }
        self.refuse_mix(said)
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

    /// Asks all servers but one, and checks what they say.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn check_others(&self, than: ServerId) -> Result<(), MixedClusters> {
        let others = self.servers.ids().filter(|server| *server != than);
        let checked = join_all(others.map(|server| self.check_server(server))).await;
        checked.into_iter().collect()
    }

    /// Asks all servers anew if they were members of different clusters when they were asked last.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn check_mix(&self) -> Result<(), MixedClusters> {
        if !self.is_mixed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let said = join_all(self.servers.ids().map(|server| self.identify(server))).await;
        self.refuse_mix(said)
    }

    /// What a server says now, if it can be reached and is a member of a cluster.
    async fn identify(&self, server: ServerId) -> Option<ClusterId> {
        let dial = rpc::dial_as_client(&*self.network, self.servers.address(server));
        let (_, cluster) = timeout(self.patience, dial).await.ok()?.ok()?;
        self.said(|said| said[server] = cluster);
        cluster
    }

    /// Notes what a server says; gives what each has said last.
    fn note(&self, server: ServerId, cluster: ClusterId) -> PerServer<Option<ClusterId>> {
        self.said(|said| {
            said[server] = Some(cluster);
            said.clone()
        })
    }

    fn said<T>(&self, change: impl FnOnce(&mut PerServer<Option<ClusterId>>) -> T) -> T {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Errors if not all servers that have `said` their cluster said the same.
    fn refuse_mix(
        &self,
        said: impl IntoIterator<Item = Option<ClusterId>>,
    ) -> Result<(), MixedClusters> {
        let servers = self.servers.addresses().iter().zip(said);
        let mix = MixedClusters::of(servers.filter_map(|(addr, said)| Some((addr.clone(), said?))));
        self.is_mixed.store(mix.is_some(), Ordering::Relaxed);
        mix.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::rpc::{greet, welcome};
    use crate::transport::MemoryNetwork;

    const A: ServerId = ServerId::A;
    const B: ServerId = ServerId::B;
    const ONE: ClusterId = ClusterId(1);
    const OTHER: ClusterId = ClusterId(2);

    /// Two servers, and the cluster that each says it is a member of.
    async fn servers() -> (Clusters, PerServer<Arc<AtomicU64>>) {
        servers_at(&["memory:a", "memory:b"]).await
    }

    async fn servers_at(addresses: &[&str]) -> (Clusters, PerServer<Arc<AtomicU64>>) {
        let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
        let servers = Servers::of(addresses.iter().copied()).expect("a list");
        let says = PerServer::of(servers.ids(), |_| Arc::new(AtomicU64::new(ONE.0)));
        for server in servers.ids() {
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
    async fn each_of_three_servers_is_told_by_name_and_one_without_a_cluster_is_not() {
        let (clusters, says) = servers_at(&["memory:a", "memory:b", "memory:c"]).await;
        let c = ServerId::at(2).expect("a place");
        says[c].store(OTHER.0, Ordering::Relaxed);
        assert_eq!(clusters.check_server(A).await, Ok(()));
        let mix = clusters.check_others(A).await.expect_err("two clusters");
        assert_eq!(
            mix.to_string(),
            "the list of servers mixes two clusters: memory:a belongs to 0000000000000001, \
             memory:b to 0000000000000001 and memory:c to 0000000000000002"
        );
        says[A].store(3, Ordering::Relaxed);
        let mix = clusters.check_mix().await.expect_err("three clusters");
        assert!(mix.to_string().contains("mixes 3 clusters"), "{mix}");
        for server in [A, B] {
            says[server].store(0, Ordering::Relaxed);
        }
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
