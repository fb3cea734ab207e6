//! Carries out the orders of a shell, and keeps what it acquires.

use std::collections::BTreeMap;

use super::command::{HELP, ShellCommand};
use super::watches::{MAX_WATCHES, Watches};
use crate::exit::Exit;
use crate::lockc::lazy_client::{Failure, LazyClient};
use crate::lockc::locks::{Listing, LockView, WhyView, changes_json};
use lockservice::clerk::{AcquireError, GuardState, LockGuard, LockRequest, TryAcquired};
use lockservice::types::LockName;

/// Asks the servers, and holds what it owns until it is given back.
pub(in crate::lockc) struct Executor {
    client: LazyClient,
    /// Of each lock, the last that was acquired comes last.
    owned: BTreeMap<LockName, Vec<LockGuard>>,
    watches: Watches,
    was_answered: bool,
    was_unanswered: bool,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub(in crate::lockc) enum Refused {
    #[error("this shell does not own the lock; nothing has changed")]
    NotOwned,
    #[error("this shell watches {MAX_WATCHES} prefixes already; nothing was looked at")]
    TooManyWatches,
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("cannot tell the answer: {0}")]
    Json(#[from] serde_json::Error),
}

impl Executor {
    pub(in crate::lockc) fn new(customer: LazyClient) -> Self {
        Self {
            client: customer,
            owned: BTreeMap::new(),
            watches: Watches::default(),
            was_answered: false,
            was_unanswered: false,
        }
    }

    /// How the shell ends: whether orders had no answer from any server, and none had one.
    pub(in crate::lockc) const fn exit(&self) -> Exit {
        if self.was_unanswered && !self.was_answered {
            Exit::Unavailable
        } else {
            Exit::Yes
        }
    }

    /// Carries out one order, within the timeout in all.
    pub(in crate::lockc) async fn execute(
        &mut self,
        order: ShellCommand,
    ) -> Result<String, Refused> {
        let asks = order != ShellCommand::Help;
        let answer = self.carry_out(order).await;
        match &answer {
            Ok(_) => self.was_answered |= asks,
            Err(Refused::Failed(failure)) if failure.exit() == Exit::Unavailable => {
                self.was_unanswered = true;
            }
            Err(_) => {}
        }
        answer
    }

    async fn carry_out(&mut self, order: ShellCommand) -> Result<String, Refused> {
        match order {
            ShellCommand::Help => Ok(HELP.to_owned()),
            ShellCommand::Call(verb, name) => Ok(self.client.call(verb, &name).await?.to_string()),
            ShellCommand::Acquire(name) => {
                let acquire = async |request: LockRequest| request.acquire().await;
                self.wait_for(&name, acquire).await
            }
            ShellCommand::Permit(most, name) => {
                let permit = async |it: LockRequest| it.permits(most.get()).acquire().await;
                self.wait_for(&name, permit).await
            }
            ShellCommand::Try(name) => self.try_acquire(&name, |request| request).await,
            ShellCommand::TryPermit(most, name) => {
                let permits = |request: LockRequest| request.permits(most.get());
                self.try_acquire(&name, permits).await
            }
            ShellCommand::Elect(name) => {
                let stand = async |request: LockRequest| request.campaign().await;
                self.wait_for(&name, stand).await
            }
            ShellCommand::Release(name) => {
                let guard = self.newest(&name).ok_or(Refused::NotOwned)?;
                self.client.ask(async |_| guard.release().await).await?;
                Ok(true.to_string())
            }
            ShellCommand::Show(name) => {
                let name = name.as_str();
                let asked = self.client.inspect(async |clerk| clerk.show(name).await);
                Ok(serde_json::to_string(&LockView::whole(&asked.await?))?)
            }
            ShellCommand::Ls(prefix) => {
                let asked = self.client.inspect(async |clerk| clerk.list(&prefix).await);
                Ok(serde_json::to_string(&Listing::new(&asked.await?))?)
            }
            ShellCommand::Watch(prefix) => {
                let changes = self.watches.changes(&mut self.client, prefix).await?;
                Ok(changes_json(&changes)?)
            }
            ShellCommand::Why(name) => {
                let name = name.as_str();
                let asked = self
                    .client
                    .inspect(async |clerk| clerk.wait_graph(name).await);
                Ok(serde_json::to_string(&WhyView::new(&asked.await?))?)
            }
            ShellCommand::Break(name, token, reason) => {
                let (name, reason) = (name.as_str(), reason.as_str());
                let asked = self
                    .client
                    .ask(async |clerk| clerk.break_lock(name, token, reason).await);
                Ok(asked.await?.is_broken().to_string())
            }
        }
    }

    /// Makes a request that waits for its turn, for the timeout at most.
    async fn wait_for(
        &mut self,
        name: &LockName,
        make: impl AsyncFnOnce(LockRequest) -> Result<LockGuard, AcquireError>,
    ) -> Result<String, Refused> {
        let limit = self.client.timeout;
        let asked = self.client.ask(async |clerk| {
            let request = clerk.request(name.as_str()).timeout(limit);
            make(request).await
        });
        let guard = asked.await?;
        Ok(self.keep(guard))
    }

    async fn try_acquire(
        &mut self,
        name: &LockName,
        how: impl FnOnce(LockRequest) -> LockRequest,
    ) -> Result<String, Refused> {
        let asked = self.client.ask(async |clerk| {
            let request = how(clerk.request(name.as_str()));
            request.try_acquire().await
        });
        Ok(match asked.await? {
            TryAcquired::Acquired(guard) => self.keep(guard),
            TryAcquired::Held => false.to_string(),
        })
    }

    /// Keeps what was acquired, with what it has of that lock already and not lost: other permits.
    fn keep(&mut self, guard: LockGuard) -> String {
        let token = guard.token().to_string();
        let guards = self.owned.entry(guard.name().clone()).or_default();
        guards.retain(|guard| guard.state() != GuardState::Lost);
        guards.push(guard);
        token
    }

    /// Takes out the last that was acquired.
    fn newest(&mut self, name: &LockName) -> Option<LockGuard> {
        let guards = self.owned.get_mut(name)?;
        let newest = guards.pop();
        if guards.is_empty() {
            self.owned.remove(name);
        }
        newest
    }

    /// Gives everything back.
    pub(in crate::lockc) async fn close(self) {
        self.client.close().await;
    }
}
