//! What replication is measured against: one server that is not replicated, keeps nothing, and
//! answers `true` to every call.
//!
//! *Plain* is tarpc as its README has it: a multi-threaded runtime at both ends, each response a
//! task, the quicker of the codecs that tarpc brings (bincode; the other one is JSON). *Tuned* has
//! this crate's transport, its runtime, and its way to poll handlers: what is between it and the
//! pair is replication. Neither delays what is written (`TCP_NODELAY`).

mod plain;
mod tuned;

use std::io;

use lockservice::service::CallId;
use lockservice::transport::{Addr, Network, Stream};
use lockservice::types::{ClientId, Seq, SessionId};
use tarpc::context;
use tokio::runtime::{Builder, Runtime};

/// What the references serve: a call as the lock service has it.
#[tarpc::service]
pub(crate) trait Reference {
    /// Answers `true`.
    async fn lock(id: CallId, name: String) -> bool;
}

/// Implements [`Reference`].
#[derive(Debug, Clone)]
struct Yes;

impl Reference for Yes {
    async fn lock(self, _: context::Context, _: CallId, _: String) -> bool {
        true
    }
}

/// Which reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// tarpc as its README has it.
    Plain,
    /// With what this crate adds, but for replication.
    Tuned,
}

impl Flavour {
    pub(crate) const BOTH: [Self; 2] = [Self::Plain, Self::Tuned];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tuned => "tuned",
        }
    }

    /// The runtime that server and client run on.
    pub(crate) fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::Plain => Builder::new_multi_thread(),
            Self::Tuned => Builder::new_current_thread(),
        };
        builder.enable_all().build().expect("a runtime")
    }

    /// Serves for ever.
    pub(crate) async fn serve(self, network: &dyn Network, addr: &Addr) -> io::Result<()> {
        let mut listener = network.listen(addr).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            match self {
                Self::Plain => tokio::spawn(plain::answer(stream)),
                Self::Tuned => tokio::spawn(tuned::answer(stream)),
            };
        }
    }

    /// Connects a client.
    pub(crate) async fn connect(self, network: &dyn Network, addr: &Addr) -> io::Result<Client> {
        let stream: Stream = network.connect(addr).await?;
        Ok(Client(match self {
            Self::Plain => plain::client(stream),
            Self::Tuned => tuned::client(stream),
        }))
    }
}

/// A client of a reference.
#[derive(Debug, Clone)]
pub(crate) struct Client(ReferenceClient);

impl Client {
    /// Calls, with a deadline and with ids, as a clerk does.
    pub(crate) async fn call(&self, name: &str) -> bool {
        let id = CallId {
            client: ClientId::from_u128(u128::MAX),
            session: SessionId(1 << 50),
            seq: Seq(1 << 14),
            first_incomplete: Seq(1 << 14),
        };
        let answer = self.0.lock(context::current(), id, name.to_owned()).await;
        answer.expect("a server answers")
    }
}
