//! The words of this crate as types: every identifier and number that crosses a module or a wire.
//!
//! Each is a newtype, so that an op number cannot be taken for a sequence number. A [`LockName`] is
//! checked once, where it enters; from there on every holder may rely on its bounds.

mod server;
mod session;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::num::{NonZeroU32, ParseIntError};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::server::{ServerId, ServerIdError};
pub use self::session::{ClientAddress, Retention, RetentionError, SessionName, SessionNameError};

/// The name of a lock: 1 to 1,024 bytes of UTF-8, any characters.
///
/// Cloning is cheap: the bytes are shared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct LockName(Arc<str>);

impl LockName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Checks `name` and takes it over.
    ///
    /// # Errors
    ///
    /// [`NameError`] when the name is empty or longer than [`Self::MAX_BYTES`].
    pub fn new(name: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, NameError> {
        match name.as_ref().len() {
            0 => Err(NameError::Empty),
            bytes if bytes > Self::MAX_BYTES => Err(NameError::TooLong { bytes }),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LockName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// Converts a checked text from each type of string, as `new` does.
macro_rules! try_from_strings {
    ($name:ident, $error:ident) => {
        try_from_strings!($name, $error: &str, String, Box<str>, Arc<str>, Cow<'_, str>);

        impl TryFrom<&String> for $name {
            type Error = $error;

            fn try_from(text: &String) -> Result<Self, $error> {
                Self::new(text.as_str())
            }
        }
    };
    ($name:ident, $error:ident: $($string:ty),*) => {
        $(
            impl TryFrom<$string> for $name {
                type Error = $error;

                fn try_from(text: $string) -> Result<Self, $error> {
                    Self::new(text)
                }
            }
        )*
    };
}

use try_from_strings;

try_from_strings!(LockName, NameError);

impl From<&Self> for LockName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl From<LockName> for Arc<str> {
    fn from(name: LockName) -> Self {
        name.0
    }
}

impl AsRef<str> for LockName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no [`LockName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    #[error("a lock name must not be empty")]
    Empty,
    /// The name is too long.
    #[error(
        "a lock name has at most {} bytes, this one has {bytes}",
        LockName::MAX_BYTES
    )]
    TooLong {
        /// The length of the refused name.
        bytes: usize,
    },
}

impl From<Infallible> for NameError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Who a clerk is: a v4 UUID that it draws for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(Uuid);

impl ClientId {
    /// Draws a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Makes an id of a given value, for tests that need the same one twice.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }

    /// The id as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which process a server runs in: drawn when it is first asked for, so that no two hosts have the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId(Uuid);

impl ProcessId {
    /// The id of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        static ID: LazyLock<ProcessId> = LazyLock::new(|| ProcessId(Uuid::new_v4()));
        *ID
    }

    /// Makes an id of a given value, for tests.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }
}

/// Which cluster a server is a member of: made when a pair forms, kept through failovers and joins,
/// and new when a new pair forms because both servers were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u64);

impl ClusterId {
    /// The id of the cluster that a server forms at op number `base`. `seed` is the server's own.
    #[must_use]
    pub fn formed_at(base: OpNumber, seed: u64) -> Self {
        Self(xxh3_64_with_seed(&base.0.to_le_bytes(), seed))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The highest number that is accepted from elsewhere: counting on from it never overflows.
const HIGHEST: u64 = u64::MAX / 2;

/// Decodes a number that can be counted on from.
fn countable<'de, D: Deserializer<'de>>(decoder: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(decoder)?;
    if number > HIGHEST {
        return Err(D::Error::custom("a number too high to count on from"));
    }
    Ok(number)
}

/// Defines a newtype over `u64` that is ordered, displayed as its number, and sent as a varint.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident $(, $decoded:meta)?) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name($(#[$decoded])? pub u64);

        impl $name {
            /// The number that follows.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(number: &str) -> Result<Self, ParseIntError> {
                number.parse().map(Self)
            }
        }
    };
}

number! {
    /// A position in the one total order of commands ("op number" in Viewstamped Replication).
    OpNumber, serde(deserialize_with = "countable")
}
number! {
    /// Identifies a session: the op number of the command that opened it. Never used twice.
    SessionId
}
number! {
    /// The number of a call within its session. Counts up from 0.
    #[doc(hidden)]
    Seq
}

number! {
    /// A fencing token: the number of a grant. It rises strictly with every grant of a lock, across
    /// failovers and also when both servers were lost (as long as no server's clock was set back
    /// meanwhile: a new pair begins at the time of day), so that a resource can refuse a holder
    /// whose time is over ("sequencer" in Chubby, Burrows 2006). [`fencing`](crate::fencing) tells
    /// how.
    ///
    /// No two grants have the same token, also when the two servers are cut off from each other and
    /// both grant: the primary that grants is part of the number, as its remainder when divided by
    /// the number of servers. Once such a cut has healed, grants have tokens above those of both.
    Token, serde(deserialize_with = "countable")
}

impl Token {
    /// Makes a token of a number: one that another process sent, or that was stored.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The token as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A moment by the wall clock of a server, in whole seconds since 1970. It is for people to read:
/// nothing is decided by it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The end of the year 9999: what comes after it is not told apart.
    const LAST: u64 = 253_402_300_799;

    /// The same for this machine.
    #[must_use]
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.min(Self::LAST))
    }
}

impl From<SystemTime> for UnixTime {
    /// Rounds down; a clock that stands before 1970 is taken to stand there.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs())
    }
}

/// How long a session lives without being heard of: 100 milliseconds to an hour, in whole
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Lease(NonZeroU32);

impl Lease {
    /// The shortest: a renewal takes two messages between servers and some that wait before it.
    pub const MIN: Duration = Duration::from_millis(100);
    /// The longest: how long the locks of a crashed client may stay held.
    pub const MAX: Duration = Duration::from_hours(1);

    /// Rounds `lease` down to milliseconds.
    ///
    /// # Errors
    ///
    /// [`LeaseError`] when it is shorter than [`Self::MIN`] or longer than [`Self::MAX`].
    pub fn new(lease: Duration) -> Result<Self, LeaseError> {
        if !(Self::MIN..=Self::MAX).contains(&lease) {
            return Err(LeaseError);
        }
        let millis = u32::try_from(lease.as_millis())
            .ok()
            .and_then(NonZeroU32::new);
        millis.map(Self).ok_or(LeaseError)
    }

    /// The lease as a span of time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0.get() as u64)
    }

    /// The lease in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<Duration> for Lease {
    type Error = LeaseError;

    fn try_from(lease: Duration) -> Result<Self, LeaseError> {
        Self::new(lease)
    }
}

impl TryFrom<u32> for Lease {
    type Error = LeaseError;

    fn try_from(millis: u32) -> Result<Self, LeaseError> {
        Self::new(Duration::from_millis(millis.into()))
    }
}

impl From<Lease> for u32 {
    fn from(lease: Lease) -> Self {
        lease.millis()
    }
}

/// A span of time is no [`Lease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("a lease lasts 100 milliseconds to an hour")]
pub struct LeaseError;

/// A numbered configuration of the pair, as in Viewstamped Replication (Liskov and Cowling, 2012).
///
/// Views are ordered by number, then by server: two servers can make a view of the same number, but
/// never the same view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct View {
    /// Counts the changes of configuration.
    #[serde(deserialize_with = "countable")]
    pub number: u64,
    /// The server that made the view, and is its primary.
    pub primary: ServerId,
}

impl View {
    /// The view that `primary` makes after this one.
    #[must_use]
    pub const fn next(self, primary: ServerId) -> Self {
        Self {
            number: self.number + 1,
            primary,
        }
    }

    /// The first view, made by `primary`.
    #[must_use]
    pub const fn first(primary: ServerId) -> Self {
        Self { number: 1, primary }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.primary)
    }
}

/// A fingerprint of a machine's whole state: equal states have equal digests, on every server and
/// in every version of this protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u64);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_1024_bytes() {
        assert_eq!(LockName::new(""), Err(NameError::Empty));
        LockName::new("ä").expect("accepted");
        LockName::new("x".repeat(1024)).expect("accepted");
        assert_eq!(
            LockName::new("x".repeat(1025)),
            Err(NameError::TooLong { bytes: 1025 })
        );
    }

    #[test]
    fn a_name_is_made_of_any_string_and_of_a_name_without_a_copy() {
        fn name(of: impl TryInto<LockName, Error: Into<NameError>>) -> Result<LockName, NameError> {
            of.try_into().map_err(Into::into)
        }
        let x = LockName::new("x").expect("a name");
        let text = "x".to_owned();
        for made in [
            name("x"),
            name(&text),
            name(text.clone()),
            name(text.clone().into_boxed_str()),
            name(Arc::<str>::from("x")),
            name(Cow::Borrowed("x")),
            name(&x),
        ] {
            assert_eq!(made.as_ref(), Ok(&x));
        }
        assert_eq!(name(String::new()), Err(NameError::Empty));
        let bytes = x.as_str().as_ptr();
        assert_eq!(name(&x).expect("a name").as_str().as_ptr(), bytes);
        assert_eq!(name(x).expect("a name").as_str().as_ptr(), bytes);
    }

    #[test]
    fn a_name_is_checked_when_it_is_decoded() {
        let long = postcard::to_stdvec(&"x".repeat(1025)).expect("a string encodes");
        postcard::from_bytes::<LockName>(&long).expect_err("refused");
    }

    #[test]
    fn a_number_that_leaves_no_room_to_count_on_is_refused_when_it_is_decoded() {
        let decode = |number: u64| {
            let bytes = postcard::to_stdvec(&(number, ServerId::A)).expect("it encodes");
            let view = postcard::from_bytes::<View>(&bytes);
            let op = postcard::take_from_bytes::<OpNumber>(&bytes);
            (view.is_ok(), op.is_ok())
        };
        assert_eq!(decode(HIGHEST), (true, true));
        assert_eq!(decode(HIGHEST + 1), (false, false));
        assert_eq!(decode(u64::MAX), (false, false));
    }

    #[test]
    fn a_token_is_read_back_from_its_text() {
        let token = Token::new(1_795_577_617_491_901);
        assert_eq!(token.to_string().parse(), Ok(token));
        "-1".parse::<Token>().expect_err("refused");
    }

    #[test]
    fn a_token_is_a_number_for_what_stores_numbers() {
        let token = Token::new(1_795_577_617_491_901);
        assert_eq!(u64::from(token), 1_795_577_617_491_901);
        assert_eq!(Token::new(u64::from(token)), token);
    }

    #[test]
    fn views_are_ordered_by_number_then_by_server() {
        let first = View::first(ServerId::B);
        assert!(first > View::first(ServerId::A));
        assert!(first.next(ServerId::A) > first);
    }
}
