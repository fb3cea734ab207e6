//! What befalls those who own locks, and who looks at their locks meanwhile and afterwards.

use futures::future::join_all;
use lockservice::service::LockMode;
use lockservice::types::{LockName, ServerId};

use super::context::{Context, HostAction, pass};
use super::fault_scheduler::{clerk, cut, mend};
use super::lock_model::{AcquireAttempt, now};
use super::network::{host, owner_host};
use super::owners::Owners;
use super::rng::Rng;

/// Cuts owners off, and lets their hosts go and come back.
pub(crate) async fn inject(context: Context, owners: Owners, mut rng: Rng) {
    if owners.count == 0 {
        return;
    }
    loop {
        pass(rng.millis(20..500)).await;
        let number = victim(&context, &owners, &mut rng);
        let owner = owner_host(number);
        match rng.within(0..4) {
            0 => cut(&context, &owner, &mut rng).await,
            1 => {
                isolate(&context, &owner);
                pass(rng.millis(10..2 * owners.lease_millis())).await;
            }
            _ => {
                // Or its connections are closed, as when a process ends.
                if rng.one_in(2) {
                    isolate(&context, &owner);
                }
                context.act(HostAction::Crash(number));
                pass(rng.millis(0..2 * owners.lease_millis())).await;
            }
        }
        for server in ServerId::BOTH {
            mend(&context, &owner, server);
        }
        context.act(HostAction::Revive(number));
    }
}

/// Somebody who holds something, rather than any.
fn victim(context: &Context, owners: &Owners, rng: &mut Rng) -> usize {
    let number = rng.within(0..owners.count as u64);
    let holders = owners.names().filter_map(|name| {
        let name = LockName::new(name).expect("a name");
        context.model().holder(&name)
    });
    let holder = holders.last().filter(|_| !rng.one_in(3));
    holder.unwrap_or_else(|| usize::try_from(number).expect("a few"))
}

fn isolate(context: &Context, owner: &str) {
    context.tell(format_args!("{owner} is cut off from both servers"));
    for server in ServerId::BOTH {
        context.faults().cut(owner, server);
        turmoil::partition(owner, host(server));
    }
}

/// Lets an owner go for good, perhaps, with what it holds and waits for.
pub(crate) fn lose_one(context: &Context, owners: &Owners, rng: &mut Rng) {
    if owners.count > 0 && rng.one_in(2) {
        context.act(HostAction::Crash(0));
        context.note_owner_gone(0);
    }
}

/// Looks at the locks again and again.
pub(crate) async fn watch(context: Context, owners: Owners, mut rng: Rng) -> turmoil::Result {
    if owners.count == 0 {
        return Ok(());
    }
    let clerk = clerk(&context).await?;
    loop {
        for name in owners.names() {
            let asked = now();
            if let Ok(lock) = clerk.show(&name).await
                && let Err(wrong) = context.model().inspected(lock, asked)
            {
                context.complain(wrong);
            }
        }
        pass(rng.millis(5..60)).await;
    }
}

/// When all owners are gone, whatever became of them, every lock becomes free for a new owner:
/// within a lease, or when it is retained no longer.
pub(crate) async fn succeed(context: &Context, owners: &Owners) -> turmoil::Result {
    if owners.count == 0 {
        return Ok(());
    }
    let clerk = clerk(context).await?;
    let succeed_in = async |name: String| {
        let asked = AcquireAttempt {
            owner: owners.count,
            at: now(),
            after: None,
            mode: LockMode::Exclusive,
            is_only: true,
        };
        let after = owners.longest_stay() + context.peer_timeout();
        let guard = clerk.request(&name).timeout(after).acquire().await;
        let guard = guard.map_err(|error| format!("{name} is not free: {error}"))?;
        let held = context.model().granted(guard, asked)?;
        context
            .model()
            .given_up(held)?
            .release(context.model())
            .await
    };
    for succeeded in join_all(owners.names().map(succeed_in)).await {
        succeeded?;
    }
    let left = clerk.list("owned-").await?;
    clerk.close().await;
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("something is left of what was owned: {left:?}").into())
    }
}
