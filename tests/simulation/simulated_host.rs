//! The machine of a server, apart from the server: it owns the sockets, and is what turmoil
//! simulates.
//!
//! The server's own process is a runtime beside it (see `process`), so that it can be killed while
//! its machine runs on and refuses connections, and stopped while its machine goes on taking bytes
//! in: as SIGKILL and SIGSTOP do. Turmoil by itself knows only hosts that run or are gone.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use lockservice::transport::{Accept, Addr, Listener, Network, Stream};
use lockservice::types::ServerId;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, copy_bidirectional, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio_util::sync::CancellationToken;
use turmoil::net::{TcpListener, TcpStream};

use super::network::{Faults, dial, host};

/// What a machine holds for a process that does not read, in bytes.
const BUFFER: usize = 64 * 1024;

/// What a process asks of its machine.
enum Syscall {
    Connect {
        addr: String,
        to: oneshot::Sender<io::Result<Socket>>,
    },
    Listen {
        addr: String,
        to: oneshot::Sender<io::Result<mpsc::Receiver<(Socket, String)>>>,
    },
}

/// One life of a machine, as its process sees it: a network.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedHost {
    syscalls: mpsc::Sender<Syscall>,
}

impl SimulatedHost {
    /// A machine, and what its host is to run.
    pub(crate) fn boot(
        me: ServerId,
        faults: Faults,
        wires: Wires,
    ) -> (Self, impl Future<Output = turmoil::Result> + 'static) {
        let (syscalls, asked) = mpsc::channel(1_024);
        (Self { syscalls }, run(me, asked, faults, wires))
    }
}

/// The connections of a machine, as far as one can do something to them from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wires {
    peer: Switch,
    clients: Switch,
    process: Switch,
}

impl Wires {
    /// Breaks every connection with the other server.
    pub(crate) fn reset_peer(&self) {
        self.peer.turn();
    }

    /// Breaks every connection with a client.
    pub(crate) fn reset_clients(&self) {
        self.clients.turn();
    }

    /// The process is about to be dropped. Tokio drops its tasks in an order that depends on what
    /// else ran in this process of ours; so connections are told here, in their own order, to look.
    pub(crate) fn process_ends(&self) {
        self.process.turn();
    }

    /// What breaks the connection with `host`.
    fn with(&self, host: &str) -> CancellationToken {
        let is_server = ServerId::BOTH.iter().any(|id| self::host(*id) == host);
        let switch = if is_server { &self.peer } else { &self.clients };
        switch.current()
    }
}

/// Tells everybody who took the current token, once.
#[derive(Debug, Clone, Default)]
struct Switch(Arc<Mutex<CancellationToken>>);

impl Switch {
    fn current(&self) -> CancellationToken {
        self.lock().clone()
    }

    fn turn(&self) {
        std::mem::take(&mut *self.lock()).cancel();
    }

    fn lock(&self) -> MutexGuard<'_, CancellationToken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(
    me: ServerId,
    mut asked: mpsc::Receiver<Syscall>,
    faults: Faults,
    wires: Wires,
) -> turmoil::Result {
    while let Some(syscall) = asked.recv().await {
        match syscall {
            Syscall::Connect { addr, mut to } => {
                let (faults, wires) = (faults.clone(), wires.clone());
                spawn_local(async move {
                    let stream = tokio::select! {
                        biased;
                        () = to.closed() => return,
                        stream = dial(host(me), &addr, &faults) => stream,
                    };
                    let peer = addr.split(':').next().unwrap_or_default().to_owned();
                    let _ = to.send(stream.map(|stream| attach(stream, &peer, &wires)));
                });
            }
            Syscall::Listen { addr, to } => listen(&addr, to, wires.clone()).await,
        }
    }
    Ok(())
}

async fn listen(
    addr: &str,
    to: oneshot::Sender<io::Result<mpsc::Receiver<(Socket, String)>>>,
    wires: Wires,
) {
    let port = addr.split(':').next_back().unwrap_or_default();
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")).await {
        Ok(listener) => listener,
        Err(error) => return drop(to.send(Err(error))),
    };
    let (accepted, queue) = mpsc::channel(64);
    if to.send(Ok(queue)).is_ok() {
        spawn_local(accept(listener, accepted, wires));
    }
}

/// Accepts until the process that listened is gone; then connections are refused.
async fn accept(listener: TcpListener, accepted: mpsc::Sender<(Socket, String)>, wires: Wires) {
    loop {
        let next = tokio::select! {
            biased;
            () = accepted.closed() => return,
            next = listener.accept() => next,
        };
        let Ok((stream, from)) = next else { return };
        let peer = turmoil::reverse_lookup(from.ip()).unwrap_or_default();
        let socket = attach(stream, &peer, &wires);
        if accepted.send((socket, from.to_string())).await.is_err() {
            return;
        }
    }
}

/// Carries the bytes of a connection to and from its process.
fn attach(mut stream: TcpStream, peer: &str, wires: &Wires) -> Socket {
    let (mut near, far) = duplex(BUFFER);
    let broken = Arc::<AtomicBool>::default();
    let socket = Socket {
        bytes: far,
        broken: broken.clone(),
    };
    let (reset, ended) = (wires.with(peer), wires.process.current());
    spawn_local(async move {
        let mut carrying = pin!(copy_bidirectional(&mut stream, &mut near));
        let carried = tokio::select! {
            biased;
            () = reset.cancelled() => false,
            carried = &mut carrying => carried.is_ok(),
            () = ended.cancelled() => carrying.await.is_ok(),
        };
        broken.store(!carried, Ordering::Relaxed);
    });
    socket
}

/// The process's end of a connection.
struct Socket {
    bytes: DuplexStream,
    broken: Arc<AtomicBool>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.bytes).poll_read(cx, buf))?;
        if buf.filled().len() == before && self.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

impl Network for SimulatedHost {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        async move {
            let (to, connected) = oneshot::channel();
            let addr = addr.to_string();
            let syscall = Syscall::Connect { addr, to };
            self.syscalls.send(syscall).await.map_err(|_| gone())?;
            Ok(Stream::new(connected.await.map_err(|_| gone())??))
        }
        .boxed()
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        async move {
            let (to, listening) = oneshot::channel();
            let syscall = Syscall::Listen {
                addr: addr.to_string(),
                to,
            };
            self.syscalls.send(syscall).await.map_err(|_| gone())?;
            let queue = listening.await.map_err(|_| gone())??;
            Ok(Listener::new(Incoming {
                queue,
                addr: addr.clone(),
            }))
        }
        .boxed()
    }
}

fn gone() -> io::Error {
    io::Error::other("the machine is gone, and this process with it")
}

struct Incoming {
    queue: mpsc::Receiver<(Socket, String)>,
    addr: Addr,
}

impl Accept for Incoming {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, String)>> {
        let (socket, from) = ready!(self.queue.poll_recv(cx)).ok_or_else(gone)?;
        Poll::Ready(Ok((Stream::new(socket), from)))
    }

    fn local_addr(&self) -> Addr {
        self.addr.clone()
    }
}
