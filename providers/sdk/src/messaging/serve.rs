//! The generated bindings of `wasmcloud:messaging@0.2.0` in front of the brokers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_rpc::Context;
use tokio::time::Instant;

use super::bindings;
use super::bindings::exports::wasmcloud::messaging::consumer::{self, Handler as _};
use super::replies::Replies;
use super::serve_own;
use super::{Broker, BrokerMessage, Message, MessagingError};
use crate::backends::Backends;
use crate::complaint;
use crate::error::ServeError;
use crate::serving::Server;
use crate::session::Session;
use crate::wire::answered;

const CONSUMER: &str = "wasmcloud:messaging/consumer@0.2.0";

/// What an answer needs on its way back: a caller whose deadline passes gets no words.
const WAY_BACK: Duration = Duration::from_millis(100);

/// How long a request may take whose caller tells no deadline, as those of the 1.9 lattice: what it says
/// itself is what bounds it.
const UNTOLD: Duration = Duration::from_secs(600);

/// Serves `wasmcloud:messaging/consumer@0.2.0` and `lattice:messaging/producer@0.1.0` until the
/// provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Broker>(
    session: &Session,
    backends: Arc<Backends<B>>,
) -> Result<(), ServeError> {
    serve_own::offer(session).await?;
    let linked = Linked {
        backends,
        session: session.clone(),
    };
    let server = serve_own::without_bindings(without_bindings(session.server(), &linked), &linked);
    let functions = bindings::serve(&server, linked)
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    server.drive(functions).await
}

fn without_bindings<B: Broker>(server: Server, linked: &Linked<B>) -> Server {
    let server = server.untold(CONSUMER, "request", UNTOLD);
    answered! { server, linked;
        CONSUMER "publish" publish(message: BrokerMessage);
        CONSUMER "request" request(subject: String, body: Bytes, timeout_ms: u32);
    }
}

/// Answers each call with the broker that its link names.
pub(super) struct Linked<B> {
    backends: Arc<Backends<B>>,
    session: Session,
}

impl<B> Clone for Linked<B> {
    fn clone(&self) -> Self {
        Self {
            backends: Arc::clone(&self.backends),
            session: self.session.clone(),
        }
    }
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, String>>;

/// How long the work of a call may take, so that its caller still hears of the end.
fn time_left(cx: &Context) -> Duration {
    let left = cx.deadline.saturating_duration_since(Instant::now());
    left.saturating_sub(WAY_BACK.min(left / 10))
}

impl<B: Broker> Linked<B> {
    /// Tells the log of a call that failed, and the lattice of one that its caller has no leave for.
    pub(super) fn told(
        &self,
        (instance, function): (&str, &str),
        cx: &Context,
        error: MessagingError,
    ) -> MessagingError {
        complaint::warn("a messaging call failed", cx, function, &error);
        if matches!(error, MessagingError::Reserved { .. }) {
            let session = &self.session;
            session.denied(cx, instance, function, &error.to_string());
        }
        error
    }

    fn answer<T>(
        &self,
        function: &str,
        cx: &Context,
        done: Result<T, MessagingError>,
    ) -> Answer<T> {
        let text = |error| self.told((CONSUMER, function), cx, error).to_string();
        Ok(done.map_err(text))
    }

    /// Publishes a message, in the time that the call has.
    pub(super) async fn send(&self, cx: &Context, message: Message) -> Result<(), MessagingError> {
        let subject = message.subject.clone();
        let work = async { self.backends.of(cx).await?.publish(cx, message).await };
        let done = tokio::time::timeout(time_left(cx), work).await;
        done.unwrap_or(Err(MessagingError::Unconfirmed { subject }))
    }

    /// Publishes a request, and waits for answers: for as many as are expected, or for those that
    /// come in time, one at least.
    pub(super) async fn ask(
        &self,
        cx: &Context,
        message: Message,
        timeout_ms: u32,
        expected: u32,
    ) -> Result<Vec<Message>, MessagingError> {
        if expected == 0 {
            return self.send(cx, message).await.map(|()| Vec::new());
        }
        let timeout = Duration::from_millis(timeout_ms.into()).min(time_left(cx));
        let subject = message.subject.clone();
        let mut replies = Replies::new(expected);
        let work = async {
            let broker = self.backends.of(cx).await?;
            broker.request(cx, message, timeout, &mut replies).await
        };
        let done = tokio::time::timeout(timeout, work).await;
        match done {
            // Those that have come are answers, whatever became of the others.
            _ if !replies.is_empty() => Ok(replies.into_messages()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(MessagingError::Timeout {
                subject,
                after: timeout,
            }),
        }
    }
}

impl<B: Broker> consumer::Handler<Context> for Linked<B> {
    async fn request(
        &self,
        cx: Context,
        subject: String,
        body: Bytes,
        timeout_ms: u32,
    ) -> Answer<BrokerMessage> {
        let asked = self.ask(&cx, Message::new(subject.clone(), body), timeout_ms, 1);
        let asked = asked.await.and_then(|answers| {
            let first = answers.into_iter().next();
            first
                .map(BrokerMessage::from)
                .ok_or(MessagingError::Timeout {
                    subject,
                    after: Duration::from_millis(timeout_ms.into()),
                })
        });
        self.answer("request", &cx, asked)
    }

    async fn publish(&self, cx: Context, message: BrokerMessage) -> Answer<()> {
        let sent = self.send(&cx, message.into()).await;
        self.answer("publish", &cx, sent)
    }
}
