//! Delayed messages.
//!
//! Servers before 2.12 store nothing for later, so delayed messages wait in a stream of their own.
//! Whoever has the queue open takes them from there: one whose time has come is moved to the queue,
//! and one whose time has not is handed back with the rest of its delay, which costs no attempt. A
//! move is to store and then to acknowledge; a provider that dies in between has its message moved
//! again by another one, which the id of the move keeps from being stored twice.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::stream::Stream;
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::queue::QueueError;
use tokio::task::JoinHandle;

use crate::letter::{self, DEDUP_ID, MOVED_ID, MOVED_TIME, NOT_BEFORE};
use crate::pull::{LOOK, Puller};
use crate::queue::consumer;
use crate::wire::Wire;

/// The header with the subject that a message is moved to.
pub(crate) const MOVE_TO: &str = "Lattice-Move-To";

const CONSUMER: &str = "mover";
/// How long a move may take; shorter than any window in which ids are known.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many messages are taken at once, and how long to wait for one.
const AT_ONCE: usize = 64;
const WAIT: Duration = Duration::from_secs(20);
/// The pause after a message that could not be moved because its queue is full.
const FULL: Duration = Duration::from_secs(1);

/// Moves the delayed messages of one queue until it is dropped.
#[derive(Debug)]
pub(crate) struct Mover(JoinHandle<()>);

impl Drop for Mover {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Mover {
    pub(crate) async fn start(
        wire: &Wire,
        queue: &str,
        later: &Stream,
    ) -> Result<Self, QueueError> {
        let subject = later.cached_info().config.name.clone();
        let consumer = consumer(later, CONSUMER, subject, PATIENCE, -1).await?;
        let (wire, queue) = (wire.clone(), queue.to_owned());
        Ok(Self(tokio::spawn(run(wire, queue, consumer))))
    }
}

async fn run(wire: Wire, queue: String, consumer: Puller) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let pulled = match wire.connected() {
            Ok(()) => consumer.pull(&wire, AT_ONCE, WAIT, LOOK).await,
            Err(error) => Err(error),
        };
        match pulled {
            Ok(messages) => {
                backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
                let moves = messages.iter().map(|message| take(&wire, &queue, message));
                futures::future::join_all(moves).await;
            }
            Err(error) => {
                let error = error.text();
                tracing::debug!(queue, error, "could not look for delayed messages");
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

/// Moves one message, or hands it back.
async fn take(wire: &Wire, queue: &str, message: &async_nats::Message) {
    let Some(ack) = message.reply.as_deref() else {
        return;
    };
    let due = letter::number(message.headers.as_ref(), NOT_BEFORE).unwrap_or(0);
    let left = due.saturating_sub(letter::now_ms());
    let done = match left {
        0 => store(wire, queue, message).await,
        left => Err(Duration::from_millis(left)),
    };
    let kind = match done {
        Ok(()) => AckKind::Ack,
        Err(again) => AckKind::Nak(Some(again)),
    };
    if let Err(error) = wire.acknowledge(ack, kind).await {
        let error = error.text();
        tracing::debug!(queue, error, "could not acknowledge a delayed message");
    }
}

/// Stores a message in its queue; otherwise says when to try again.
async fn store(wire: &Wire, queue: &str, message: &async_nats::Message) -> Result<(), Duration> {
    let headers = message.headers.clone().unwrap_or_default();
    let subject = match headers.get(MOVE_TO) {
        Some(subject) => subject.as_str().to_owned(),
        None => format!("{queue}.one"),
    };
    let headers = moved(&headers, message);
    let most = wire.max_payload();
    let stored = wire.publish(subject, headers, message.payload.clone(), most);
    stored.await.map(drop).map_err(|error| {
        let error = error.text();
        tracing::warn!(
            queue,
            error,
            "could not move a delayed message to its queue"
        );
        FULL
    })
}

/// The headers in the queue: the same, with what the message was before.
fn moved(headers: &HeaderMap, message: &async_nats::Message) -> HeaderMap {
    let mut moved = HeaderMap::new();
    for (name, values) in headers.iter() {
        let text: &str = name.as_ref();
        // What others have told the server of the message is done.
        let is_told = letter::is_for_server(text) && text != DEDUP_ID;
        if ![NOT_BEFORE, MOVE_TO].contains(&text) && !is_told {
            values
                .iter()
                .for_each(|value| moved.append(name.clone(), value.clone()));
        }
    }
    if let Some((sequence, published)) = origin(message) {
        let id = later_id(sequence);
        moved.insert(MOVED_TIME, published.to_string().as_str());
        moved.insert(MOVED_ID, id.as_str());
        if headers.get(DEDUP_ID).is_none() {
            moved.insert(DEDUP_ID, id.as_str());
        }
    }
    moved
}

/// The id of a message that was stored for later.
pub(crate) fn later_id(sequence: u64) -> String {
    format!("later-{sequence}")
}

/// The number of a message in its stream, and when it was stored there.
fn origin(message: &async_nats::Message) -> Option<(u64, u64)> {
    let ack = crate::ack::Ack::read(message.reply.as_deref()?)?;
    Some((ack.sequence, ack.published_ms))
}
