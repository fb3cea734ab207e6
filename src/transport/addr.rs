//! Where a server listens, and which two servers make a pair.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

use crate::types::ServerId;

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

/// Why a text is no [`Addr`], or two addresses are no pair of [`Servers`].
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
    /// A pair is written as two addresses with a comma between them.
    #[error("`{0}` does not name two servers: write PRIMARY,BACKUP")]
    NotTwo(String),
    /// Both servers have the same address.
    #[error("both servers of the pair have the address `{0}`")]
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

/// The two servers of a pair, named in one order everywhere.
///
/// The order matters only when both start empty: then the first becomes primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Servers([Addr; 2]);

impl Servers {
    /// Names the pair.
    ///
    /// ```
    /// # use lockservice::transport::Servers;
    /// let servers = Servers::new("10.0.0.1:5100", "10.0.0.2:5100")?;
    /// assert_eq!(servers.to_string(), "10.0.0.1:5100,10.0.0.2:5100");
    /// # Ok::<_, lockservice::transport::AddrError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AddrError`] when one is no address or has port 0, when both are the same, or when one has
    /// a comma in it.
    pub fn new<A, B>(first: A, second: B) -> Result<Self, AddrError>
    where
        A: TryInto<Addr>,
        B: TryInto<Addr>,
        AddrError: From<A::Error> + From<B::Error>,
    {
        let pair: [Addr; 2] = [first.try_into()?, second.try_into()?];
        if pair[0] == pair[1] {
            let [same, _] = pair;
            return Err(AddrError::SameTwice(same));
        }
        let is_any = |addr: &&Addr| match addr {
            Addr::Tcp(text) => matches!(host_and_port(text), Ok((_, 0))),
            Addr::Unix(_) | Addr::Memory(_) => false,
        };
        if let Some(any) = pair.iter().find(is_any) {
            return Err(AddrError::AnyPort(any.clone()));
        }
        match pair.iter().find(|addr| addr.to_string().contains(',')) {
            Some(addr) => Err(AddrError::Comma(addr.clone())),
            None => Ok(Self(pair)),
        }
    }

    /// The pair that the environment variable `LOCK_SERVERS` names, as `PRIMARY,BACKUP`; the
    /// default one where it is unset or empty. The programs do the same.
    ///
    /// # Errors
    ///
    /// [`AddrError`] when it names no pair.
    #[expect(
        clippy::disallowed_methods,
        reason = "an application asks for it by the name of this function"
    )]
    pub fn from_env() -> Result<Self, AddrError> {
        Self::from_setting(std::env::var_os("LOCK_SERVERS").as_deref())
    }

    fn from_setting(setting: Option<&OsStr>) -> Result<Self, AddrError> {
        match setting {
            Some(servers) if !servers.is_empty() => servers.to_string_lossy().parse(),
            _ => Ok(Self::default()),
        }
    }

    /// The address of one of the servers.
    #[must_use]
    pub const fn address(&self, server: ServerId) -> &Addr {
        match server {
            ServerId::A => &self.0[0],
            ServerId::B => &self.0[1],
        }
    }

    /// What a server shows to prove that it means the same pair.
    #[must_use]
    pub fn pair_id(&self) -> PairId {
        PairId(xxh3_64(self.to_string().as_bytes()))
    }
}

impl Default for Servers {
    fn default() -> Self {
        let local = |port| Addr::Tcp(format!("127.0.0.1:{port}"));
        Self([local(5100), local(5101)])
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.0[0], self.0[1])
    }
}

impl FromStr for Servers {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        match text.split_once(',') {
            Some((first, second)) if !second.contains(',') => {
                Self::new(first.trim(), second.trim())
            }
            _ => Err(AddrError::NotTwo(text.to_owned())),
        }
    }
}

/// A fingerprint of the addresses of a pair, and of their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PairId(pub u64);

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
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

    #[test]
    fn a_pair_is_written_as_it_is_read() {
        let servers: Servers = "a:1, unix:/b".parse().expect("a pair");
        assert_eq!(servers.to_string(), "a:1,unix:/b");
        assert_eq!(servers.address(ServerId::A), &Addr::Tcp("a:1".into()));
        assert_eq!(servers.address(ServerId::B), &Addr::Unix("/b".into()));
        assert_eq!(
            Servers::default(),
            "127.0.0.1:5100,127.0.0.1:5101".parse().expect("a pair")
        );
    }

    #[test]
    fn a_pair_that_the_environment_does_not_name_is_the_default() {
        let pair = |setting: Option<&str>| Servers::from_setting(setting.map(OsStr::new));
        assert_eq!(pair(None), Ok(Servers::default()));
        assert_eq!(pair(Some("")), Ok(Servers::default()));
        assert_eq!(pair(Some("a:1,b:1")), Servers::new("a:1", "b:1"));
        assert_eq!(pair(Some("a:1")), Err(AddrError::NotTwo("a:1".into())));
    }

    #[test]
    fn a_pair_is_two_different_addresses() {
        let refused = |text: &str| text.parse::<Servers>().expect_err("no pair");
        assert_eq!(refused("a:1"), AddrError::NotTwo("a:1".into()));
        assert_eq!(
            refused("a:1,b:1,c:1"),
            AddrError::NotTwo("a:1,b:1,c:1".into())
        );
        assert_eq!(
            refused("a:1,a:1"),
            AddrError::SameTwice(Addr::Tcp("a:1".into()))
        );
        let any = Addr::Tcp("a:0".into());
        assert_eq!(refused("a:0,b:1"), AddrError::AnyPort(any.clone()));
        assert_eq!(refused("b:1,a:0"), AddrError::AnyPort(any));
        assert!("a:0".parse::<Addr>().is_ok(), "it can be bound");
        let comma = Addr::Unix("/a,b".into());
        assert_eq!(
            Servers::new("a:1", comma.clone()),
            Err(AddrError::Comma(comma))
        );
    }

    #[test]
    fn the_pair_id_stands_for_the_addresses_in_their_order() {
        let id = |text: &str| text.parse::<Servers>().expect("a pair").pair_id();
        assert_eq!(id("a:1,b:1"), id("a:1, b:1"));
        assert_ne!(id("a:1,b:1"), id("b:1,a:1"));
        assert_ne!(id("a:1,b:1"), id("a:1,b:2"));
    }
}
