//! A client that has lost its way to one of the servers.

use std::time::Duration;

use lockservice::clerk::Clerk;
use lockservice::config::LEASE;
use lockservice::testkit::{Pair, Reserved};
use lockservice::transport::Servers;
use lockservice::types::ServerId;

use super::load::PATIENCE;

/// A client that can reach only `server`. The other address is nobody's.
pub(crate) async fn clerk_that_reaches_only(pair: &Pair, server: ServerId) -> (Clerk, Reserved) {
    clerk_with_lease(pair, server, LEASE).await
}

/// The same, whose session has this lease.
pub(crate) async fn clerk_with_lease(
    pair: &Pair,
    server: ServerId,
    lease: Duration,
) -> (Clerk, Reserved) {
    let nobody = Reserved::tcp().expect("a port");
    let reached = pair.front(server).addr().clone();
    let servers = match server {
        ServerId::A => Servers::new(reached, nobody.addr().clone()),
        _ => Servers::new(nobody.addr().clone(), reached),
    };
    let clerk = Clerk::builder(servers.expect("two addresses"))
        .timeout(PATIENCE)
        .lease(lease)
        .connect()
        .await;
    (clerk.expect("the server answers"), nobody)
}
