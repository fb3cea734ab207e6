//! TCP, with every address that a host name stands for.
//!
//! A connection to a local port that nobody listens on can, by chance, connect to itself when the
//! kernel picks that very port as the source. It counts as refused.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::addr::{Host, host_and_port};
use super::names::{Name, Names};
use super::race::race;
use super::{Accept, Addr, Listener, Stream};
use crate::config::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_QUESTIONS};
use crate::config::{SMALL_SEGMENT_BYTES, TCP_USER_TIMEOUT};

/// How many connections the kernel holds that have not been accepted yet.
const BACKLOG: u32 = 1024;

/// How many free ports are tried until one is free at all addresses of a host.
const PORTS_TRIED: usize = 16;

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

/// How much a packet of a connection may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segments {
    Usual,
    /// Both sides keep to [`SMALL_SEGMENT_BYTES`].
    Small,
}

pub(super) async fn connect(
    names: &Names,
    host_port: &str,
    segments: Segments,
) -> io::Result<Stream> {
    let connect_to = |addr| connect_to(addr, segments);
    match target(names, host_port)? {
        Target::Address(addr) => connect_to(addr).await.map(Stream::new),
        Target::Name(name) => {
            let (addr, stream) = race(name.known(), name.look_up(), connect_to).await?;
            name.prefer(addr);
            Ok(Stream::new(stream))
        }
    }
}

async fn connect_to(addr: SocketAddr, segments: Segments) -> io::Result<TcpStream> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if segments == Segments::Small {
        // Announced to the other side too, as the socket is not connected yet.
        SockRef::from(&socket).set_tcp_mss(SMALL_SEGMENT_BYTES)?;
    }
    let stream = socket.connect(addr).await?;
    set_options(&stream)?;
    refuse_self_connection(stream)
}

/// Sends without delay, and finds out when the other host has vanished: it sends no word of it, and
/// a connection without a timer would stay for ever.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_QUESTIONS)?;
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(TCP_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, millis)?;
    }
    Ok(())
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

/// Listens on every address that the host stands for, on one port.
///
/// An address that is not this machine's is left out, such as `::1` where there is no IPv6; one
/// that is in use is not.
pub(super) async fn listen(names: &Names, host_port: &str) -> io::Result<Listener> {
    let (host, port) = parse(host_port)?;
    let addrs = match host {
        Host::Name(name) => names.resolve(name, port).await?,
        host => vec![socket_addr(host, port)?],
    };
    for _ in 1..PORTS_TRIED {
        match bind_all(host_port, &addrs) {
            // A port that is free at one address may be taken at the next one.
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(Listener::new),
        }
    }
    bind_all(host_port, &addrs).map(Listener::new)
}

fn bind_all(host_port: &str, addrs: &[SocketAddr]) -> io::Result<Incoming> {
    let mut listeners = Vec::<TcpListener>::new();
    let mut port = None;
    let mut absent = None;
    for addr in addrs {
        let mut addr = *addr;
        addr.set_port(port.unwrap_or_else(|| addr.port()));
        match bind(addr) {
            Ok(listener) => {
                port = Some(listener.local_addr()?.port());
                listeners.push(listener);
            }
            Err(error) if is_absent(&error) => absent = Some(error),
            Err(error) => return Err(error),
        }
    }
    let local_addr = match (&listeners[..], port) {
        ([only], _) => only.local_addr()?.into(),
        (_, Some(port)) => {
            let host = host_port
                .rsplit_once(':')
                .map_or(host_port, |(host, _)| host);
            Addr::Tcp(format!("{host}:{port}"))
        }
        (_, None) => {
            return Err(absent.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
        }
    };
    Ok(Incoming {
        listeners,
        next: 0,
        local_addr,
    })
}

/// Whether an address cannot be bound because this machine does not have it.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
    )
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// The sockets of one listener.
struct Incoming {
    listeners: Vec<TcpListener>,
    /// Whose turn it is: none of them may keep the others from theirs.
    next: usize,
    local_addr: Addr,
}

impl Incoming {
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        for _ in 0..self.listeners.len() {
            let at = self.next;
            self.next = (at + 1) % self.listeners.len();
            if let Poll::Ready(accepted) = self.listeners[at].poll_accept(cx) {
                let (stream, from) = accepted?;
                set_options(&stream)?;
                return Poll::Ready(Ok((stream, from)));
            }
        }
        Poll::Pending
    }
}

