//! tarpc with this crate's transport, and handlers polled in place by the task of their connection.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lockservice::config::MAX_FRAME_BYTES;
use lockservice::rpc::{client_transport, server_transport};
use lockservice::transport::Stream;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::{client, server};

use super::{Reference as _, ReferenceClient, ReferenceRequest, ReferenceResponse, Yes};

/// As many calls in flight as the servers of the pair take on one connection.
const ROOM: usize = 1_024;

pub(super) async fn answer(stream: Stream) {
    let transport =
        server_transport::<ReferenceRequest, ReferenceResponse>(stream, MAX_FRAME_BYTES);
    let config = server::Config {
        pending_response_buffer: ROOM,
    };
    let mut requests = Box::pin(BaseChannel::new(config, transport).requests());
    let mut handlers = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = handlers.next() => {}
            request = requests.next() => match request {
                Some(Ok(request)) => handlers.push(request.execute(Yes.serve())),
                _ => return,
            },
        }
    }
}

pub(super) fn client(stream: Stream) -> ReferenceClient {
    let transport = client_transport(stream, MAX_FRAME_BYTES);
    let mut config = client::Config::default();
    config.max_in_flight_requests = ROOM;
    config.pending_request_buffer = ROOM;
    ReferenceClient::new(config, transport).spawn()
}
