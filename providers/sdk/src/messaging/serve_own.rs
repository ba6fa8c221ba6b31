//! The generated bindings of `lattice:messaging@0.1.0` in front of the brokers.

use bytes::Bytes;
use lattice_rpc::{Context, IncomingCall};

use super::bindings::exports::lattice::messaging::producer::{self, Handler as _};
use super::serve::Linked;
use super::wire::OFFERED;
use super::{Broker, Error, Message, MessagingError};
use crate::error::ServeError;
use crate::serving::Server;
use crate::session::Session;
use crate::wire::answered;

const PRODUCER: &str = "lattice:messaging/producer@0.1.0";

pub(super) fn without_bindings<B: Broker>(server: Server, linked: &Linked<B>) -> Server {
    answered! { server, linked;
        PRODUCER "publish" publish(message: Message);
        PRODUCER "request" request(message: Message, timeout_ms: u32, expected_replies: u32);
    }
}

/// Says to whoever asks that the interface is served. No broker is asked, so that one that is slow does
/// not keep the answer back.
pub(super) async fn offer(session: &Session) -> Result<(), ServeError> {
    let handler = |call: IncomingCall| async move {
        if let Err(error) = call.responder.reply(Bytes::new()).await {
            tracing::debug!(%error, "could not say what is served");
        }
    };
    session.serve(PRODUCER, OFFERED, handler).await
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, Error>>;

impl From<MessagingError> for Error {
    fn from(error: MessagingError) -> Self {
        match &error {
            MessagingError::Timeout { .. } => Self::Timeout,
            MessagingError::NoLink(_) | MessagingError::Disconnected(_) => {
                Self::Connection(error.to_string())
            }
            MessagingError::Reserved { .. } => Self::PermissionDenied(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl<B: Broker> Linked<B> {
    fn answer_own<T>(
        &self,
        function: &str,
        cx: &Context,
        done: Result<T, MessagingError>,
    ) -> Answer<T> {
        Ok(done.map_err(|error| self.told((PRODUCER, function), cx, error).into()))
    }
}

impl<B: Broker> producer::Handler<Context> for Linked<B> {
    async fn publish(&self, cx: Context, message: Message) -> Answer<()> {
        let sent = self.send(&cx, message).await;
        self.answer_own("publish", &cx, sent)
    }

    async fn request(
        &self,
        cx: Context,
        message: Message,
        timeout_ms: u32,
        expected_replies: u32,
    ) -> Answer<Vec<Message>> {
        let message = Message {
            // The answers come here.
            reply_to: None,
            ..message
        };
        let asked = self.ask(&cx, message, timeout_ms, expected_replies).await;
        self.answer_own("request", &cx, asked)
    }
}
