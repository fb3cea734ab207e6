//! Which server is meant: its place in the list that names the servers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A server, by its place in the list that names the servers: [`Servers`].
///
/// Shown as a letter: `A` is listed first.
///
/// [`Servers`]: crate::transport::Servers
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ServerId(u8);

impl ServerId {
    /// The server that is listed first: the primary of a pair when both servers start empty.
    pub const A: Self = Self(0);
    /// The server that is listed second.
    pub const B: Self = Self(1);
    /// The two servers of a pair, in their order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// How many servers can be told apart: one for each letter.
    pub(crate) const COUNT: u8 = 26;

    /// The server at a place in the list, counted from 0.
    ///
    /// # Errors
    ///
    /// [`ServerIdError`] from place 26 on.
    pub fn at(place: usize) -> Result<Self, ServerIdError> {
        u8::try_from(place).map_or(Err(ServerIdError), Self::try_from)
    }

    /// The servers of a list of `count`, in their order.
    pub(crate) fn first(
        count: usize,
    ) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        let count = u8::try_from(count).unwrap_or(Self::COUNT);
        (0..count.min(Self::COUNT)).map(Self)
    }

    /// The server's place in the list, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The other server of a pair.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            _ => Self::A,
        }
    }
}

impl TryFrom<u8> for ServerId {
    type Error = ServerIdError;

    fn try_from(place: u8) -> Result<Self, ServerIdError> {
        match place {
            0..Self::COUNT => Ok(Self(place)),
            _ => Err(ServerIdError),
        }
    }
}

impl From<ServerId> for u8 {
    fn from(server: ServerId) -> Self {
        server.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        char::from(b'A' + self.0).fmt(f)
    }
}

/// A number is no [`ServerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("no list of servers is that long")]
pub struct ServerIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_as_a_letter_also_when_its_number_comes_from_elsewhere() {
        let shown = |place: usize| ServerId::at(place).map(|server| server.to_string());
        assert_eq!(shown(0).as_deref(), Ok("A"));
        assert_eq!(shown(25).as_deref(), Ok("Z"));
        assert_eq!(shown(26), Err(ServerIdError));
        assert_eq!(shown(256), Err(ServerIdError));
        let decode = |place: u8| postcard::from_bytes::<ServerId>(&[place]);
        assert_eq!(decode(25), ServerId::at(25).map_err(|_| unreachable!()));
        assert!(decode(26).is_err());
    }

    #[test]
    fn a_server_of_a_pair_is_one_byte_and_has_one_peer() {
        for (place, server) in ServerId::BOTH.into_iter().enumerate() {
            assert_eq!(server.index(), place);
            assert_eq!(postcard::to_stdvec(&server), Ok(vec![u8::from(server)]));
            assert_ne!(server.peer(), server);
            assert_eq!(server.peer().peer(), server);
        }
    }
}
