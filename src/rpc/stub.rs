//! A client's stub that treats an answer of the wrong kind as an error.
//!
//! The clients that tarpc generates panic if the response is that of another method. A faulty or
//! hostile server must not cause that: here it only breaks the connection.

use std::io;
use std::sync::Arc;

use tarpc::client::stub::Stub;
use tarpc::client::{Channel, RpcError};
use tarpc::context::Context;
use tarpc::{ChannelError, RequestName};

use crate::service::Kind;

/// A stub for tarpc's clients that compares the methods of requests and responses.
#[derive(Debug)]
pub struct Checked<Req, Resp>(Channel<Req, Resp>);

impl<Req, Resp> Checked<Req, Resp> {
    /// Takes over `channel`.
    #[must_use]
    pub const fn new(channel: Channel<Req, Resp>) -> Self {
        Self(channel)
    }
}

impl<Req, Resp> Clone for Checked<Req, Resp> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Req: RequestName + Kind, Resp: Kind> Stub for Checked<Req, Resp> {
    type Req = Req;
    type Resp = Resp;

    async fn call(&self, context: Context, request: Req) -> Result<Resp, RpcError> {
        let kind = request.kind();
        let answer = self.0.call(context, request).await?;
        if answer.kind() == kind {
            Ok(answer)
        } else {
            Err(RpcError::Channel(ChannelError::Read(Arc::new(
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{kind} was answered with {}", answer.kind()),
                ),
            ))))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt as _, StreamExt as _};
    use tarpc::client::NewClient;
    use tarpc::{ClientMessage, Response, context};
    use tokio::io::duplex;

    use super::*;
    use crate::config::MAX_FRAME_BYTES;
    use crate::rpc::{client_transport, server_transport};
    use crate::service::{LockServiceClient, LockServiceRequest, LockServiceResponse, Refusal};
    use crate::transport::Stream;

    /// Answers one request with `answer`.
    async fn lie(stream: Stream, answer: LockServiceResponse) {
        let mut transport =
            server_transport::<LockServiceRequest, LockServiceResponse>(stream, MAX_FRAME_BYTES);
        let Some(Ok(ClientMessage::Request(request))) = transport.next().await else {
            panic!("not a question");
        };
        let response = Response {
            request_id: request.id,
            message: Ok(answer),
        };
        transport.send(response).await.expect("it is taken");
    }

    #[tokio::test]
    async fn an_answer_to_another_question_is_an_error_of_the_connection() {
        let (near, far) = duplex(MAX_FRAME_BYTES);
        let transport = client_transport(Stream::new(near), MAX_FRAME_BYTES);
        let NewClient { client, dispatch } =
            tarpc::client::new(tarpc::client::Config::default(), transport);
        tokio::spawn(dispatch);
        let client = LockServiceClient::from(Checked::new(client));
        let answer = LockServiceResponse::CloseSession(Err(Refusal::NotReady));
        let (status, ()) = tokio::join!(
            client.status(context::current()),
            lie(Stream::new(far), answer)
        );
        assert!(matches!(status, Err(RpcError::Channel(_))), "{status:?}");
    }

    #[test]
    fn a_question_and_its_answer_are_of_one_kind() {
        let client = crate::types::ClientId::from_u128(1);
        let record = crate::types::SessionId(1);
        let open = LockServiceRequest::OpenSession {
            client,
            session: None,
        };
        let goodbye = LockServiceRequest::CloseSession {
            client,
            session: record,
        };
        assert_eq!(
            open.kind(),
            LockServiceResponse::OpenSession(Err(Refusal::NotReady)).kind()
        );
        assert_eq!(
            goodbye.kind(),
            LockServiceResponse::CloseSession(Ok(())).kind()
        );
        assert_ne!(open.kind(), goodbye.kind());
    }
}
