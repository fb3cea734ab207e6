//! The commands that look at locks and manage them.

mod changes;
mod elect;
mod options;
#[cfg(test)]
mod samples;
mod stuck;
mod view;
mod watch;
mod why;

pub(super) use self::elect::elect;
pub(super) use self::options::{
    BreakOptions, ElectOptions, LsOptions, Reason, ReasonError, ShowOptions, WatchOptions,
    WhyOptions,
};
pub(super) use self::view::LockView;
pub(super) use self::watch::watch;

use std::time::SystemTime;

use self::view::{Listing, holders, listing_table, show_text};
use self::why::Trace;
use super::customer::{Customer, Failure};
use super::{print, print_either, told};
use crate::clerk::{Clerk, LookError};
use crate::cli::exit::{Exit, complain};
use crate::config::MAX_PLACES_LISTED;
use crate::service::LockInfo;
use crate::types::LockName;

/// How often all locks are looked at for a deadlock that is still there when it is looked at again.
const LOOKS: usize = 3;

/// Prints which locks are held.
pub(super) async fn ls(mut customer: Customer, options: &LsOptions) -> Exit {
    let prefix = &options.prefix;
    let asked = customer.look(async |clerk| list_whole(clerk, prefix).await);
    let answer = asked.await;
    conclude(customer, answer, |locks| {
        let json = || Listing::new(locks).json();
        let printed = print_either(options.json, json, || listing_table(locks));
        told(printed, Exit::Yes)
    })
    .await
}

/// Prints who holds a lock, and who waits for it.
pub(super) async fn show(mut customer: Customer, options: &ShowOptions) -> Exit {
    let name = options.name.as_str();
    let answer = customer.look(async |clerk| clerk.show(name).await).await;
    conclude(customer, answer, |lock| {
        let json = || LockView::whole(lock).json();
        let printed = print_either(options.json, json, || show_text(lock, SystemTime::now()));
        told(printed, yes_or_no(lock.is_held()))
    })
    .await
}

/// Prints who waits for whom.
pub(super) async fn why(mut customer: Customer, options: &WhyOptions) -> Exit {
    let asked = customer.look(async |clerk| trace(clerk, &options.name).await);
    let answer = asked.await;
    conclude(customer, answer, |trace| {
        let printed = print_either(options.json, || trace.json(), || trace.text());
        told(printed, yes_or_no(!trace.is_deadlock()))
    })
    .await
}

/// Takes a lock from its holder.
pub(super) async fn break_lock(mut customer: Customer, options: &BreakOptions) -> Exit {
    let (name, reason) = (options.name.as_str(), options.reason.as_str());
    let asked = customer.ask(async |clerk| clerk.break_lock(name, options.token, reason).await);
    let answer = asked.await;
    conclude(customer, answer, |was_held| {
        told(print(&was_held.to_string()), yes_or_no(*was_held))
    })
    .await
}

/// Tells an answer, or why there is none.
async fn conclude<T>(
    customer: Customer,
    answer: Result<T, Failure>,
    tell: impl FnOnce(&T) -> Exit,
) -> Exit {
    match answer {
        Ok(answer) => {
            let exit = tell(&answer);
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

/// Follows a lock. A deadlock counts when it is still there after all of it has been seen.
async fn trace(clerk: &Clerk, name: &LockName) -> Result<Trace, LookError> {
    let mut looks = 1;
    loop {
        let trace = Trace::new(&list_whole(clerk, "").await?, name);
        let mut later = Vec::new();
        for name in &trace.knot {
            later.push(clerk.show(name.as_str()).await?);
        }
        if trace.stands(&later) {
            return Ok(trace);
        }
        if looks == LOOKS {
            return Ok(trace.without_cycle());
        }
        looks += 1;
    }
}

/// The held locks, each with as many of its places as are ever shown.
async fn list_whole(clerk: &Clerk, prefix: &str) -> Result<Vec<LockInfo>, LookError> {
    let mut locks = clerk.list(prefix).await?;
    for lock in locks.iter_mut().filter(|lock| may_be_cut(lock)) {
        *lock = clerk.show(lock.name.as_str()).await?;
    }
    locks.retain(LockInfo::is_held);
    Ok(locks)
}

/// Whether a listing may have left places of this lock out: waiters it counts, holders it does not.
fn may_be_cut(lock: &LockInfo) -> bool {
    let holders = holders(lock).count();
    let waiters = lock.places.len() - holders;
    (waiters as u64) < lock.waiters || holders >= MAX_PLACES_LISTED
}

#[cfg(test)]
mod tests {
    use super::samples::{lock, plain, shared};
    use super::*;

    #[test]
    fn a_listing_is_completed_where_places_may_be_missing() {
        let four = [(1, 10), (2, 11), (3, 12), (4, 13)];
        assert!(may_be_cut(&shared("a", &four, &[])));
        assert!(!may_be_cut(&shared("a", &four[..3], &[5])));
        assert!(!may_be_cut(&plain("a", &[1, 2, 3, 4])));
        let mut more_wait = lock("a", &[(1, 10)], &[2, 3, 4]);
        assert!(!may_be_cut(&more_wait));
        more_wait.waiters = 4;
        assert!(may_be_cut(&more_wait));
    }
}
