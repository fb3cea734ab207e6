//! A byte proxy on real sockets, in front of one server, which breaks connections on command.
//!
//! A control is in force when it returns, also for existing connections: no byte that it forbids
//! passes after that, and no connection that it refuses is accepted.
//!
//! A proxy is as reachable as its server: while nobody listens behind it, it does not listen
//! either. Two servers that reach each other through proxies must be able to tell a peer that is
//! gone (the connection is refused) from one that hangs.

mod carry;
mod socket;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::carry::Gauge;
use self::wire::{Order, Wire, wires};
use super::Reserved;
use crate::transport::Addr;

/// Which way bytes go through a [`Proxy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the one that dialled to the one that listens.
    Requests,
    /// Back.
    Replies,
}

/// The traffic of a proxy since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: u64,
    /// The bytes of [`Direction::Requests`].
    pub requests: Flow,
    /// The bytes of [`Direction::Replies`].
    pub replies: Flow,
}

impl Traffic {
    const fn of(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Requests => &mut self.requests,
            Direction::Replies => &mut self.replies,
        }
    }
}

/// Bytes of one direction.
///
/// What is held is not counted whole: the proxy takes one chunk and leaves the rest in the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes that came to the proxy.
    pub arrived: u64,
    /// Bytes that it passed on.
    pub passed: u64,
    /// Bytes that it discarded.
    pub discarded: u64,
}

/// A proxy for one server. Dropping it resets its connections and closes its listener.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use lockservice::testkit::{Direction, Proxy};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let proxy = Proxy::start(server.local_addr()?.into()).await?;
///
/// let mut client = std::net::TcpStream::connect(proxy.addr().to_string())?;
/// let _ = server.accept()?; // the proxy looked whether the server is up
/// let (mut accepted, _) = server.accept()?;
/// proxy.hold(Direction::Requests);
/// client.write_all(b"hello")?; // on its way, until
/// proxy.release(Direction::Requests);
/// let mut hello = [0; 5];
/// accepted.read_exact(&mut hello)?;
///
/// proxy.cut();
/// assert!(std::net::TcpStream::connect(proxy.addr().to_string()).is_err());
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Proxy {
    listen: Reserved,
    /// The lock is held until an order is obeyed: one order at a time.
    orders: Mutex<mpsc::Sender<Order>>,
    traffic: Arc<Mutex<Traffic>>,
}

/// A change that the task of a proxy makes.
#[derive(Debug)]
enum Control {
    Change(fn(&mut Faults)),
    Delay(Direction, Duration),
    Hole(Direction, Option<usize>),
    Refuse,
    Listen,
    Reset,
}

/// The faults in force.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// New connections are accepted, and their server never hears of them.
    silent: bool,
    requests: Treatment,
    replies: Treatment,
}

impl Faults {
    const fn of(&self, direction: Direction) -> &Treatment {
        match direction {
            Direction::Requests => &self.requests,
            Direction::Replies => &self.replies,
        }
    }

    const fn of_mut(&mut self, direction: Direction) -> &mut Treatment {
        match direction {
            Direction::Requests => &mut self.requests,
            Direction::Replies => &mut self.replies,
        }
    }
}

/// What is done to the bytes of one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Treatment {
    held: bool,
    discarded: bool,
    delay: Duration,
    /// A connection on which more than this comes at once carries nothing more in this direction.
    hole: Option<usize>,
}

