//! Where a test listens, and how it keeps a port for itself.
//!
//! A free port that was found by binding to port 0 can be taken by somebody else before the server
//! that shall have it binds it. A [`Reserved`] endpoint keeps a socket bound to the port that never
//! listens: the kernel gives the port to nobody who asks for any, whoever asks for this very one (with
//! `SO_REUSEADDR`, as Tokio does) may listen on it, and while nobody does a connection is refused.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::TcpSocket;

/// An address on this machine, written as the programs write it: `HOST:PORT` with a numeric host, or
/// `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reserves a free TCP port on the loopback address.
    ///
    /// # Errors
    ///
    /// When the kernel has no socket or no port left.
    ///
    /// # Examples
    ///
    /// ```
    /// use lockservice::testkit::Endpoint;
    ///
    /// let reserved = Endpoint::reserve()?;
    /// println!("lockd primary --listen {}", reserved.endpoint());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reserve() -> io::Result<Reserved> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Reserved {
            endpoint: Self::Tcp(socket.local_addr()?),
            _socket: Some(socket),
        })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| EndpointError {
            text: text.to_owned(),
        })
    }
}

/// A text is no [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither IP:PORT nor unix:PATH")]
pub struct EndpointError {
    text: String,
}

/// An endpoint that nobody else is given while this lives.
#[derive(Debug)]
#[must_use = "the port is free for anybody once this is dropped"]
pub struct Reserved {
    endpoint: Endpoint,
    _socket: Option<TcpSocket>,
}

impl Reserved {
    /// Takes a path that is the caller's own: in a directory that nobody else uses.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: Endpoint::Unix(path.into()),
            _socket: None,
        }
    }

    /// The endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn port_of(reserved: &Reserved) -> SocketAddr {
        match reserved.endpoint() {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(_) => unreachable!("a reserved endpoint is a TCP one"),
        }
    }

    #[test]
    fn a_reserved_port_refuses_connections_until_somebody_listens() {
        let reserved = Endpoint::reserve().expect("a free port");
        let address = port_of(&reserved);
        let refused = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        for _ in 0..3 {
            let listener = TcpListener::bind(address).expect("the holder may listen, and again");
            let client = TcpStream::connect(address).expect("somebody listens");
            drop(listener.accept().expect("a connection"));
            drop(client);
        }
    }

    #[test]
    fn a_reserved_port_is_given_to_nobody_who_asks_for_any() {
        let reserved: Vec<_> = (0..200)
            .map(|_| Endpoint::reserve().expect("a free port"))
            .collect();
        let ports: std::collections::HashSet<_> = reserved.iter().map(port_of).collect();
        assert_eq!(ports.len(), reserved.len());
        for _ in 0..200 {
            let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
            assert!(!ports.contains(&other.local_addr().expect("bound")));
        }
    }

    #[test]
    fn an_endpoint_reads_what_it_writes() {
        for text in ["127.0.0.1:5100", "[::1]:5100", "unix:/tmp/a b"] {
            let endpoint: Endpoint = text.parse().expect("an endpoint");
            assert_eq!(endpoint.to_string(), text);
        }
        assert!("localhost:1".parse::<Endpoint>().is_err());
    }
}
