//! Carries out the orders of a shell, and keeps what it acquires.

use std::collections::BTreeMap;

use super::order::Order;
use crate::clerk::LockGuard;
use crate::cli::lockc::customer::{Customer, Failure};
use crate::cli::lockc::locks::LockView;
use crate::types::LockName;

/// Asks the servers, and holds what it owns until it is given back.
pub(in crate::cli::lockc) struct Teller {
    customer: Customer,
    owned: BTreeMap<LockName, LockGuard>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli::lockc) enum Refused {
    #[error("this shell does not own the lock; nothing has changed")]
    NotOwned,
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("cannot tell the answer: {0}")]
    Json(#[from] serde_json::Error),
}

impl Teller {
    pub(in crate::cli::lockc) const fn new(customer: Customer) -> Self {
        Self {
            customer,
            owned: BTreeMap::new(),
        }
    }

    /// Carries out one order, within the timeout in all.
    pub(in crate::cli::lockc) async fn execute(&mut self, order: Order) -> Result<String, Refused> {
        match order {
            Order::Call(verb, name) => Ok(self.customer.call(verb, &name).await?.to_string()),
            Order::Acquire(name) => {
                let limit = self.customer.timeout;
                let asked = self.customer.ask(async |clerk| {
                    let request = clerk.request(name.as_str()).timeout(limit);
                    request.acquire().await
                });
                let guard = asked.await?;
                Ok(self.keep(guard))
            }
            Order::Try(name) => {
                let name = name.as_str();
                let asked = self
                    .customer
                    .ask(async |clerk| clerk.try_acquire(name).await);
                let guard = asked.await?;
                Ok(guard.map_or_else(|| false.to_string(), |guard| self.keep(guard)))
            }
            Order::Release(name) => {
                let guard = self.owned.remove(&name).ok_or(Refused::NotOwned)?;
                self.customer.ask(async |_| guard.release().await).await?;
                Ok(true.to_string())
            }
            Order::Show(name) => {
                let name = name.as_str();
                let asked = self.customer.look(async |clerk| clerk.show(name).await);
                Ok(LockView::whole(&asked.await?).json_line()?)
            }
            Order::Break(name, token, reason) => {
                let (name, reason) = (name.as_str(), reason.as_str());
                let asked = self
                    .customer
                    .ask(async |clerk| clerk.break_lock(name, token, reason).await);
                Ok(asked.await?.to_string())
            }
        }
    }

    /// Keeps what was acquired. What it had of that lock before, it has lost, or it could not have it again.
    fn keep(&mut self, guard: LockGuard) -> String {
        let token = guard.token().to_string();
        self.owned.insert(guard.name().clone(), guard);
        token
    }

    /// Gives everything back.
    pub(in crate::cli::lockc) async fn close(self) {
        self.customer.close().await;
    }
}
