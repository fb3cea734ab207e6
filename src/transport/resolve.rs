//! The seam between this crate and whatever knows what host names stand for.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::net::lookup_host;

use super::BoxFuture;

/// Looks up host names.
///
/// Implement it to ask something else than the operating system.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// Returns the addresses that `host` stands for, with `port`, the best one first.
    ///
    /// Nothing bounds the time here. A look-up goes on when the connection that it was begun for
    /// has been given up, and there is one at a time for each name.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system: `getaddrinfo`, on a thread for blocking work.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }
}
