//! TCP, with every address that a host name stands for.
//!
//! Two things are guarded against here. A dead host must not look refused because *one* of its addresses
//! refuses: a server takes "refused" for the death of its peer. And a connection to a local port that
//! nobody listens on can, by chance, connect to itself when the kernel picks that very port as the source.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use super::{Accept, Addr, Listener, Stream};

/// How many connections the kernel holds that have not been accepted yet.
const BACKLOG: u32 = 1024;

pub(super) async fn connect(host_port: &str) -> io::Result<Stream> {
    let mut failures = Vec::new();
    for addr in resolve(host_port).await? {
        match connect_to(addr).await {
            Ok(stream) => return Ok(Stream::new(stream)),
            Err(error) => failures.push(error),
        }
    }
    Err(summary(failures).unwrap_or_else(|| no_address(host_port)))
}

/// The error that says least about the host: it is "refused" only if every address refused.
fn summary(failures: Vec<io::Error>) -> Option<io::Error> {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    failures.into_iter().min_by_key(refused)
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

pub(super) async fn listen(host_port: &str) -> io::Result<Listener> {
    let mut failure = None;
    for addr in resolve(host_port).await? {
        match bind(addr) {
            Ok(listener) => return Ok(Listener::new(listener)),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| no_address(host_port)))
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

async fn resolve(host_port: &str) -> io::Result<impl Iterator<Item = SocketAddr>> {
    lookup_host(host_port).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot resolve `{host_port}`: {error}"),
        )
    })
}

fn no_address(host_port: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        format!("`{host_port}` stands for no address"),
    )
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

    #[test]
    fn a_host_is_refused_only_if_all_its_addresses_are() {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable};
        for (kinds, summed) in [
            (vec![], None),
            (
                vec![ConnectionRefused, ConnectionRefused],
                Some(ConnectionRefused),
            ),
            (
                vec![ConnectionRefused, HostUnreachable],
                Some(HostUnreachable),
            ),
            (
                vec![HostUnreachable, ConnectionRefused],
                Some(HostUnreachable),
            ),
        ] {
            let failures = kinds.into_iter().map(io::Error::from).collect();
            assert_eq!(summary(failures).map(|error| error.kind()), summed);
        }
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
