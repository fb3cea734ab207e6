//! Which servers belong together: a list of their addresses.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::addr::{Addr, AddrError, host_and_port};
use crate::config::MAX_SERVERS;
use crate::types::ServerId;

const _: () = assert!(MAX_SERVERS <= ServerId::COUNT as usize, "each has an id");

/// The servers of a cluster, named in one order everywhere: two, or up to [`MAX_SERVERS`].
///
/// Two servers are a pair. Their order matters only when both start empty: then the first becomes
/// primary. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Servers(Arc<[Addr]>);

impl Servers {
    /// Names the two servers of a pair.
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
    /// As those of [`of`](Self::of).
    pub fn new<A, B>(first: A, second: B) -> Result<Self, AddrError>
    where
        A: TryInto<Addr>,
        B: TryInto<Addr>,
        AddrError: From<A::Error> + From<B::Error>,
    {
        Self::of([first.try_into()?, second.try_into()?])
    }

    /// Names the servers of a cluster of any size.
    ///
    /// ```
    /// # use lockservice::transport::Servers;
    /// let servers = Servers::of(["10.0.0.1:5100", "10.0.0.2:5100", "10.0.0.3:5100"])?;
    /// assert_eq!(servers.addresses().len(), 3);
    /// # Ok::<_, lockservice::transport::AddrError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AddrError`] when there are fewer than two or more than [`MAX_SERVERS`], when one is no
    /// address or has port 0, when two are the same, or when one has a comma in it.
    pub fn of<A>(addresses: impl IntoIterator<Item = A>) -> Result<Self, AddrError>
    where
        A: TryInto<Addr>,
        AddrError: From<A::Error>,
    {
        let addresses = addresses.into_iter().map(|it| Ok(it.try_into()?));
        let addresses: Arc<[Addr]> = addresses.collect::<Result<_, AddrError>>()?;
        match addresses.len() {
            0 | 1 => return Err(AddrError::TooFew(Self(addresses).to_string())),
            2..=MAX_SERVERS => {}
            _ => return Err(AddrError::TooMany),
        }
        for (place, addr) in addresses.iter().enumerate() {
            if addresses[..place].contains(addr) {
                return Err(AddrError::SameTwice(addr.clone()));
            }
            if is_any_port(addr) {
                return Err(AddrError::AnyPort(addr.clone()));
            }
            if addr.to_string().contains(',') {
                return Err(AddrError::Comma(addr.clone()));
            }
        }
        Ok(Self(addresses))
    }

    /// The servers that the environment variable `LOCK_SERVERS` names, as `PRIMARY,BACKUP`; the
    /// default pair where it is unset or empty. The programs do the same.
    ///
    /// # Errors
    ///
    /// [`AddrError`] when it names no list of servers.
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

    /// The addresses of the servers, in their order.
    #[must_use]
    pub fn addresses(&self) -> &[Addr] {
        &self.0
    }

    /// The servers, in their order.
    #[must_use]
    pub fn ids(
        &self,
    ) -> impl DoubleEndedIterator<Item = ServerId> + ExactSizeIterator + Clone + use<> {
        ServerId::first(self.0.len())
    }

    /// The address of one of the servers.
    ///
    /// # Panics
    ///
    /// When the list has no such server.
    #[must_use]
    pub fn address(&self, server: ServerId) -> &Addr {
        &self.0[server.index()]
    }

    /// What a server shows to prove that it means the same servers.
    #[must_use]
    pub fn pair_id(&self) -> PairId {
        PairId(xxh3_64(self.to_string().as_bytes()))
    }
}

/// Whether it stands for any free port.
fn is_any_port(addr: &Addr) -> bool {
    match addr {
        Addr::Tcp(text) => matches!(host_and_port(text), Ok((_, 0))),
        Addr::Unix(_) | Addr::Memory(_) => false,
    }
}

impl Default for Servers {
    /// The pair that `lockd dev` runs.
    fn default() -> Self {
        let local = |port| Addr::Tcp(format!("127.0.0.1:{port}"));
        Self([local(5100), local(5101)].into())
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, addr) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{addr}")?;
        }
        Ok(())
    }
}

impl FromStr for Servers {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if text.contains(',') {
            Self::of(text.split(',').map(str::trim))
        } else {
            Err(AddrError::TooFew(text.to_owned()))
        }
    }
}

/// A fingerprint of the addresses of a list of servers, and of their order.
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

    /// `a:1,b:1` and so on.
    fn list(servers: usize) -> String {
        let names = (b'a'..=b'z').map(char::from).take(servers);
        let addresses: Vec<_> = names.map(|name| format!("{name}:1")).collect();
        addresses.join(",")
    }

    #[test]
    fn a_list_is_written_as_it_is_read() {
        let servers: Servers = "a:1, unix:/b,c:1".parse().expect("a list");
        assert_eq!(servers.to_string(), "a:1,unix:/b,c:1");
        assert_eq!(servers.address(ServerId::A), &Addr::Tcp("a:1".into()));
        assert_eq!(servers.address(ServerId::B), &Addr::Unix("/b".into()));
        let ids: Vec<_> = servers.ids().collect();
        assert_eq!(ids[..2], ServerId::BOTH);
        assert_eq!(servers.address(ids[2]), &servers.addresses()[2]);
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
        assert_eq!(pair(Some("a:1")), Err(AddrError::TooFew("a:1".into())));
    }

    #[test]
    fn a_list_has_two_to_ten_servers() {
        for servers in [2, 3, 5, MAX_SERVERS] {
            let parsed: Servers = list(servers).parse().expect("a list");
            assert_eq!(parsed.ids().len(), servers);
            assert_eq!(parsed.to_string(), list(servers));
        }
        for servers in [0, 1] {
            let too_few = Err(AddrError::TooFew(list(servers)));
            assert_eq!(list(servers).parse::<Servers>(), too_few);
            let addresses = list(servers);
            let addresses = addresses.split(',').filter(|it| !it.is_empty());
            assert_eq!(Servers::of(addresses), too_few);
        }
        for servers in [MAX_SERVERS + 1, 26] {
            assert_eq!(list(servers).parse::<Servers>(), Err(AddrError::TooMany));
        }
    }

    #[test]
    fn the_addresses_of_a_list_differ_and_can_be_reached() {
        let refused = |text: &str| text.parse::<Servers>().expect_err("no list");
        for text in ["a:1,a:1", "a:1,b:1,a:1", "b:1,a:1,a:1"] {
            let same = Addr::Tcp("a:1".into());
            assert_eq!(refused(text), AddrError::SameTwice(same), "{text}");
        }
        for text in ["a:0,b:1", "b:1,a:0", "b:1,c:1,a:0"] {
            let any = Addr::Tcp("a:0".into());
            assert_eq!(refused(text), AddrError::AnyPort(any), "{text}");
        }
        assert!("a:0".parse::<Addr>().is_ok(), "it can be bound");
        let comma = Addr::Unix("/a,b".into());
        assert_eq!(
            Servers::new("a:1", comma.clone()),
            Err(AddrError::Comma(comma))
        );
        assert!(matches!(refused("a:1,"), AddrError::NoPort(_)));
    }

    #[test]
    fn the_pair_id_stands_for_the_addresses_in_their_order() {
        let id = |text: &str| text.parse::<Servers>().expect("a list").pair_id();
        assert_eq!(id("a:1,b:1"), id("a:1, b:1"));
        assert_ne!(id("a:1,b:1"), id("b:1,a:1"));
        assert_ne!(id("a:1,b:1"), id("a:1,b:2"));
        assert_ne!(id("a:1,b:1"), id("a:1,b:1,c:1"));
    }
}
