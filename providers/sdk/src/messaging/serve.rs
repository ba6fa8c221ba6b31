//! The generated bindings in front of the brokers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_rpc::Context;
use tokio::time::Instant;

use super::bindings;
use super::bindings::exports::wasmcloud::messaging::consumer::{self, Handler as _};
use super::{Broker, BrokerMessage, MessagingError};
use crate::backends::Backends;
use crate::error::ServeError;
use crate::session::Session;
use crate::wire::answered;

const CONSUMER: &str = "wasmcloud:messaging/consumer@0.2.0";

/// What an answer needs on its way back: a caller whose deadline passes gets no words.
const WAY_BACK: Duration = Duration::from_millis(100);

/// Serves `consumer` until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Broker>(
    session: &Session,
    backends: Arc<Backends<B>>,
) -> Result<(), ServeError> {
    let linked = Linked(backends);
    let server = answered! { session.server(), linked;
        CONSUMER "publish" publish(message: BrokerMessage);
        CONSUMER "request" request(subject: String, body: Bytes, timeout_ms: u32);
    };
    let functions = bindings::serve(&server, linked)
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    server.drive(functions).await
}

/// Answers each call with the broker that its link names.
struct Linked<B>(Arc<Backends<B>>);

impl<B> Clone for Linked<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, String>>;

fn answer<T>(function: &str, cx: &Context, done: Result<T, MessagingError>) -> Answer<T> {
    Ok(done.map_err(|error| {
        let source = cx.source_id.as_deref().unwrap_or("<unknown>");
        let link_name = &*cx.link_name;
        tracing::warn!(source, link_name, function, %error, "a messaging call failed");
        error.to_string()
    }))
}

/// How long the work of a call may take, so that its caller still hears of the end.
fn time_left(cx: &Context) -> Duration {
    let left = cx.deadline.saturating_duration_since(Instant::now());
    left.saturating_sub(WAY_BACK.min(left / 10))
}

impl<B: Broker> consumer::Handler<Context> for Linked<B> {
    async fn request(
        &self,
        cx: Context,
        subject: String,
        body: Bytes,
        timeout_ms: u32,
    ) -> Answer<BrokerMessage> {
        let timeout = Duration::from_millis(timeout_ms.into()).min(time_left(&cx));
        let work = async {
            let broker = self.0.of(&cx).await?;
            broker.request(&cx, subject.clone(), body, timeout).await
        };
        let done = tokio::time::timeout(timeout, work).await;
        let done = done.unwrap_or_else(|_| {
            Err(MessagingError::Timeout {
                subject: subject.clone(),
                after: timeout,
            })
        });
        answer("request", &cx, done)
    }

    async fn publish(&self, cx: Context, message: BrokerMessage) -> Answer<()> {
        let subject = message.subject.clone();
        let work = async { self.0.of(&cx).await?.publish(&cx, message).await };
        let done = tokio::time::timeout(time_left(&cx), work).await;
        let done = done.unwrap_or(Err(MessagingError::Unconfirmed { subject }));
        answer("publish", &cx, done)
    }
}
