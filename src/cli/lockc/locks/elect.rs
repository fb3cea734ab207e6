//! `lockc elect`: is the leader for as long as it holds a lock.

use std::io;

use super::options::ElectOptions;
use crate::clerk::{Clerk, ConnectError, LockGuard, LossReason, ReleaseError};
use crate::cli::exit::{Exit, complain};
use crate::cli::lockc::customer::{Customer, Failure};
use crate::cli::lockc::{print, told};
use crate::cli::signals::StopSignals;

/// Why it is not the leader, or not to the end.
#[derive(Debug, thiserror::Error)]
enum Deposed {
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error("cannot catch signals: {0}")]
    Signals(#[from] io::Error),
    #[error("the leadership was lost: {0}")]
    Lost(LossReason),
    #[error("the leadership was lost: {0}")]
    NotHeld(ReleaseError),
}

impl From<ConnectError> for Deposed {
    fn from(error: ConnectError) -> Self {
        Self::Failed(error.into())
    }
}

impl Deposed {
    const fn exit(&self) -> Exit {
        match self {
            Self::Failed(failure) => failure.exit(),
            Self::Signals(_) => Exit::Internal,
            Self::Lost(_) | Self::NotHeld(_) => Exit::Lost,
        }
    }
}

/// Waits to be elected, says so, and stays until it is asked to resign or the lock is lost.
pub(in crate::cli::lockc) async fn elect(customer: Customer, options: &ElectOptions) -> Exit {
    match campaign(customer, options).await {
        Ok(exit) => exit,
        Err(deposed) => {
            complain("lockc", &deposed);
            deposed.exit()
        }
    }
}

async fn campaign(customer: Customer, options: &ElectOptions) -> Result<Exit, Deposed> {
    let mut signals = StopSignals::catch()?;
    let builder = Clerk::builder(customer.servers)
        .timeout(customer.timeout)
        .lease(*options.lease);
    let clerk = tokio::select! {
        biased;
        _ = signals.next() => return Ok(Exit::No),
        clerk = builder.connect() => clerk?,
    };
    let elected = tokio::select! {
        biased;
        _ = signals.next() => Ok(None),
        elected = clerk.campaign(options.name.as_str()) => elected.map(Some),
    };
    let exit = match elected {
        Ok(Some(guard)) => lead(guard, &mut signals).await,
        Ok(None) => Ok(Exit::No),
        Err(error) => Err(Failure::from(error).into()),
    };
    clerk.close().await;
    exit
}

async fn lead(guard: LockGuard, signals: &mut StopSignals) -> Result<Exit, Deposed> {
    let exit = told(print(&format!("leader {}", guard.token())), Exit::Yes);
    if exit == Exit::Yes {
        tokio::select! {
            biased;
            reason = guard.lost() => return Err(Deposed::Lost(reason)),
            _ = signals.next() => {}
        }
    }
    match guard.release().await {
        Ok(()) => Ok(exit),
        Err(error @ ReleaseError::NotHeld) => Err(Deposed::NotHeld(error)),
        Err(ReleaseError::Lost(reason)) => Err(Deposed::Lost(reason)),
        // It was the leader to the end; the lock is free when its lease is over.
        Err(error) => {
            complain("lockc", &format!("cannot release the lock: {error}"));
            Ok(exit)
        }
    }
}
