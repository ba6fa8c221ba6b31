//! The way out of a peer: what many tasks send at about the same time leaves in one write.
//!
//! The client writes as soon as it is woken, so that messages of calls which run one after the
//! other would each be a write here, and a read and a write of the server. The task of the outbox
//! lets every other task that is ready have its turn before it hands over what has come together.
//! Order is kept.

use std::sync::Arc;

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio_util::sync::CancellationToken;

use crate::error::CallError;

/// How many messages may wait; then whoever sends waits.
const ROOM: usize = 2048;

/// How many messages are handed over before others get a turn.
const BATCH: usize = 256;

/// With how many messages it is time to hand over, whoever else is ready.
const ENOUGH: usize = 32;

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) reply: Option<Subject>,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
}

/// Where the messages of a peer come together.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages: Sender<Outgoing>,
    enough: Arc<Notify>,
}

impl Outbox {
    /// An outbox, and the work that empties it. The work ends when the outbox is dropped, or,
    /// after having sent what is there, when `closing` is cancelled.
    pub(crate) fn new(
        nats: Client,
        closing: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (messages, queue) = mpsc::channel(ROOM);
        let enough = Arc::new(Notify::new());
        let work = empty(nats, queue, Arc::clone(&enough), closing);
        (Self { messages, enough }, work)
    }

    /// Takes a message; waits while there is no room.
    pub(crate) async fn send(&self, message: Outgoing) -> Result<(), CallError> {
        let ended = || CallError::Send("the peer is closed".to_owned());
        match self.messages.try_send(message) {
            Ok(()) => {
                if ROOM - self.messages.capacity() == ENOUGH {
                    self.enough.notify_one();
                }
                Ok(())
            }
            Err(TrySendError::Closed(_)) => Err(ended()),
            // Boxed, since it is rare and would make every call's future larger.
            Err(TrySendError::Full(message)) => Box::pin(self.messages.send(message))
                .await
                .map_err(|_| ended()),
        }
    }
}

async fn empty(
    nats: Client,
    mut queue: Receiver<Outgoing>,
    enough: Arc<Notify>,
    closing: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let taken = tokio::select! {
            biased;
            taken = queue.recv_many(&mut batch, BATCH) => taken,
            () = closing.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if taken == 0 {
            return;
        }
        // tokio runs whoever is ready before a task that yields.
        tokio::select! {
            biased;
            () = enough.notified() => {}
            () = tokio::task::yield_now() => {}
        }
        while batch.len() < BATCH
            && let Ok(more) = queue.try_recv()
        {
            batch.push(more);
        }
        for message in batch.drain(..) {
            hand_over(&nats, message).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "owns the subjects of calls")]
async fn hand_over(nats: &Client, message: Outgoing) {
    let Outgoing {
        subject,
        reply,
        headers,
        payload,
    } = message;
    let name = subject.clone();
    let sent = match (reply, headers) {
        (None, None) => nats.publish(subject, payload).await,
        (None, Some(headers)) => nats.publish_with_headers(subject, headers, payload).await,
        (Some(reply), None) => nats.publish_with_reply(subject, reply, payload).await,
        (Some(reply), Some(headers)) => {
            nats.publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
        }
    };
    if let Err(error) = sent {
        tracing::warn!(subject = %name, %error, "a message of a call was not sent");
    }
}
