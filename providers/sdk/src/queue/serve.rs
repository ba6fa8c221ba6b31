//! The generated bindings in front of the queues.

use std::sync::Arc;

use lattice_rpc::Context;

use super::backend::{Delivery, Depth, Message, Outcome, QueueError, Queues, Sent};
use super::bindings;
use super::bindings::exports::lattice::queue::{consumer, producer};
use super::checks::{message_is_there, messages_are_there};
use super::linked::Linked;
use crate::backends::Backends;
use crate::error::ServeError;
use crate::session::Session;

/// The interface whose functions take lists of tuples.
const PRODUCER: &str = "lattice:queue/producer@0.1.0";

/// Serves `producer` and `consumer` until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Queues>(
    session: &Session,
    backends: Arc<Backends<Linked<B>>>,
) -> Result<(), ServeError> {
    let server = session
        .server()
        .checking(PRODUCER, "send", message_is_there)
        .checking(PRODUCER, "send-many", messages_are_there);
    let functions = bindings::serve(&server, Links(backends))
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    server.drive(functions).await
}

/// Answers each call with the queues that its link names.
struct Links<B>(Arc<Backends<Linked<B>>>);

impl<B> Clone for Links<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Links<B> {
    async fn of(&self, cx: &Context) -> Result<Arc<Linked<B>>, QueueError> {
        Ok(self.0.of(cx).await?)
    }
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, QueueError>>;

fn answer<T>(function: &str, cx: &Context, queue: &str, done: Result<T, QueueError>) -> Answer<T> {
    if let Err(error) = &done {
        let source = cx.source_id.as_deref().unwrap_or("<unknown>");
        let link_name = &*cx.link_name;
        let text = error.text();
        match error {
            // What its caller did, or has to expect.
            QueueError::ReceiptExpired | QueueError::Invalid(_) | QueueError::TooLarge(_) => {
                tracing::debug!(source, link_name, function, queue, error = text, "refused");
            }
            _ => {
                tracing::warn!(
                    source,
                    link_name,
                    function,
                    queue,
                    error = text,
                    "a queue call failed"
                );
            }
        }
    }
    Ok(done)
}

impl<B: Queues> producer::Handler<Context> for Links<B> {
    async fn send(
        &self,
        cx: Context,
        queue: String,
        message: Message,
        delay_ms: Option<u32>,
    ) -> Answer<String> {
        let work = async { self.of(&cx).await?.send(&queue, message, delay_ms).await };
        answer("send", &cx, &queue, work.await)
    }

    async fn send_many(
        &self,
        cx: Context,
        queue: String,
        messages: Vec<Message>,
    ) -> Answer<Vec<Sent>> {
        let work = async { self.of(&cx).await?.send_many(&queue, messages).await };
        answer("send-many", &cx, &queue, work.await)
    }
}

impl<B: Queues> consumer::Handler<Context> for Links<B> {
    async fn receive(
        &self,
        cx: Context,
        queue: String,
        max: u32,
        wait_ms: u32,
        lease_ms: Option<u32>,
    ) -> Answer<Vec<Delivery>> {
        let work = async {
            let linked = self.of(&cx).await?;
            linked
                .receive(&queue, (max, wait_ms), lease_ms, cx.deadline)
                .await
        };
        answer("receive", &cx, &queue, work.await)
    }

    async fn settle(
        &self,
        cx: Context,
        queue: String,
        receipt: String,
        how: Outcome,
    ) -> Answer<()> {
        let work = async { self.of(&cx).await?.settle(&queue, &receipt, how).await };
        answer("settle", &cx, &queue, work.await)
    }

    async fn extend(
        &self,
        cx: Context,
        queue: String,
        receipt: String,
        lease_ms: u32,
    ) -> Answer<()> {
        let work = async { self.of(&cx).await?.extend(&queue, &receipt, lease_ms).await };
        answer("extend", &cx, &queue, work.await)
    }

    async fn depth_of(&self, cx: Context, queue: String) -> Answer<Depth> {
        let work = async { self.of(&cx).await?.depth(&queue).await };
        answer("depth-of", &cx, &queue, work.await)
    }
}
