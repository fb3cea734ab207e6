//! TCP, with every address that a host name stands for.
//!
//! A connection to a local port that nobody listens on can, by chance, connect to itself when the kernel
//! picks that very port as the source. It counts as refused.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::addr::{Host, host_and_port};
use super::names::{Name, Names};
use super::race::race;
use super::{Accept, Addr, Listener, Stream};

/// How many connections the kernel holds that have not been accepted yet.
const BACKLOG: u32 = 1024;

/// Where a dial goes.
enum Target {
    Address(SocketAddr),
    Name(Arc<Name>),
}

fn target(names: &Names, host_port: &str) -> io::Result<Target> {
    let (host, port) = parse(host_port)?;
    Ok(match host {
        Host::Name(host) => Target::Name(names.name(host, port)),
        host => Target::Address(socket_addr(host, port)?),
    })
}

fn parse(host_port: &str) -> io::Result<(Host<'_>, u16)> {
    host_and_port(host_port).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The address of a host that is not a name.
fn socket_addr(host: Host<'_>, port: u16) -> io::Result<SocketAddr> {
    match host {
        Host::V4(ip) => Ok((ip, port).into()),
        Host::V6(ip, zone) => {
            let scope = zone.map_or(Ok(0), scope)?;
            Ok(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        Host::Name(name) => Err(io::Error::new(io::ErrorKind::InvalidInput, name)),
    }
}

/// The number of an interface that is named, or given as a number.
fn scope(zone: &str) -> io::Result<u32> {
    let any = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    name_to_index(any, zone).or_else(|_| {
        zone.parse().map_err(|_| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("this machine has no interface `{zone}`"),
            )
        })
    })
}

pub(super) async fn locate(names: &Names, host_port: &str) -> io::Result<()> {
    let Target::Name(name) = target(names, host_port)? else {
        return Ok(());
    };
    let looked_up = name.look_up();
    if name.is_known() {
        return Ok(());
    }
    looked_up.await.map(|_| ())
}

pub(super) async fn connect(names: &Names, host_port: &str) -> io::Result<Stream> {
    match target(names, host_port)? {
        Target::Address(addr) => connect_to(addr).await.map(Stream::new),
        Target::Name(name) => {
            let (addr, stream) = race(name.known(), name.look_up(), connect_to).await?;
            name.prefer(addr);
            Ok(Stream::new(stream))
        }
    }
}

async fn connect_to(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    refuse_self_connection(stream)
}

fn refuse_self_connection(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "nobody listens: the connection had met itself",
        ));
    }
    Ok(stream)
}

pub(super) async fn listen(names: &Names, host_port: &str) -> io::Result<Listener> {
    let (host, port) = parse(host_port)?;
    let addrs = match host {
        Host::Name(name) => names.resolve(name, port).await?,
        host => vec![socket_addr(host, port)?],
    };
    let mut failure = None;
    for addr in addrs {
        match bind(addr) {
            Ok(listener) => return Ok(Listener::new(listener)),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

fn bind(addr: SocketAddr) -> io::Result<Incoming> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    let listener = socket.listen(BACKLOG)?;
    let local_addr = listener.local_addr()?;
    Ok(Incoming {
        listener,
        local_addr,
    })
}

struct Incoming {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Incoming {
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (stream, from) = ready!(self.listener.poll_accept(cx))?;
        stream.set_nodelay(true)?;
        Poll::Ready(Ok((stream, from)))
    }
}

impl Accept for Incoming {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, String)>> {
        let (stream, from) = ready!(self.poll_stream(cx))?;
        Poll::Ready(Ok((Stream::new(stream), from.to_string())))
    }

    fn local_addr(&self) -> Addr {
        self.local_addr.into()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_met_itself_counts_as_refused() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("a free port");
        let own = socket.local_addr().expect("an address");
        let stream = socket.connect(own).await.expect("it meets itself");
        let error = refuse_self_connection(stream).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn both_ends_send_without_delay() {
        let mut incoming = bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let dialed = connect_to(incoming.local_addr).await.expect("connected");
        let (accepted, _) = poll_fn(|cx| incoming.poll_stream(cx))
            .await
            .expect("accepted");
        assert!(dialed.nodelay().expect("an option"));
        assert!(accepted.nodelay().expect("an option"));
    }
}
