//! The preface of a connection, before plain tarpc.
//!
//! | dialer | bytes | | server | bytes |
//! |---|---|---|---|---|
//! | magic `lockserv` | 8 | | magic `lockserv` | 8 |
//! | version | 2 | | version | 2 |
//! | purpose: 0 client, 1 peer | 1 | | verdict: 0 welcome, else a [`Rejection`] | 1 |
//! | a peer's place in the list of servers, from 0 | 1 | | of a welcome: its [`ClusterId`], 0 for none | 8 |
//! | a peer's [`PairId`] | 8 | | | |
//! | of a peer only: its [`RunId`] | 8 | | | |
//!
//! Numbers are big-endian. The first ten bytes of both sides are the same in every version, so any
//! two versions can name theirs. A foreign client is recognised by its first wrong byte, and gets a
//! line of plain text.
//!
//! There are no timeouts here; callers set them.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::service::PROTOCOL_VERSION;
use crate::transport::was_not_asked;
use crate::transport::{Addr, Network, PairId, Stream};
use crate::types::{ClusterId, ServerId};

const MAGIC: [u8; 8] = *b"lockserv";

/// The verdict on an accepted dialer.
const WELCOME: u8 = 0;

/// Stands for no cluster. No cluster's id is drawn as zero in practice.
const NO_CLUSTER: u64 = 0;

/// How long the server keeps a rejected connection, so that the dialer can read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// How much it reads from that connection meanwhile, in bytes.
const LINGER_BYTES: u64 = 64 * 1024;

/// Identifies one run of a server, so that a server that reaches itself notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId(pub u64);

impl RunId {
    /// Draws a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_u64_pair().0)
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// It carries [`LockService`](crate::service::LockService).
    Client,
    /// It carries the service between the engines of two servers.
    Peer {
        /// The server that dials.
        from: ServerId,
        /// The list that it was given.
        pair: PairId,
        /// The run of that server.
        run: RunId,
    },
}

/// Why a lock server rejected a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It speaks another version of the protocol.
    #[error(
        "it speaks version {theirs} of the protocol, this side speaks {PROTOCOL_VERSION}: upgrade the older one"
    )]
    Version {
        /// Its version.
        theirs: u16,
    },
    /// It has as many connections as it accepts.
    #[error("it is busy: it has as many connections as it accepts")]
    Busy,
    /// It belongs to another pair.
    #[error("it belongs to another pair: the two servers were not given the same list")]
    OtherServers,
    /// It was started as the same server as the one that dials.
    #[error(
        "both were started as the same server of the pair: one is `primary`, the other `backup`"
    )]
    SameServer,
    /// It is the process that dials.
    #[error("it is the very process that dials")]
    Itself,
}

impl Rejection {
    const fn code(self) -> u8 {
        match self {
            Self::Version { .. } => 1,
            Self::Busy => 2,
            Self::OtherServers => 3,
            Self::SameServer => 4,
            Self::Itself => 5,
        }
    }

    /// The rejection that a server of version `theirs` means by `code`, if it is known.
    const fn from_code(verdict: u8, theirs: u16) -> Option<Self> {
        match verdict {
            1 => Some(Self::Version { theirs }),
            2 => Some(Self::Busy),
            3 => Some(Self::OtherServers),
            4 => Some(Self::SameServer),
            5 => Some(Self::Itself),
            _ => None,
        }
    }
}

/// Why [`dial`] failed.
///
/// Two errors are equal if they are the same variant and, where they hold an I/O error, its kind
/// and its text are the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The connection was refused: nothing listens there.
    #[error("nobody listens there: {0}")]
    Refused(#[source] io::Error),
    /// No connection could be made in time: the host is silent, and a server may be listening.
    #[error("it cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// This side could not try: it knows no address, or lacks a descriptor or the like.
    #[error("it cannot be asked: {0}")]
    NotAsked(#[source] io::Error),
    /// The connection broke before the server had answered.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// The server rejected the connection.
    #[error(transparent)]
    Rejected(Rejection),
    /// Something else listens there.
    #[error("what listens there is no lock server")]
    NotALockServer,
}

impl PartialEq for DialError {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused(one), Self::Refused(other))
            | (Self::Unreachable(one), Self::Unreachable(other))
            | (Self::NotAsked(one), Self::NotAsked(other))
            | (Self::Broken(one), Self::Broken(other)) => {
                one.kind() == other.kind() && one.to_string() == other.to_string()
            }
            (Self::Rejected(one), Self::Rejected(other)) => one == other,
            (Self::NotALockServer, Self::NotALockServer) => true,
            _ => false,
        }
    }
}

