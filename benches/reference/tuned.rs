//! tarpc with this crate's transport, and handlers polled in place by the task of their connection.

use std::io;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lockservice::config::MAX_FRAME_BYTES;
use lockservice::net::{
    Addr, Network as _, Stream, SystemNetwork, client_transport, server_transport,
};
use tarpc::client::Config;
use tarpc::server::{BaseChannel, Channel as _};

use super::{Reference as _, ReferenceClient, ReferenceRequest, ReferenceResponse, Yes};

pub(crate) async fn serve(addr: &Addr) -> io::Result<()> {
    let mut listener = SystemNetwork.listen(addr).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream));
    }
}

async fn answer(stream: Stream) {
    let transport =
        server_transport::<ReferenceRequest, ReferenceResponse>(stream, MAX_FRAME_BYTES);
    let mut requests = Box::pin(BaseChannel::with_defaults(transport).requests());
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

pub(crate) async fn connect(addr: &Addr) -> io::Result<ReferenceClient> {
    let stream = SystemNetwork.connect(addr).await?;
    let transport = client_transport(stream, MAX_FRAME_BYTES);
    let mut config = Config::default();
    config.max_in_flight_requests = 1_024;
    config.pending_request_buffer = 1_024;
    Ok(ReferenceClient::new(config, transport).spawn())
}
