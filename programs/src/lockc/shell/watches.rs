//! What a shell watches: of each prefix, what it saw last.
//!
//! Only an inspection shows that nothing has changed. So a shell inspects several times within its
//! timeout, and if its inspections are not answered it says that, not that there was nothing to
//! see.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::executor::Refused;
use crate::lockc::lazy_client::{Failure, LazyClient};
use lockservice::clerk::Watch;
use lockservice::config::WATCH_EVERY;
use lockservice::inspect::LockChange;

/// How many prefixes a shell watches at most: it keeps all locks of each.
pub(super) const MAX_WATCHES: usize = 64;

/// How often it inspects within its timeout, at least.
const LOOKS_IN_TIMEOUT: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Watches(BTreeMap<String, Watch>);

impl Watches {
    /// What has changed since this prefix was asked for last: waits for that, for the timeout at
    /// the most. At first, that is what is held.
    pub(super) async fn changes(
        &mut self,
        customer: &mut LazyClient,
        prefix: String,
    ) -> Result<Vec<LockChange>, Refused> {
        if let Some(watch) = self.0.get_mut(&prefix) {
            return Ok(wait(customer, watch).await?);
        }
        if self.0.len() >= MAX_WATCHES {
            return Err(Refused::TooManyWatches);
        }
        let every = pace(customer.timeout);
        let (watch, held) = customer.watch(&prefix, every).await?;
        self.0.insert(prefix, watch);
        Ok(held)
    }
}

async fn wait(customer: &mut LazyClient, watch: &mut Watch) -> Result<Vec<LockChange>, Failure> {
    let (limit, begun) = (customer.timeout, Instant::now());
    let waited = customer.inspect(async |_| timeout(limit, watch.changes()).await.ok().transpose());
    if let Some(changes) = waited.await? {
        return Ok(changes);
    }
    if watch.age().is_some_and(|age| age <= begun.elapsed()) {
        return Ok(Vec::new());
    }
    Err(Failure::NotSeen(limit))
}

fn pace(timeout: Duration) -> Duration {
    WATCH_EVERY.min(timeout / LOOKS_IN_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_every_second_and_several_times_within_a_short_timeout() {
        for (timeout, every) in [(10_000, 1_000), (4_000, 1_000), (2_000, 500), (100, 25)] {
            let timeout = Duration::from_millis(timeout);
            assert_eq!(pace(timeout), Duration::from_millis(every));
        }
    }
}
