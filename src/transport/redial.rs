//! Dials again when that takes long.
//!
//! TCP sends a lost first packet again only after a second. For that long one lost packet would
//! make a peer look dead: a probe that cannot be opened for a whole `peer_timeout` is a verdict.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::{Addr, Listener, Network, Stream};

/// How many dials may be under way to one address at a time.
const DIALS: usize = 8;

/// A network that dials once more whenever `patience` passes without an answer, and takes the
/// first.
#[derive(Debug)]
pub(crate) struct Redial {
    network: Arc<dyn Network>,
    patience: Duration,
}

impl Redial {
    pub(crate) const fn new(network: Arc<dyn Network>, patience: Duration) -> Self {
        Self { network, patience }
    }

    async fn dial<'a>(
        &'a self,
        dial: impl Fn(&'a dyn Network) -> BoxFuture<'a, io::Result<Stream>>,
    ) -> io::Result<Stream> {
        let mut dials = FuturesUnordered::new();
        loop {
            if dials.len() < DIALS {
                dials.push(dial(&*self.network));
            }
            if let Ok(Some(first)) = timeout(self.patience, dials.next()).await {
                return first;
            }
        }
    }
}

impl Network for Redial {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        self.dial(|network| network.connect(addr)).boxed()
    }

    fn connect_in_small_segments<'a>(
        &'a self,
        addr: &'a Addr,
    ) -> BoxFuture<'a, io::Result<Stream>> {
        self.dial(|network| network.connect_in_small_segments(addr))
            .boxed()
    }

    fn locate<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<()>> {
        self.network.locate(addr)
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        self.network.listen(addr)
    }

    fn is_reached_from_any_runtime(&self) -> bool {
        self.network.is_reached_from_any_runtime()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(125);

    /// Loses the first packet of so many dials; the next one is refused.
    #[derive(Debug)]
    struct Lossy {
        lost: usize,
        dials: AtomicUsize,
    }

    impl Network for Lossy {
        fn connect<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
            if self.dials.fetch_add(1, Ordering::Relaxed) < self.lost {
                return futures::future::pending().boxed();
            }
            async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed()
        }

        fn listen<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
            async { Err(io::ErrorKind::Unsupported.into()) }.boxed()
        }
    }

    fn lossy(lost: usize) -> (Arc<Lossy>, Redial) {
        let dials = AtomicUsize::new(0);
        let network = Arc::new(Lossy { lost, dials });
        (network.clone(), Redial::new(network, PATIENCE))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_first_packet_costs_the_patience_and_no_more() {
        let addr = Addr::Memory("a".to_owned());
        for lost in 0..DIALS {
            let (network, redial) = lossy(lost);
            let start = Instant::now();
            let refused = redial.connect(&addr).await.expect_err("refused");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(network.dials.load(Ordering::Relaxed), lost + 1);
            let waited = PATIENCE * u32::try_from(lost).expect("a few");
            assert!(start.elapsed() < waited + PATIENCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_is_not_dialled_without_end() {
        let addr = Addr::Memory("a".to_owned());
        let (network, redial) = lossy(usize::MAX);
        let dialling = timeout(PATIENCE * 100, redial.connect(&addr));
        dialling.await.expect_err("cancelled");
        assert_eq!(network.dials.load(Ordering::Relaxed), DIALS);
    }
}
