//! Waits for a condition: the only place of the kit that sleeps.

use std::time::{Duration, Instant};

/// How often a condition is evaluated.
const PERIOD: Duration = Duration::from_millis(2);

/// Waits until `condition` holds, evaluating it every 2 ms.
///
/// # Panics
///
/// When it does not hold within `timeout`; the message says `what` was waited for.
///
/// # Cancel safety
///
/// Dropping it drops the condition's future of that moment, and nothing else.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lockservice::testkit::wait_until;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut looks = 0;
/// wait_until("three looks", Duration::from_secs(5), async || {
///     looks += 1;
///     looks == 3
/// })
/// .await;
/// # }
/// ```
#[track_caller]
pub fn wait_until<C>(what: &str, timeout: Duration, mut condition: C) -> impl Future<Output = ()>
where
    C: AsyncFnMut() -> bool,
{
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(
                start.elapsed() < timeout,
                "waited {timeout:?} in vain, at {place}, for: {what}"
            );
            tokio::time::sleep(PERIOD).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "for: the moon")]
    async fn waiting_in_vain_says_for_what() {
        wait_until("the moon", Duration::from_millis(10), async || false).await;
    }
}