impl Eq for DialError {}

/// Why [`greet`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GreetError {
    /// The dialer is neither a clerk nor a server. It has been sent a line of text.
    #[error("a stranger's bytes")]
    Stranger,
    /// The dialer speaks another version, and has been told so.
    #[error("it speaks version {theirs} of the protocol, this server speaks {PROTOCOL_VERSION}")]
    Version {
        /// The dialer's version.
        theirs: u16,
    },
    /// The dialer names the right version, and a purpose that does not exist in it.
    #[error("a malformed preface")]
    Malformed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// Connects to the lock server at `addr`.
///
/// # Errors
///
/// [`DialError`]; nothing has been asked of the server then.
///
/// # Cancel safety
///
/// Safe: the connection is closed.
pub async fn dial(
    network: &dyn Network,
    addr: &Addr,
    purpose: Purpose,
) -> Result<Stream, DialError> {
    let mut stream = connect(network, addr).await?;
    let _ = introduce(&mut stream, purpose).await?;
    Ok(stream)
}

/// Connects a client to the lock server at `addr`, and returns the cluster of that server, if it
/// has one already.
///
/// # Errors
///
/// [`DialError`]; nothing has been asked of the server then.
///
/// # Cancel safety
///
/// Safe: the connection is closed.
pub async fn dial_as_client(
    network: &dyn Network,
    addr: &Addr,
) -> Result<(Stream, Option<ClusterId>), DialError> {
    let mut stream = connect(network, addr).await?;
    let cluster = introduce(&mut stream, Purpose::Client).await?;
    Ok((stream, cluster))
}

async fn connect(network: &dyn Network, addr: &Addr) -> Result<Stream, DialError> {
    network.connect(addr).await.map_err(|error| {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound};
        match (error.kind(), addr) {
            (ConnectionRefused, _) | (NotFound, Addr::Unix(_)) => DialError::Refused(error),
            (ConnectionAborted | ConnectionReset, _) => DialError::Broken(error),
            _ if was_not_asked(&error) => DialError::NotAsked(error),
            _ => DialError::Unreachable(error),
        }
    })
}

async fn introduce(stream: &mut Stream, purpose: Purpose) -> Result<Option<ClusterId>, DialError> {
    send(stream, &opening(purpose))
        .await
        .map_err(DialError::Broken)?;
    let theirs = match read_version(stream).await {
        Ok(version) => version,
        Err(GreetError::Broken(error)) => return Err(DialError::Broken(error)),
        Err(_) => return Err(DialError::NotALockServer),
    };
    if theirs != PROTOCOL_VERSION {
        return Err(DialError::Rejected(Rejection::Version { theirs }));
    }
    match stream.read_u8().await.map_err(DialError::Broken)? {
        WELCOME => {
            let cluster = stream.read_u64().await.map_err(DialError::Broken)?;
            Ok((cluster != NO_CLUSTER).then_some(ClusterId(cluster)))
        }
        verdict => Err(Rejection::from_code(verdict, theirs)
            .map_or(DialError::NotALockServer, DialError::Rejected)),
    }
}

fn opening(purpose: Purpose) -> Vec<u8> {
    let mut bytes = magic_and_version();
    match purpose {
        Purpose::Client => bytes.extend([0; 10]),
        Purpose::Peer { from, pair, run } => {
            bytes.extend([1, from.into()]);
            bytes.extend(pair.0.to_be_bytes());
            bytes.extend(run.0.to_be_bytes());
        }
    }
    bytes
}

fn magic_and_version() -> Vec<u8> {
    [&MAGIC[..], &PROTOCOL_VERSION.to_be_bytes()].concat()
}

