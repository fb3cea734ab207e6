//! What is known of sessions beside their numbers, and how long a lock may stay held without one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::try_from_strings;

/// The name of a session, for people: 1 to 256 bytes of UTF-8, any characters.
///
/// It identifies nothing: two sessions may have the same. Escape it where it is shown. Cloning is
/// cheap: the bytes are shared.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct SessionName(Arc<str>);

/// Why a text is no [`SessionName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SessionNameError {
    /// The name has no characters.
    #[error("the name of a session must not be empty")]
    Empty,
    /// The name is too long.
    #[error(
        "the name of a session has at most {} bytes, this one has {bytes}",
        SessionName::MAX_BYTES
    )]
    TooLong {
        /// The length of the refused name.
        bytes: usize,
    },
}

impl SessionName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks `name` and takes it over.
    ///
    /// # Errors
    ///
    /// [`SessionNameError`] when the name is empty or longer than [`Self::MAX_BYTES`].
    pub fn new(name: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, SessionNameError> {
        match name.as_ref().len() {
            0 => Err(SessionNameError::Empty),
            bytes if bytes > Self::MAX_BYTES => Err(SessionNameError::TooLong { bytes }),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionName {
    type Err = SessionNameError;

    fn from_str(name: &str) -> Result<Self, SessionNameError> {
        Self::new(name)
    }
}

try_from_strings!(SessionName, SessionNameError);

impl From<SessionName> for Arc<str> {
    fn from(name: SessionName) -> Self {
        name.0
    }
}

impl AsRef<str> for SessionName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Where a client connects from, as its server sees it: an address and port, or what stands for
/// them on another transport. Cut off after 128 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Arc<str>", into = "Arc<str>")]
pub struct ClientAddress(Arc<str>);

impl ClientAddress {
    /// The longest address, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Takes over `address`, as much of it as fits.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let end = address.floor_char_boundary(Self::MAX_BYTES);
        Self(address[..end].into())
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Arc<str>> for ClientAddress {
    fn from(address: Arc<str>) -> Self {
        if address.len() > Self::MAX_BYTES {
            return Self::new(&address);
        }
        Self(address)
    }
}

impl From<ClientAddress> for Arc<str> {
    fn from(address: ClientAddress) -> Self {
        address.0
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// How long a lock stays held whatever becomes of the session that holds it: at most a day, in
/// whole milliseconds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Retention(u32);

/// A span of time is too long for a [`Retention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("a lock stays held without its session for at most a day")]
pub struct RetentionError;

impl Retention {
    /// No time at all: the lock is released with its session.
    pub const ZERO: Self = Self(0);
    /// The longest. Only breaking the lock releases it before.
    pub const MAX: Duration = Duration::from_hours(24);

    /// Rounds `retention` up to milliseconds.
    ///
    /// # Errors
    ///
    /// [`RetentionError`] when it is longer than [`Self::MAX`].
    pub fn new(retention: Duration) -> Result<Self, RetentionError> {
        if retention > Self::MAX {
            return Err(RetentionError);
        }
        let millis = retention.as_nanos().div_ceil(1_000_000);
        u32::try_from(millis).map(Self).map_err(|_| RetentionError)
    }

    /// The retention as a span of time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }

    /// The retention in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// Whether it is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<Duration> for Retention {
    type Error = RetentionError;

    fn try_from(retention: Duration) -> Result<Self, RetentionError> {
        Self::new(retention)
    }
}

impl TryFrom<u32> for Retention {
    type Error = RetentionError;

    fn try_from(millis: u32) -> Result<Self, RetentionError> {
        Self::new(Duration::from_millis(millis.into()))
    }
}

impl From<Retention> for u32 {
    fn from(retention: Retention) -> Self {
        retention.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_name_has_1_to_256_bytes_also_when_it_is_decoded() {
        assert_eq!(SessionName::new(""), Err(SessionNameError::Empty));
        assert!(SessionName::new("ä".repeat(128)).is_ok());
        let long = "x".repeat(257);
        let refused = SessionName::new(long.as_str());
        assert_eq!(refused, Err(SessionNameError::TooLong { bytes: 257 }));
        let bytes = postcard::to_stdvec(&long).expect("a string encodes");
        assert!(postcard::from_bytes::<SessionName>(&bytes).is_err());
    }

    #[test]
    fn an_address_is_cut_off_between_characters_also_when_it_is_decoded() {
        let long = format!("{}ä", "x".repeat(127));
        assert_eq!(ClientAddress::new(&long).as_str(), "x".repeat(127));
        let bytes = postcard::to_stdvec(&long).expect("a string encodes");
        let decoded = postcard::from_bytes::<ClientAddress>(&bytes);
        assert_eq!(decoded, Ok(ClientAddress::new(&long)));
    }

    #[test]
    fn a_retention_is_rounded_up_and_lasts_a_day_at_most() {
        let retention = Retention::new(Duration::from_micros(1_001));
        assert_eq!(retention.map(Retention::millis), Ok(2));
        assert!(Retention::new(Retention::MAX).is_ok());
        let longer = Retention::MAX + Duration::from_nanos(1);
        assert_eq!(Retention::new(longer), Err(RetentionError));
        let bytes = postcard::to_stdvec(&86_400_001_u32).expect("a number encodes");
        assert!(postcard::from_bytes::<Retention>(&bytes).is_err());
    }
}
