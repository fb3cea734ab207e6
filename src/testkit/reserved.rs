//! Addresses reserved for a test.
//!
//! A free port that was found by binding to port 0 can be taken by another process before the
//! server binds it. A [`Reserved`] address keeps a socket bound to the port that never listens. So
//! the kernel gives the port to no process that asks for any port; a process that asks for this
//! port (with `SO_REUSEADDR`, as Tokio does) can listen on it; and until then connections are
//! refused.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use tokio::net::TcpSocket;

use crate::transport::Addr;

/// An address on this machine that no other process gets while this value lives.
///
/// # Examples
///
/// ```
/// use lockservice::testkit::Reserved;
///
/// let reserved = Reserved::tcp()?;
/// println!("lockd primary --listen {}", reserved.addr());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the address is anybody's once this is dropped"]
pub struct Reserved {
    addr: Addr,
    _socket: Option<TcpSocket>,
}

impl Reserved {
    /// Reserves a free TCP port on the loopback address.
    ///
    /// # Errors
    ///
    /// When the kernel has no socket or no port left.
    pub fn tcp() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            addr: socket.local_addr()?.into(),
            _socket: Some(socket),
        })
    }

    /// Takes a path that is the caller's own: in a directory that nobody else uses.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self {
            addr: Addr::Unix(path.into()),
            _socket: None,
        }
    }

    /// The address.
    #[must_use]
    pub const fn addr(&self) -> &Addr {
        &self.addr
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn port_of(reserved: &Reserved) -> String {
        reserved.addr().to_string()
    }

    #[test]
    fn a_reserved_port_refuses_connections_until_somebody_listens() {
        let reserved = Reserved::tcp().expect("a free port");
        let address = port_of(&reserved);
        let refused = TcpStream::connect(&address).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        for _ in 0..3 {
            let listener = TcpListener::bind(&address).expect("the holder may listen, and again");
            let client = TcpStream::connect(&address).expect("somebody listens");
            drop(listener.accept().expect("a connection"));
            drop(client);
        }
    }

    #[test]
    fn a_reserved_port_is_given_to_nobody_who_asks_for_any() {
        let reserved: Vec<_> = (0..200)
            .map(|_| Reserved::tcp().expect("a free port"))
            .collect();
        let ports: std::collections::HashSet<_> = reserved.iter().map(port_of).collect();
        assert_eq!(ports.len(), reserved.len());
        for _ in 0..200 {
            let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
            assert!(!ports.contains(&other.local_addr().expect("bound").to_string()));
        }
    }
}
