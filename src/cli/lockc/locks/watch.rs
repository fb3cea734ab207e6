//! `lockc watch`: tells what has changed, by looking every so often.

use std::io::{self, Write as _};

use tokio::time::{MissedTickBehavior, interval};

use super::changes::{Change, Look, changes};
use super::list_whole;
use super::options::WatchOptions;
use crate::cli::exit::{Exit, complain};
use crate::cli::lockc::customer::{Customer, Failure};
use crate::cli::signals::StopSignals;

/// Watches until it is interrupted.
pub(in crate::cli::lockc) async fn watch(mut customer: Customer, options: &WatchOptions) -> Exit {
    let mut signals = match StopSignals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            complain("lockc", &error);
            return Exit::Internal;
        }
    };
    let exit = tokio::select! {
        biased;
        _ = signals.next() => Exit::Yes,
        exit = look_on(&mut customer, options) => exit,
    };
    customer.close().await;
    exit
}

/// Looks until nobody reads what is told, or the first look fails.
async fn look_on(customer: &mut Customer, options: &WatchOptions) -> Exit {
    let mut ticks = interval(options.every);
    // What was missed while the servers did not answer is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Look> = None;
    loop {
        ticks.tick().await;
        match look(customer, options).await {
            Ok(look) => {
                let news = changes(last.as_ref().unwrap_or(&Look::new()), &look);
                if tell(&news, options.json).is_err() {
                    // Whoever closes the other end of a pipe has had enough.
                    return Exit::Yes;
                }
                last = Some(look);
            }
            Err(failure) => {
                complain("lockc", &failure);
                if last.is_none() {
                    return failure.exit();
                }
            }
        }
    }
}

async fn look(customer: &mut Customer, options: &WatchOptions) -> Result<Look, Failure> {
    let asked = customer.look(async |clerk| list_whole(clerk, &options.prefix).await);
    let locks = asked.await?;
    Ok(locks
        .into_iter()
        .map(|lock| (lock.name.clone(), lock))
        .collect())
}

fn tell(changes: &[Change], json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for change in changes {
        if json {
            writeln!(stdout, "{}", change.json()?)?;
        } else {
            writeln!(stdout, "{change}")?;
        }
    }
    stdout.flush()
}
