//! `lockc watch`: tells what has changed, until it is interrupted.

use std::io::{self, Write as _};

use super::changes::{ChangeView, Sentence};
use super::options::WatchOptions;
use crate::cli::exit::{Exit, complain};
use crate::cli::lockc::customer::Customer;
use crate::cli::signals::StopSignals;
use crate::looks::LockChange;

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

/// Tells what it sees until nobody reads that, or the first look fails.
async fn look_on(customer: &mut Customer, options: &WatchOptions) -> Exit {
    let begun = customer.watch(&options.prefix, options.every).await;
    let (mut watch, mut news) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            complain("lockc", &failure);
            return failure.exit();
        }
    };
    loop {
        if tell(&news, options.json).is_err() {
            // Whoever closes the other end of a pipe has had enough.
            return Exit::Yes;
        }
        news = watch.changes().await.unwrap_or_else(|error| {
            complain("lockc", &error);
            Vec::new()
        });
    }
}

fn tell(changes: &[LockChange], json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for change in changes {
        if json {
            writeln!(
                stdout,
                "{}",
                serde_json::to_string(&ChangeView::new(change))?
            )?;
        } else {
            writeln!(stdout, "{}", Sentence(change))?;
        }
    }
    stdout.flush()
}
