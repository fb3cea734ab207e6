//! Where a server listens.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::MAX_SERVERS;

/// An address that a server listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Addr {
    /// `HOST:PORT`. The host is a name, an IPv4 address, or an IPv6 address in brackets.
    Tcp(String),
    /// `unix:PATH`, a socket in the file system.
    Unix(PathBuf),
    /// `memory:NAME`, a listener of a [`MemoryNetwork`](super::MemoryNetwork) in this process.
    Memory(String),
}

/// Why a text is no [`Addr`], or addresses are no list of [`Servers`](super::Servers).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddrError {
    /// There is nothing after `unix:` or `memory:`.
    #[error("`{0}` names nothing: an address is HOST:PORT or unix:PATH")]
    Empty(String),
    /// It is written as a URL.
    #[error("`{0}` is a URL: an address is HOST:PORT or unix:PATH, without a scheme")]
    Url(String),
    /// A TCP address has no host or no port.
    #[error("`{0}` is not an address: an address is HOST:PORT or unix:PATH")]
    NoPort(String),
    /// What follows the last colon is not a port.
    #[error("`{0}` has no valid port: a port is a number from 0 to 65535")]
    BadPort(String),
    /// The host has colons in it, or brackets with something else than an IPv6 address in them.
    #[error("`{0}` has no valid host: an IPv6 address is written in brackets, as in [::1]:5100")]
    BadHost(String),
    /// Fewer than two servers are listed.
    #[error("`{0}` does not name two servers: write PRIMARY,BACKUP")]
    TooFew(String),
    /// More servers are listed than [`MAX_SERVERS`].
    #[error("a list names at most {MAX_SERVERS} servers")]
    TooMany,
    /// Two of the servers have the same address.
    #[error("two servers of the list have the address `{0}`")]
    SameTwice(Addr),
    /// Port 0 stands for any free port, so nobody could reach a server there.
    #[error("`{0}` has port 0, which is any free port: a list of servers has the ports to reach")]
    AnyPort(Addr),
    /// The address cannot stand in a list that is separated by commas.
    #[error("the address `{0}` has a comma in it")]
    Comma(Addr),
}

impl FromStr for Addr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let named = |name: &str| match name {
            "" => Err(AddrError::Empty(text.to_owned())),
            name => Ok(name.to_owned()),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            named(path).map(|path| Self::Unix(path.into()))
        } else if let Some(name) = text.strip_prefix("memory:") {
            named(name).map(Self::Memory)
        } else {
            host_and_port(text).map(|_| Self::Tcp(text.to_owned()))
        }
    }
}

/// The host of a TCP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host<'a> {
    Name(&'a str),
    V4(Ipv4Addr),
    /// With its zone: the interface through which a link-local address is reached.
    V6(Ipv6Addr, Option<&'a str>),
}

/// Takes a TCP address apart.
pub(super) fn host_and_port(text: &str) -> Result<(Host<'_>, u16), AddrError> {
    if text.contains("://") {
        return Err(AddrError::Url(text.to_owned()));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => (host, port),
        _ => return Err(AddrError::NoPort(text.to_owned())),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port.parse() {
        Ok(port) if digits => port,
        _ => return Err(AddrError::BadPort(text.to_owned())),
    };
    let host = host_of(host).ok_or_else(|| AddrError::BadHost(text.to_owned()))?;
    Ok((host, port))
}

fn host_of(text: &str) -> Option<Host<'_>> {
    let is_plain = |text: &str| {
        let odd = |char: char| char.is_whitespace() || char.is_control();
        !text.is_empty() && !text.contains([':', '[', ']', '/', ',', '%']) && !text.contains(odd)
    };
    if let Some(bracketed) = text.strip_prefix('[') {
        let (ip, zone) = match bracketed.strip_suffix(']')?.split_once('%') {
            Some((ip, zone)) => (ip, Some(zone)),
            None => (bracketed.strip_suffix(']')?, None),
        };
        let is_sound = zone.is_none_or(is_plain);
        return Some(Host::V6(ip.parse().ok().filter(|_| is_sound)?, zone));
    }
    match text.parse() {
        Ok(ip) => Some(Host::V4(ip)),
        Err(_) => is_plain(text).then_some(Host::Name(text)),
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host_port) => f.write_str(host_port),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Memory(name) => write!(f, "memory:{name}"),
        }
    }
}

impl TryFrom<&str> for Addr {
    type Error = AddrError;

    fn try_from(text: &str) -> Result<Self, AddrError> {
        text.parse()
    }
}

impl TryFrom<String> for Addr {
    type Error = AddrError;

    fn try_from(text: String) -> Result<Self, AddrError> {
        text.parse()
    }
}

impl From<std::net::SocketAddr> for Addr {
    fn from(addr: std::net::SocketAddr) -> Self {
        Self::Tcp(addr.to_string())
    }
}

impl From<Infallible> for AddrError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "127.0.0.1:5100",
            "lock-1.example.org:1",
            "[::1]:5100",
            "[::1%lo]:5100",
            "[fe80::1%2]:5100",
            "unix:/run/lockd.sock",
            "unix:./relative",
            "memory:a",
        ] {
            let addr: Addr = text.parse().expect("an address");
            assert_eq!(addr.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<Addr>().expect_err("no address").to_string();
        assert!(refused("").contains("HOST:PORT or unix:PATH"));
        assert!(refused("localhost").contains("HOST:PORT or unix:PATH"));
        assert!(refused(":5100").contains("HOST:PORT or unix:PATH"));
        assert!(refused("unix:").contains("names nothing"));
        assert!(refused("memory:").contains("names nothing"));
        assert!(refused("localhost:").contains("port"));
        assert!(refused("localhost:65536").contains("port"));
        assert!(refused("localhost:+80").contains("port"));
        assert!(refused("::1:5100").contains("brackets"));
        assert!(refused("[localhost]:5100").contains("brackets"));
        for zone in [
            "[::1%]:5100",
            "[::1%a b]:5100",
            "[::1%a%b]:5100",
            "[::1%a,b]:5100",
            "a%b:1",
        ] {
            assert!(refused(zone).contains("host"), "{zone}");
        }
        for url in [
            "http://host:80",
            "http://host:80/",
            "tcp://host",
            "http://[::1]:80",
        ] {
            let refused = refused(url);
            assert!(refused.contains("without a scheme"), "{url}: {refused}");
        }
    }
}
