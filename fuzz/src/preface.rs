//! What a connection opens with, read by a server and by a dialer.

use std::io;
use std::sync::Mutex;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use lockservice::rpc::{DialError, GreetError, Purpose, dial, greet};
use lockservice::service::PROTOCOL_VERSION;
use lockservice::transport::{Addr, Listener, Network, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

const MAGIC: &[u8] = b"lockserv";

/// How much of the input the other side gets to read at a time.
const PIECE: usize = 5;

/// A good preface is understood, a bad one is answered as documented, and nothing else happens.
pub fn preface(data: &[u8]) {
    super::block_on(async {
        as_server(data).await;
        as_dialer(data).await;
    });
}

async fn as_server(data: &[u8]) {
    let (far, near) = duplex(PIECE);
    let mut stream = Stream::new(near);
    let (greeted, told) = tokio::join!(
        async {
            let greeted = greet(&mut stream).await;
            drop(stream);
            greeted
        },
        talk(far, data)
    );
    let is_client = data.len() >= 20 && data[10] == 0 && data[11] == 0;
    let is_peer = data.len() >= 28 && data[10] == 1 && data[11] <= 1;
    let version = version_of(data);
    match greeted {
        Ok(Purpose::Client) => assert!(version == Some(PROTOCOL_VERSION) && is_client),
        Ok(Purpose::Peer { pair, run, .. }) => {
            assert!(version == Some(PROTOCOL_VERSION) && is_peer);
            assert_eq!(pair.0.to_be_bytes(), data[12..20]);
            assert_eq!(run.0.to_be_bytes(), data[20..28]);
        }
        Err(GreetError::Stranger) => {
            assert!(!MAGIC.starts_with(&data[..data.len().min(MAGIC.len())]));
            assert!(told.starts_with(b"This is a lock server"));
        }
        Err(GreetError::Version { theirs }) => {
            assert!(version == Some(theirs) && theirs != PROTOCOL_VERSION);
            assert!(told.starts_with(MAGIC) && told.last() == Some(&1));
        }
        Err(GreetError::Malformed) => {
            assert!(version == Some(PROTOCOL_VERSION) && !is_client && !is_peer);
        }
        Err(_) => assert!(data.len() < 28, "only a short preface can break off"),
    }
}

/// The version that the input names, if it begins well.
fn version_of(data: &[u8]) -> Option<u16> {
    let rest = data.strip_prefix(MAGIC)?;
    Some(u16::from_be_bytes(*rest.first_chunk()?))
}

/// Says `data`, and gives what is said in return.
async fn talk(stream: DuplexStream, data: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut told = Vec::new();
    let say = async {
        // The other side may have heard enough.
        let _ = to.write_all(data).await;
        let _ = to.shutdown().await;
    };
    let hear = async { drop(from.read_to_end(&mut told).await) };
    tokio::join!(say, hear);
    told
}

async fn as_dialer(data: &[u8]) {
    let (far, near) = duplex(PIECE);
    let network = OneServer(Mutex::new(Some(near)));
    let anywhere = Addr::Memory("it".to_owned());
    let dialled = dial(&network, &anywhere, Purpose::Client);
    let dialled = dialled.map(|dialled| dialled.map(drop));
    let (dialled, asked) = tokio::join!(dialled, talk(far, data));
    assert!(asked.is_empty() || MAGIC.starts_with(&asked[..asked.len().min(MAGIC.len())]));
    match dialled {
        Ok(()) => assert!(version_of(data) == Some(PROTOCOL_VERSION) && data[10] == 0),
        Err(DialError::Rejected(_)) => assert!(version_of(data).is_some()),
        Err(DialError::Refused(_) | DialError::Unreachable(_) | DialError::NotAsked(_)) => {
            panic!("it was reached")
        }
        Err(_) => {}
    }
}

/// A network on which somebody listens who says what the input says.
#[derive(Debug)]
struct OneServer(Mutex<Option<DuplexStream>>);

impl Network for OneServer {
    fn connect<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        let stream = self.0.lock().expect("no panic").take().map(Stream::new);
        std::future::ready(stream.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())).boxed()
    }

    fn listen<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        std::future::ready(Err(io::ErrorKind::Unsupported.into())).boxed()
    }
}
