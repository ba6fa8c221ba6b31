//! Delayed messages.
//!
//! Servers before 2.12 store nothing for later, so delayed messages wait in a stream of their own.
//! Whoever has the queue open takes them from there: one whose time has come is moved to the queue,
//! and one whose time has not is handed back with the rest of its delay, which costs no attempt. A
//! move is to store and then to acknowledge; a provider that dies in between has its message moved
//! again by another one, which the id of the move keeps from being stored twice.
//!
//! The id of the move is that of the message, if it has one: whatever was sent with the same id in the
//! meantime is the same message. But after the time for which ids are known it is another one. So what has
//! waited for longer is moved under an id that no other message has.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::stream::Stream;
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::queue::QueueError;
use tokio::task::JoinHandle;

use crate::pull::{LOOK, Puller};
use crate::queue::consumer;
use crate::stored_message::{self, DEDUP_ID, MOVED_ID, MOVED_TIME, NOT_BEFORE, OWN_DEDUP_ID};
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

/// The queue that messages are moved to.
#[derive(Debug)]
struct To {
    /// The name of its stream.
    queue: String,
    /// How long it knows ids.
    window: Duration,
}

impl Mover {
    pub(crate) async fn start(
        wire: &Wire,
        stream: &Stream,
        later: &Stream,
    ) -> Result<Self, QueueError> {
        let subject = later.cached_info().config.name.clone();
        let consumer = consumer(later, CONSUMER, subject, PATIENCE, -1).await?;
        let config = &stream.cached_info().config;
        let to = To {
            queue: config.name.clone(),
            window: config.duplicate_window,
        };
        Ok(Self(tokio::spawn(run(wire.clone(), to, consumer))))
    }
}

async fn run(wire: Wire, to: To, consumer: Puller) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let pulled = match wire.connected() {
            Ok(()) => consumer.pull(&wire, AT_ONCE, WAIT, LOOK).await,
            Err(error) => Err(error),
        };
        match pulled {
            Ok(messages) => {
                backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
                let moves = messages.iter().map(|message| take(&wire, &to, message));
                futures::future::join_all(moves).await;
            }
            Err(error) => {
                let (queue, error) = (&to.queue, error.text());
                tracing::debug!(queue, error, "could not look for delayed messages");
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

/// Moves one message, or hands it back.
async fn take(wire: &Wire, to: &To, message: &async_nats::Message) {
    let Some(ack) = message.reply.as_deref() else {
        return;
    };
    let due = stored_message::number(message.headers.as_ref(), NOT_BEFORE).unwrap_or(0);
    let left = due.saturating_sub(stored_message::now_ms());
    let done = match left {
        0 => store(wire, to, message).await,
        left => Err(Duration::from_millis(left)),
    };
    let kind = match done {
        Ok(()) => AckKind::Ack,
        Err(again) => AckKind::Nak(Some(again)),
    };
    if let Err(error) = wire.acknowledge(ack, kind).await {
        let (queue, error) = (&to.queue, error.text());
        tracing::debug!(queue, error, "could not acknowledge a delayed message");
    }
}

/// Stores a message in its queue; otherwise says when to try again.
async fn store(wire: &Wire, to: &To, message: &async_nats::Message) -> Result<(), Duration> {
    let (queue, headers) = (&to.queue, message.headers.clone().unwrap_or_default());
    let subject = match headers.get(MOVE_TO) {
        Some(subject) => subject.as_str().to_owned(),
        None => format!("{queue}.one"),
    };
    let headers = moved(&headers, message, to.window);
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

/// The headers in the queue, which knows ids for as long as `window`: the same, with what the message was
/// before.
fn moved(headers: &HeaderMap, message: &async_nats::Message, window: Duration) -> HeaderMap {
    let mut moved = HeaderMap::new();
    for (name, values) in headers.iter() {
        let text: &str = name.as_ref();
        // What others have told the server of the message is done.
        let is_told = stored_message::is_for_server(text) && text != DEDUP_ID;
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
        // Not by how long it has waited, which is longer when it is moved again.
        let due = stored_message::number(Some(headers), NOT_BEFORE).unwrap_or(published);
        let window = stored_message::millis(window);
        let waits_for_long = due.saturating_sub(published) > window;
        let is_late = stored_message::now_ms().saturating_sub(due) > window;
        match headers.get(DEDUP_ID) {
            None => moved.insert(DEDUP_ID, id.as_str()),
            Some(own) if waits_for_long || is_late => {
                moved.insert(OWN_DEDUP_ID, own.clone());
                // A stream that was made again counts from 1 again.
                moved.insert(DEDUP_ID, format!("{id}-{published}").as_str());
            }
            Some(_) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_for_longer_than_ids_are_known_is_moved_under_another_one() {
        let moved_after = |seconds: u64, waits: u64| {
            let published = stored_message::now_ms() - seconds * 1000;
            let reply = format!("$JS.ACK.s.c.3.40.50.{}.7", published * 1_000_000);
            let message = async_nats::Message {
                subject: "s".into(),
                reply: Some(reply.into()),
                payload: "".into(),
                headers: None,
                status: None,
                description: None,
                length: 0,
            };
            let mut headers = HeaderMap::new();
            headers.insert(DEDUP_ID, "mine");
            let due = published + waits * 1000;
            headers.insert(NOT_BEFORE, due.to_string().as_str());
            let headers = moved(&headers, &message, Duration::from_secs(120));
            let read = stored_message::read(Some(&headers), "".into());
            assert_eq!(read.dedup_id.as_deref(), Some("mine"));
            (stored_message::text(&headers, DEDUP_ID), published)
        };
        // Also when it is moved again, a while after the first time.
        for seconds in [110, 130, 200] {
            assert_eq!(moved_after(seconds, 110).0.as_deref(), Some("mine"));
        }
        for (seconds, waits) in [(130, 130), (150, 130), (240, 110)] {
            let (id, published) = moved_after(seconds, waits);
            assert_eq!(id, Some(format!("later-40-{published}")));
        }
    }
}
