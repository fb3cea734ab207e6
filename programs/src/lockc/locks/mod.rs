//! The commands that inspect and manage locks.

mod changes;
mod elect;
mod options;
mod view;
mod watch;
mod why;

pub(super) use self::changes::changes_json;
pub(super) use self::elect::elect;
pub(super) use self::options::{
    BreakOptions, ElectOptions, LsOptions, Reason, ReasonError, ShowOptions, WatchOptions,
    WhyOptions, prefix,
};
#[cfg(target_os = "linux")]
pub(super) use self::view::HolderName;
pub(super) use self::view::{Listing, LockView};
pub(super) use self::watch::watch;
pub(super) use self::why::WhyView;

use std::time::SystemTime;

use serde_json::to_string_pretty;

use self::view::{listing_table, not_broken, show_text};
use self::why::why_text;
use super::lazy_client::{Failure, LazyClient};
use super::table::terminal_width;
use super::{broken, print_either, tell_outcome, told};
use crate::exit::{Exit, complain};
use lockservice::clerk::BreakOutcome;

/// Prints which locks are held.
pub(super) async fn ls(mut customer: LazyClient, options: &LsOptions) -> Exit {
    let prefix = &options.prefix;
    let answer = customer
        .inspect(async |clerk| clerk.list(prefix).await)
        .await;
    conclude(customer, answer, async |locks| {
        let json = || to_string_pretty(&Listing::new(locks));
        let text = || listing_table(locks, terminal_width());
        let printed = print_either(options.json, json, text);
        told(printed.await, Exit::Yes)
    })
    .await
}

/// Prints who holds a lock, and who waits for it.
pub(super) async fn show(mut customer: LazyClient, options: &ShowOptions) -> Exit {
    let name = options.name.as_str();
    let answer = customer.inspect(async |clerk| clerk.show(name).await).await;
    conclude(customer, answer, async |lock| {
        let json = || to_string_pretty(&LockView::whole(lock));
        let text = || show_text(lock, SystemTime::now(), terminal_width());
        let printed = print_either(options.json, json, text);
        told(printed.await, yes_or_no(lock.is_held()))
    })
    .await
}

/// Prints who waits for whom.
pub(super) async fn why(mut customer: LazyClient, options: &WhyOptions) -> Exit {
    let name = options.name.as_str();
    let answer = customer
        .inspect(async |clerk| clerk.wait_graph(name).await)
        .await;
    conclude(customer, answer, async |graph| {
        let json = || to_string_pretty(&WhyView::new(graph));
        let printed = print_either(options.json, json, || why_text(graph, SystemTime::now()));
        told(printed.await, yes_or_no(!graph.is_deadlock()))
    })
    .await
}

/// Takes a lock from its holder.
pub(super) async fn break_lock(mut customer: LazyClient, options: &BreakOptions) -> Exit {
    let (name, reason) = (options.name.as_str(), options.reason.as_str());
    let asked = customer.ask(async |clerk| clerk.break_lock(name, options.token, reason).await);
    let answer = asked.await.map(BreakOutcome::is_broken);
    if matches!(answer, Ok(false)) {
        // Who holds it helps to find the mistake; without an answer, `false` says enough.
        let lock = customer.inspect(async |clerk| clerk.show(name).await).await;
        if let Ok(lock) = lock {
            complain(
                "lockc",
                &not_broken(&lock, options.token, SystemTime::now()),
            );
        }
    }
    conclude(customer, answer, async |was_held| {
        let change = was_held.then(|| broken(&options.name));
        tell_outcome(*was_held, change).await
    })
    .await
}

/// Prints an answer, or why there is none.
async fn conclude<T>(
    customer: LazyClient,
    answer: Result<T, Failure>,
    tell: impl AsyncFnOnce(&T) -> Exit,
) -> Exit {
    match answer {
        Ok(answer) => {
            let exit = tell(&answer).await;
            customer.close().await;
            exit
        }
        Err(failure) => {
            complain("lockc", &failure);
            failure.exit()
        }
    }
}

const fn yes_or_no(is_yes: bool) -> Exit {
    if is_yes { Exit::Yes } else { Exit::No }
}
