//! `lockc elect`: leads while it holds a lock.

use std::future::pending;
use std::io;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::options::ElectOptions;
use crate::exit::{Exit, complain};
use crate::lockc::lazy_client::{Failure, LazyClient};
use crate::lockc::session_name::own_session_name;
use crate::lockc::{print, told};
use crate::output::answer;
use crate::signals::StopSignals;
use lockservice::clerk::{Clerk, ConnectError, LockGuard, LossReason, ReleaseError};

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
pub(in crate::lockc) async fn elect(customer: LazyClient, options: &ElectOptions) -> Exit {
    match campaign(customer, options).await {
        Ok(exit) => exit,
        Err(deposed) => {
            complain("lockc", &deposed);
            deposed.exit()
        }
    }
}

/// What ends a candidacy, and a leadership.
struct Stop {
    signals: StopSignals,
    reader_gone: BoxFuture<'static, ()>,
}

impl Stop {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            signals: StopSignals::catch_with_hang_up()?,
            reader_gone: answer::reader_gone().boxed(),
        })
    }

    /// Waits until a signal comes, or nobody is left who reads that this is the leader.
    async fn wanted(&mut self) {
        tokio::select! {
            biased;
            _ = self.signals.next() => {}
            () = &mut self.reader_gone => {}
        }
    }
}

async fn campaign(customer: LazyClient, options: &ElectOptions) -> Result<Exit, Deposed> {
    let mut stop = Stop::catch()?;
    let builder = Clerk::builder(customer.servers)
        .timeout(customer.timeout)
        .lease(*options.lease)
        .name(own_session_name());
    let clerk = tokio::select! {
        biased;
        () = stop.wanted() => return Ok(Exit::No),
        clerk = builder.connect() => clerk?,
    };
    let elected = tokio::select! {
        biased;
        () = stop.wanted() => Ok(None),
        elected = clerk.campaign(options.name.as_str()) => elected.map(Some),
    };
    let exit = match elected {
        Ok(Some(guard)) => lead(guard, &mut stop).await,
        Ok(None) => Ok(Exit::No),
        Err(error) => Err(Failure::from(error).into()),
    };
    clerk.close().await;
    exit
}

async fn lead(guard: LockGuard, stop: &mut Stop) -> Result<Exit, Deposed> {
    let say_so = async {
        let exit = told(print(&format!("leader {}", guard.token())).await, Exit::Yes);
        // A leader that cannot say so is none.
        if exit == Exit::Yes {
            pending().await
        } else {
            exit
        }
    };
    let exit = tokio::select! {
        biased;
        reason = guard.lost() => return Err(Deposed::Lost(reason)),
        () = stop.wanted() => Exit::Yes,
        exit = say_so => exit,
    };
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
