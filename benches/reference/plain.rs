//! tarpc as its README has it.

use futures::StreamExt as _;
use lockservice::transport::Stream;
use tarpc::client::Config;
use tarpc::serde_transport;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{Reference as _, ReferenceClient, Yes};

pub(super) async fn answer(stream: Stream) {
    let transport = serde_transport::new(frames(stream), Bincode::default());
    let responses = BaseChannel::with_defaults(transport).execute(Yes.serve());
    let spawned = responses.for_each(|response| async {
        tokio::spawn(response);
    });
    spawned.await;
}

pub(super) fn client(stream: Stream) -> ReferenceClient {
    let transport = serde_transport::new(frames(stream), Bincode::default());
    ReferenceClient::new(Config::default(), transport).spawn()
}

fn frames(stream: Stream) -> Framed<Stream, LengthDelimitedCodec> {
    Framed::new(stream, LengthDelimitedCodec::new())
}
