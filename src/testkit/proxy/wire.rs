//! The task that owns a proxy's listener and connections, and obeys its controls.
//!
//! All proxies run on one thread of their own, so that they work on while a test blocks its thread,
//! and under a test's paused clock too.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::carry::{End, Gauge, carry, is_refusal};
use super::socket::{Listener, Socket};
use super::{Control, Faults};
use crate::transport::Addr;

/// How often a server that refuses connections is tried again. Each try costs some 20 us.
const RETRY: Duration = Duration::from_millis(2);

/// How long a connection may take before its server counts as hung rather than gone.
const HUNG: Duration = Duration::from_millis(200);

/// A control, and where to say that it is in force.
pub(super) type Order = (Control, SyncSender<io::Result<()>>);

/// The thread that all proxies of this process run on.
pub(super) fn wires() -> &'static Handle {
    static WIRES: OnceLock<Handle> = OnceLock::new();
    WIRES.get_or_init(|| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for the proxies");
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("testkit-proxies".to_owned())
            .spawn(move || runtime.block_on(pending::<()>()))
            .expect("a thread for the proxies");
        handle
    })
}

/// Whether the proxy listens.
#[derive(Debug)]
enum Reach {
    Listening(Listener),
    /// A control says that nobody gets in.
    Closed,
    /// The server behind refuses connections, and so does its proxy.
    Mirrored,
}

pub(super) struct Wire {
    listen: Addr,
    upstream: Addr,
    reach: Reach,
    faults: watch::Sender<Faults>,
    gauge: Gauge,
    connections: FuturesUnordered<Pin<Box<dyn Future<Output = End> + Send>>>,
}

impl Wire {
    pub(super) fn new(
        listen: Addr,
        upstream: Addr,
        faults: watch::Sender<Faults>,
        gauge: Gauge,
    ) -> Self {
        Self {
            listen,
            upstream,
            reach: Reach::Closed,
            faults,
            gauge,
            connections: FuturesUnordered::new(),
        }
    }

    /// Listens, if the server behind does.
    pub(super) async fn open(&mut self) -> io::Result<()> {
        if is_up(&self.upstream).await {
            self.listen().await
        } else {
            self.reach = Reach::Mirrored;
            Ok(())
        }
    }

    /// Serves until the proxy is dropped.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some((control, done)) => {
                        let result = self.obey(control).await;
                        // Nobody waits any more if the test was cancelled.
                        let _ = done.send(result);
                    }
                    None => return,
                },
                Some(end) = self.connections.next() => self.ended(end),
                client = accept(&self.reach) => self.connect(client),
                () = comes_back(&self.reach, &self.upstream) => {
                    // A port that is taken meanwhile is tried again.
                    let _ = self.listen().await;
                }
            }
        }
    }

    async fn listen(&mut self) -> io::Result<()> {
        self.reach = Reach::Listening(Listener::bind(&self.listen).await?);
        Ok(())
    }

    async fn obey(&mut self, control: Control) -> io::Result<()> {
        match control {
            Control::Change(change) => {
                self.faults.send_modify(change);
                Ok(())
            }
            Control::Delay(direction, delay) => {
                self.faults
                    .send_modify(|faults| faults.of_mut(direction).delay = delay);
                Ok(())
            }
            Control::Hole(direction, bytes) => {
                self.faults
                    .send_modify(|faults| faults.of_mut(direction).hole = bytes);
                Ok(())
            }
            Control::Refuse => {
                self.reach = Reach::Closed;
                Ok(())
            }
            Control::Listen if matches!(self.reach, Reach::Closed) => self.open().await,
            Control::Listen => Ok(()),
            Control::Reset => {
                self.connections.clear();
                Ok(())
            }
        }
    }

    fn connect(&mut self, client: io::Result<Socket>) {
        // A client that left before it was accepted is no concern of ours.
        if let Ok(client) = client {
            let carried = carry(client, self.upstream.clone(), self.gauge.clone());
            self.connections.push(Box::pin(carried));
        }
    }

    fn ended(&mut self, end: End) {
        if end == End::Refused && matches!(self.reach, Reach::Listening(_)) {
            self.reach = Reach::Mirrored;
        }
    }
}

async fn accept(reach: &Reach) -> io::Result<Socket> {
    match reach {
        Reach::Listening(listener) => listener.accept().await,
        Reach::Closed | Reach::Mirrored => pending().await,
    }
}

/// Waits until the server behind a proxy that mirrors its absence listens again.
async fn comes_back(reach: &Reach, upstream: &Addr) {
    if !matches!(reach, Reach::Mirrored) {
        return pending().await;
    }
    while !is_up(upstream).await {
        sleep(RETRY).await;
    }
}

/// Whether somebody listens there, be it one who hangs.
async fn is_up(upstream: &Addr) -> bool {
    match timeout(HUNG, Socket::connect(upstream)).await {
        Ok(Ok(socket)) => {
            socket.close();
            true
        }
        Ok(Err(error)) => !is_refusal(&error),
        Err(_) => true,
    }
}