/// Reads the dialer's preface. Call [`accept`] or [`reject`] next.
///
/// # Errors
///
/// [`GreetError`]; the dialer has been answered if that is possible, and the stream must be closed.
///
/// # Cancel safety
///
/// Not safe: bytes that were read are lost, so the stream must be closed.
pub async fn greet(stream: &mut Stream) -> Result<Purpose, GreetError> {
    match read_version(stream).await {
        Ok(PROTOCOL_VERSION) => read_purpose(stream).await,
        Ok(theirs) => {
            let ours = PROTOCOL_VERSION;
            // The dialer may hang up as soon as it knows: that is not why it was rejected.
            let _ = reject(stream, Rejection::Version { theirs: ours }).await;
            Err(GreetError::Version { theirs })
        }
        Err(GreetError::Stranger) => {
            let _ = farewell(stream, sign().as_bytes()).await;
            Err(GreetError::Stranger)
        }
        Err(error) => Err(error),
    }
}

/// The line of text for a foreign client.
fn sign() -> String {
    format!(
        "This is a lock server (lockservice {}, protocol version {PROTOCOL_VERSION}). \
         It expects `lockc` or the lockservice library, not what you sent.\r\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Reads the ten bytes that are the same in every version, and stops at the first wrong one.
async fn read_version(stream: &mut Stream) -> Result<u16, GreetError> {
    let mut magic = [0; MAGIC.len()];
    let mut filled = 0;
    while filled < MAGIC.len() {
        match stream.read(&mut magic[filled..]).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => filled += more,
        }
        if magic[..filled] != MAGIC[..filled] {
            return Err(GreetError::Stranger);
        }
    }
    Ok(stream.read_u16().await?)
}

async fn read_purpose(stream: &mut Stream) -> Result<Purpose, GreetError> {
    let purpose = stream.read_u8().await?;
    let from = stream.read_u8().await?;
    let pair = PairId(stream.read_u64().await?);
    match (purpose, from) {
        (0, 0) => Ok(Purpose::Client),
        (1, from) => Ok(Purpose::Peer {
            from: from.try_into().map_err(|_| GreetError::Malformed)?,
            pair,
            run: RunId(stream.read_u64().await?),
        }),
        _ => Err(GreetError::Malformed),
    }
}

/// Accepts the dialer, as a server that is no member of a cluster yet: from here on the stream
/// carries tarpc.
///
/// # Errors
///
/// When the connection is broken.
///
/// # Cancel safety
///
/// Not safe: a part of the answer may have been sent.
pub async fn accept(stream: &mut Stream) -> io::Result<()> {
    welcome(stream, None).await
}

/// Accepts the dialer, as a member of `cluster`: from here on the stream carries tarpc.
///
/// # Errors
///
/// When the connection is broken.
///
/// # Cancel safety
///
/// Not safe: a part of the answer may have been sent.
pub async fn welcome(stream: &mut Stream, cluster: Option<ClusterId>) -> io::Result<()> {
    let mut bytes = verdict(WELCOME);
    let cluster = cluster.map_or(NO_CLUSTER, |cluster| cluster.0);
    bytes.extend(cluster.to_be_bytes());
    send(stream, &bytes).await
}

/// Rejects the dialer, and waits a moment for it to read why.
///
/// # Errors
///
/// When the connection is broken.
///
/// # Cancel safety
///
/// Safe: the dialer may see a broken connection instead of the reason.
pub async fn reject(stream: &mut Stream, why: Rejection) -> io::Result<()> {
    farewell(stream, &verdict(why.code())).await
}

fn verdict(verdict: u8) -> Vec<u8> {
    let mut bytes = magic_and_version();
    bytes.push(verdict);
    bytes
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Sends the last bytes on a stream, and waits until they can be read.
///
/// Closing a socket with unread bytes resets the connection, and bytes on their way are lost. So
/// this reads what the other side still sends, within bounds.
async fn farewell(stream: &mut Stream, words: &[u8]) -> io::Result<()> {
    let exchange = async {
        send(stream, words).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    match tokio::time::timeout(LINGER, exchange).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}