impl Accept for Incoming {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, String)>> {
        let (stream, from) = ready!(self.poll_stream(cx))?;
        Poll::Ready(Ok((Stream::new(stream), from.to_string())))
    }

    fn local_addr(&self) -> Addr {
        self.local_addr.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn small_segments_are_those_of_both_sides() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(connect_to(addr, Segments::Small), listener.accept());
        let (near, (far, _)) = (near.expect("it listens"), far.expect("one comes"));
        for stream in [near, far] {
            let mss = SockRef::from(&stream).tcp_mss().expect("it is TCP");
            assert!(mss <= SMALL_SEGMENT_BYTES, "{mss}");
        }
    }

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

    /// Both ends of a connection to `host_port`.
    async fn both_ends(host_port: &str) -> [TcpStream; 2] {
        let addrs = [host_port.parse().expect("an address")];
        let mut incoming = bind_all(host_port, &addrs).expect("a free port");
        let addr = incoming.listeners[0].local_addr().expect("an address");
        let dialled = connect_to(addr, Segments::Usual).await.expect("connected");
        let accepted = poll_fn(|cx| incoming.poll_stream(cx)).await;
        [dialled, accepted.expect("accepted").0]
    }

    #[tokio::test]
    async fn both_ends_send_without_delay() {
        for end in both_ends("127.0.0.1:0").await {
            assert!(end.nodelay().expect("an option"));
        }
    }

    #[tokio::test]
    async fn both_ends_find_out_when_the_other_host_has_vanished() {
        for end in both_ends("127.0.0.1:0").await {
            assert_eq!(sockopt::socket_keepalive(&end), Ok(true));
            assert_eq!(sockopt::tcp_keepidle(&end), Ok(KEEPALIVE_IDLE));
            assert_eq!(sockopt::tcp_keepintvl(&end), Ok(KEEPALIVE_INTERVAL));
            assert_eq!(sockopt::tcp_keepcnt(&end), Ok(KEEPALIVE_QUESTIONS));
            #[cfg(target_os = "linux")]
            assert_eq!(sockopt::tcp_user_timeout(&end), Ok(30_000));
        }
    }

    /// Two addresses of this machine, and one that is not its own (it is for documentation).
    fn addrs(port: u16) -> [SocketAddr; 3] {
        [[127, 0, 0, 1], [192, 0, 2, 1], [127, 0, 0, 2]].map(|ip| (ip, port).into())
    }

    #[tokio::test]
    async fn every_address_of_a_host_is_listened_on_but_for_those_of_other_machines() {
        let mut incoming = bind_all("it.test:0", &addrs(0)).expect("a free port");
        let Addr::Tcp(named) = incoming.local_addr() else {
            panic!("it is TCP")
        };
        let port = named.strip_prefix("it.test:").expect("the host").parse();
        let port: u16 = port.expect("the port");
        assert_ne!(port, 0);
        for addr in [addrs(port)[0], addrs(port)[2]] {
            let dialled = connect_to(addr, Segments::Usual).await.expect("it listens");
            let (_, from) = poll_fn(|cx| incoming.poll_stream(cx))
                .await
                .expect("accepted");
            assert_eq!(from, dialled.local_addr().expect("an address"));
        }
        let elsewhere = bind_all("it.test:0", &addrs(0)[1..2])
            .err()
            .expect("not its own");
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn an_address_that_is_in_use_is_not_left_out() {
        let taken = bind(addrs(0)[2]).expect("a free port");
        let port = taken.local_addr().expect("an address").port();
        let error = bind_all("it.test:1", &addrs(port)).err().expect("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_interface_is_known_by_its_name_or_its_number() {
        let scope_of = |text: &str| {
            let (host, port) = host_and_port(text).expect("an address");
            match socket_addr(host, port) {
                Ok(SocketAddr::V6(addr)) => Ok(addr.scope_id()),
                Ok(SocketAddr::V4(addr)) => panic!("{addr}"),
                Err(error) => Err(error.to_string()),
            }
        };
        let lo = scope_of("[::1%lo]:5100").expect("every machine has it");
        assert_ne!(lo, 0);
        assert_eq!(scope_of(&format!("[fe80::1%{lo}]:5100")), Ok(lo));
        assert_eq!(scope_of("[::1]:5100"), Ok(0));
        let error = scope_of("[fe80::1%nowhere]:5100").expect_err("no interface");
        assert!(error.contains("no interface `nowhere`"), "{error}");
    }
}
