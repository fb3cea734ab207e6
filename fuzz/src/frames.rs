//! The frames of both services, in both directions, as a connection reads them: cut anywhere.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures::{Stream as Messages, StreamExt as _};
use lockservice::config::{LONGEST_WAIT, MAX_FRAME_BYTES};
use lockservice::engine::pair::protocol::{ReplicationRequest, ReplicationResponse};
use lockservice::rpc::framing::Incoming;
use lockservice::rpc::{client_transport, server_transport};
use lockservice::service::{LockServiceRequest, LockServiceResponse};
use lockservice::transport::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::{ClientMessage, Response};
use tokio::io::{AsyncWriteExt as _, duplex};

/// The first byte says who reads, and in which pieces; the rest is what comes.
pub fn frames(data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    let piece = 1 + usize::from(how >> 2);
    super::block_on(async {
        match how % 4 {
            0 => requests::<LockServiceRequest, LockServiceResponse>(bytes, piece).await,
            1 => requests::<ReplicationRequest, ReplicationResponse>(bytes, piece).await,
            2 => responses::<LockServiceRequest, LockServiceResponse>(bytes, piece).await,
            _ => responses::<ReplicationRequest, ReplicationResponse>(bytes, piece).await,
        }
    });
}

async fn requests<Req, Resp>(bytes: &[u8], piece: usize)
where
    Req: Serialize + DeserializeOwned + Debug,
    Resp: Serialize,
    ClientMessage<Req>: Incoming,
{
    let read = |stream| server_transport::<Req, Resp>(stream, MAX_FRAME_BYTES);
    for message in read_all(bytes, piece, read).await {
        if let ClientMessage::Request(request) = message {
            assert!(request.context.deadline <= Instant::now() + LONGEST_WAIT);
            is_written_as_it_is_read(&request.message);
        }
    }
}

async fn responses<Req, Resp>(bytes: &[u8], piece: usize)
where
    Req: Serialize,
    Resp: Serialize + DeserializeOwned + Debug,
    Response<Resp>: Incoming,
{
    let read = |stream| client_transport::<Req, Resp>(stream, MAX_FRAME_BYTES);
    for response in read_all(bytes, piece, read).await {
        if let Ok(message) = response.message {
            is_written_as_it_is_read(&message);
        }
    }
}

/// Reads until the end or the first error.
async fn read_all<M, T>(bytes: &[u8], piece: usize, read: impl FnOnce(Stream) -> T) -> Vec<M>
where
    T: Messages<Item = std::io::Result<M>> + Unpin,
{
    let (mut far, near) = duplex(piece);
    let mut transport = read(Stream::new(near));
    let say = async {
        // The reader may have had enough.
        let _ = far.write_all(bytes).await;
        drop(far);
    };
    let hear = async {
        let mut messages = Vec::new();
        while let Some(Ok(message)) = transport.next().await {
            messages.push(message);
        }
        drop(transport);
        messages
    };
    let patience = Duration::from_secs(1);
    let heard = tokio::time::timeout(patience, async { tokio::join!(say, hear).1 });
    let messages = heard.await.expect("every byte was there to be read");
    assert!(messages.len() <= bytes.len() / 4, "a frame has a length");
    messages
}

fn is_written_as_it_is_read<T: Serialize + DeserializeOwned + Debug>(message: &T) {
    let bytes = postcard::to_stdvec(message).expect("it encodes");
    let again: T = postcard::from_bytes(&bytes).expect("what was written is read");
    let bytes_again = postcard::to_stdvec(&again).expect("it encodes");
    assert_eq!(bytes, bytes_again, "{message:?}");
}
