//! What befalls those who own locks, and who looks at their locks meanwhile and afterwards.

use futures::future::join_all;
use lockservice::service::Mode;
use lockservice::types::{LockName, ServerId};

use super::dice::Dice;
use super::director::{clerk, cut, mend};
use super::ledger::{Asked, now};
use super::net::{host, owner_host};
use super::owners::Owners;
use super::stage::{Order, Stage, pass};

/// Cuts owners off, and lets their hosts go and come back.
pub(crate) async fn befall(stage: Stage, owners: Owners, mut dice: Dice) {
    if owners.count == 0 {
        return;
    }
    loop {
        pass(dice.millis(20..500)).await;
        let number = victim(&stage, &owners, &mut dice);
        let owner = owner_host(number);
        match dice.within(0..4) {
            0 => cut(&stage, &owner, &mut dice).await,
            1 => {
                isolate(&stage, &owner);
                pass(dice.millis(10..2 * owners.lease_millis())).await;
            }
            _ => {
                // Or its connections are closed, as when a process ends.
                if dice.one_in(2) {
                    isolate(&stage, &owner);
                }
                stage.order(Order::Crash(number));
                pass(dice.millis(0..2 * owners.lease_millis())).await;
            }
        }
        for server in ServerId::BOTH {
            mend(&stage, &owner, server);
        }
        stage.order(Order::Revive(number));
    }
}

/// Somebody who holds something, rather than any.
fn victim(stage: &Stage, owners: &Owners, dice: &mut Dice) -> usize {
    let number = dice.within(0..owners.count as u64);
    let holders = owners.names().filter_map(|name| {
        let name = LockName::new(name).expect("a name");
        stage.ledger().holder(&name)
    });
    let holder = holders.last().filter(|_| !dice.one_in(3));
    holder.unwrap_or_else(|| usize::try_from(number).expect("a few"))
}

fn isolate(stage: &Stage, owner: &str) {
    stage.tell(format_args!("{owner} is cut off from both servers"));
    for server in ServerId::BOTH {
        stage.faults().cut(owner, server);
        turmoil::partition(owner, host(server));
    }
}

/// Lets an owner go for good, perhaps, with what it holds and waits for.
pub(crate) fn lose_one(stage: &Stage, owners: &Owners, dice: &mut Dice) {
    if owners.count > 0 && dice.one_in(2) {
        stage.order(Order::Crash(0));
        stage.note_owner_gone(0);
    }
}

/// Looks at the locks again and again.
pub(crate) async fn watch(stage: Stage, owners: Owners, mut dice: Dice) -> turmoil::Result {
    if owners.count == 0 {
        return Ok(());
    }
    let clerk = clerk(&stage).await?;
    loop {
        for name in owners.names() {
            let asked = now();
            if let Ok(lock) = clerk.show(&name).await
                && let Err(wrong) = stage.ledger().looked(lock, asked)
            {
                stage.complain(wrong);
            }
        }
        pass(dice.millis(5..60)).await;
    }
}

/// When all owners are gone, whatever became of them, every lock becomes free for a new owner:
/// within a lease, or when it is retained no longer.
pub(crate) async fn succeed(stage: &Stage, owners: &Owners) -> turmoil::Result {
    if owners.count == 0 {
        return Ok(());
    }
    let clerk = clerk(stage).await?;
    let succeed_in = async |name: String| {
        let asked = Asked {
            owner: owners.count,
            at: now(),
            after: None,
            mode: Mode::Exclusive,
            is_only: true,
        };
        let after = owners.longest_stay() + stage.peer_timeout();
        let guard = clerk.request(&name).timeout(after).acquire().await;
        let guard = guard.map_err(|error| format!("{name} is not free: {error}"))?;
        let held = stage.ledger().granted(guard, asked)?;
        stage.ledger().given_up(held)?.release(stage.ledger()).await
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
