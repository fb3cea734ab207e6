//! `lockc watch`: tells what has changed, until it is interrupted.

use std::fmt::Write as _;

use super::changes::{ChangeView, Sentence};
use super::options::WatchOptions;
use crate::exit::{Exit, complain};
use crate::lockc::lazy_client::LazyClient;
use crate::output::answer::{self, Unwritten};
use crate::signals::StopSignals;
use lockservice::inspect::LockChange;

/// Watches until it is interrupted, or nobody reads what it tells.
pub(in crate::lockc) async fn watch(mut customer: LazyClient, options: &WatchOptions) -> Exit {
    let mut signals = match StopSignals::catch_with_hang_up() {
        Ok(signals) => signals,
        Err(error) => {
            complain("lockc", &format!("cannot catch signals: {error}"));
            return Exit::Internal;
        }
    };
    let exit = tokio::select! {
        biased;
        _ = signals.next() => Exit::Yes,
        exit = look_on(&mut customer, options) => exit,
        () = answer::reader_gone() => Exit::Yes,
    };
    customer.close().await;
    exit
}

/// Prints changes until they cannot be written, or the first inspection fails.
async fn look_on(customer: &mut LazyClient, options: &WatchOptions) -> Exit {
    let begun = customer.watch(&options.prefix, options.every).await;
    let (mut watch, mut news) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            complain("lockc", &failure);
            return failure.exit();
        }
    };
    loop {
        if let Err(unwritten) = tell(&news, options.json).await {
            return unwritten.end("lockc", Exit::Yes);
        }
        news = watch.changes().await.unwrap_or_else(|error| {
            complain("lockc", &error);
            Vec::new()
        });
    }
}

async fn tell(changes: &[LockChange], json: bool) -> Result<(), Unwritten> {
    let mut lines = String::new();
    for change in changes {
        if json {
            lines.push_str(&serde_json::to_string(&ChangeView::new(change))?);
        } else {
            // A string takes what is written to it.
            let _ = write!(lines, "{}", Sentence(change));
        }
        lines.push('\n');
    }
    answer::write(lines).await
}
