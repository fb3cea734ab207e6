//! tarpc as its README has it.

use std::io;

use futures::StreamExt as _;
use lockservice::net::Addr;
use tarpc::client::Config;
use tarpc::serde_transport;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Reference as _, ReferenceClient, Yes};

pub(crate) async fn serve(addr: &Addr) -> io::Result<()> {
    match addr {
        Addr::Tcp(host_port) => {
            let listener = TcpListener::bind(host_port).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(answer(stream));
            }
        }
        Addr::Unix(path) => {
            let listener = UnixListener::bind(path)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(answer(stream));
            }
        }
        other => unreachable!("no reference listens on {other}"),
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Send + 'static) {
    let transport = serde_transport::new(frames(stream), Bincode::default());
    let server = BaseChannel::with_defaults(transport);
    let responses = server.execute(Yes.serve());
    responses
        .for_each(|response| async {
            tokio::spawn(response);
        })
        .await;
}

pub(crate) async fn connect(addr: &Addr) -> io::Result<ReferenceClient> {
    match addr {
        Addr::Tcp(host_port) => {
            let stream = TcpStream::connect(host_port).await?;
            stream.set_nodelay(true)?;
            Ok(client(stream))
        }
        Addr::Unix(path) => Ok(client(UnixStream::connect(path).await?)),
        other => unreachable!("no reference listens on {other}"),
    }
}

fn client(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> ReferenceClient {
    let transport = serde_transport::new(frames(stream), Bincode::default());
    ReferenceClient::new(Config::default(), transport).spawn()
}

fn frames<S: AsyncRead + AsyncWrite>(stream: S) -> Framed<S, LengthDelimitedCodec> {
    Framed::new(stream, LengthDelimitedCodec::new())
}
