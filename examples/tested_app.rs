//! An application and its tests: the test kit kills, hangs and restarts the servers under it.
//!
//! ```text
//! cargo run --locked --example tested_app
//! cargo test --locked --example tested_app
//! ```

use lockservice::testkit::{Pair, PairOptions};
use lockservice::{CallError, Clerk};

/// Sends the greeting of a day, unless another instance of this application has. Returns whether
/// this one did.
///
/// The lock is unowned: it says that the work is taken, and stays when its locker ends.
async fn greet_once(clerk: &Clerk, day: &str) -> Result<bool, CallError> {
    let is_first = clerk.lock(&format!("greeted/{day}")).await?;
    if is_first {
        println!("good morning, it is {day}");
    }
    Ok(is_first)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), CallError> {
    let pair = Pair::start(PairOptions::threads()).await; // yours: `lockd primary`, `lockd backup`
    let clerk = pair.clerk().await;
    for day in ["monday", "monday", "tuesday"] {
        greet_once(&clerk, day).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lockservice::ServerId;

    use super::*;

    #[tokio::test]
    async fn a_day_is_greeted_once_although_each_server_is_lost_in_turn() {
        let mut pair = Pair::start(PairOptions::threads()).await;
        let [ours, other] = [pair.clerk().await, pair.clerk().await];
        for (day, lost) in [("monday", ServerId::A), ("tuesday", ServerId::B)] {
            assert_eq!(greet_once(&ours, day).await, Ok(true));
            pair.kill(lost);
            assert_eq!(greet_once(&other, day).await, Ok(false), "{lost} is lost");
            pair.restart(lost);
            pair.wait_whole().await; // before that, a second failure could cost the locks
        }
    }

    #[tokio::test]
    async fn a_greeting_whose_reply_is_lost_is_still_ours() {
        let mut pair = Pair::start(PairOptions::threads()).await;
        let clerk = pair.clerk().await;
        pair.deafen(ServerId::A); // it carries calls out, and its replies are lost
        assert_eq!(greet_once(&clerk, "monday").await, Ok(true));
    }
}