impl Proxy {
    /// Starts a proxy for the server at `upstream`, at an address of its own of the same kind.
    ///
    /// It opens a connection to the server, and closes it again, to see whether it is up.
    ///
    /// # Errors
    ///
    /// When there is no free port, when the socket's file cannot be made, or when the server is one
    /// of a network in memory.
    ///
    /// # Cancel safety
    ///
    /// A proxy that is not waited for is not started.
    pub async fn start(upstream: Addr) -> io::Result<Self> {
        let listen = beside(&upstream)?;
        let traffic = Arc::default();
        let (faults, seen) = watch::channel(Faults::default());
        let gauge = Gauge {
            faults: seen,
            traffic: Arc::clone(&traffic),
        };
        let mut wire = Wire::new(listen.addr().clone(), upstream, faults, gauge);
        let (orders, obeyed) = mpsc::channel(1);
        let (opened, open) = tokio::sync::oneshot::channel();
        wires().spawn(async move {
            let result = wire.open().await;
            if opened.send(result).is_ok() {
                wire.run(obeyed).await;
            }
        });
        open.await.map_err(|_| io::ErrorKind::BrokenPipe)??;
        Ok(Self {
            listen,
            orders: Mutex::new(orders),
            traffic,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> &Addr {
        self.listen.addr()
    }

    /// The traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every fault: it listens, and everything passes. Connections that have lost bytes are
    /// reset.
    pub fn pass(&self) {
        self.send(Control::Change(|faults| *faults = Faults::default()));
        self.send(Control::Listen);
    }

    /// Resets every connection, and refuses new ones until [`Self::mend`].
    pub fn cut(&self) {
        self.send(Control::Refuse);
        self.send(Control::Reset);
    }

    /// Refuses new connections until [`Self::mend`]; those that exist go on.
    pub fn refuse_new(&self) {
        self.send(Control::Refuse);
    }

    /// Listens again, at the same address, after [`Self::cut`] or [`Self::refuse_new`].
    pub fn mend(&self) {
        self.send(Control::Listen);
    }

    /// Resets every connection once. New ones pass.
    pub fn reset(&self) {
        self.send(Control::Reset);
    }

    /// Keeps every connection, accepts new ones, and passes nothing, in either direction, until
    /// [`Self::pass`]. What was sent meanwhile arrives then: a network that recovers retransmits.
    pub fn blackhole(&self) {
        self.send(Control::Change(|faults| {
            faults.silent = true;
            faults.requests.held = true;
            faults.replies.held = true;
        }));
    }

    /// Keeps the bytes of a direction on the way, and the end of a connection too, until
    /// [`Self::release`].
    pub fn hold(&self, direction: Direction) {
        self.send(Control::Change(match direction {
            Direction::Requests => |faults| faults.requests.held = true,
            Direction::Replies => |faults| faults.replies.held = true,
        }));
    }

    /// Lets go what [`Self::hold`] kept, in order.
    pub fn release(&self, direction: Direction) {
        self.send(Control::Change(match direction {
            Direction::Requests => |faults| faults.requests.held = false,
            Direction::Replies => |faults| faults.replies.held = false,
        }));
    }

    /// Discards the server's replies, and passes requests to it, until [`Self::pass`].
    pub fn drop_replies(&self) {
        self.send(Control::Change(|faults| {
            faults.replies.discarded = true;
            faults.replies.held = false;
        }));
    }

    /// Delays each chunk of a direction, zero for not at all. Order is kept, so that chunks which
    /// come closer together than `delay` wait for each other.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.send(Control::Delay(direction, delay));
    }

    /// Loses large packets of a direction, as a broken tunnel does: once more than `bytes` come at
    /// a time on a connection, it carries nothing more in this direction, and stays open.
    pub fn lose_larger_than(&self, direction: Direction, bytes: usize) {
        self.send(Control::Hole(direction, Some(bytes)));
    }

    /// Ends what [`Self::lose_larger_than`] began, for connections that have lost nothing yet.
    pub fn lose_nothing(&self, direction: Direction) {
        self.send(Control::Hole(direction, None));
    }

    /// Sends a command to the proxy's task, and waits until it is carried out.
    ///
    /// # Panics
    ///
    /// When the task is gone or cannot listen: then no test can say anything.
    fn send(&self, control: Control) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, obeyed) = std::sync::mpsc::sync_channel(1);
        orders
            .try_send((control, done))
            .expect("the proxy's task runs, and obeys one order at a time");
        obeyed
            .recv()
            .expect("the proxy's task runs")
            .expect("the proxy can listen at its own address");
    }
}

/// An address for a proxy of `upstream`.
fn beside(upstream: &Addr) -> io::Result<Reserved> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    match upstream {
        Addr::Tcp(_) => Reserved::tcp(),
        Addr::Unix(path) => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            Ok(Reserved::unix(path.with_file_name(name)))
        }
        Addr::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}
