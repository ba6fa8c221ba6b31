//! Storing messages, at once or for later.

use std::time::Duration;

use lattice_provider_sdk::queue::{Message, QueueError};
use tokio::time::{Instant, sleep_until};

use crate::hold;
use crate::leases::Lease;
use crate::line::{Line, Parcel};
use crate::queue::Queue;
use crate::stored_message::{self, History};

/// For how long a message waits that comes again while its queue is full.
const WHILE_FULL: Duration = Duration::from_secs(1);

pub(crate) fn parcel(message: Message, history: &History) -> Parcel {
    Parcel {
        id: history.id.clone(),
        properties: stored_message::properties(&message, history),
        body: message.body,
    }
}

/// Stores one message in a queue that is there.
pub(crate) async fn store(line: &Line, queue: &str, parcel: Parcel) -> Result<(), QueueError> {
    let mut stored = line.publish(queue, vec![parcel]).await?;
    let stored = stored.pop().unwrap_or_else(|| Err(nothing_said()));
    if stored.as_ref().err() == Some(&QueueError::NoSuchQueue) {
        line.forget(queue);
    }
    stored
}

/// Stores a message where it waits before it comes to its queue, so long from now.
pub(crate) async fn hold(
    line: &Line,
    queue: &Queue,
    mut parcel: Parcel,
    delay: Duration,
) -> Result<(), QueueError> {
    let due = Instant::now() + delay;
    let longest = hold::longest(delay);
    let name = hold::name(&queue.name, longest);
    let mut is_first = true;
    loop {
        let arguments = || hold::arguments(&queue.name, longest);
        let lasts = line.waits_at(&name, arguments).await?;
        queue.lasting().await;
        sleep_until(lasts).await;
        let left = due.saturating_duration_since(Instant::now());
        let expiration = hold::expiration(left).into();
        parcel.properties = parcel.properties.with_expiration(expiration);
        match store(line, &name, parcel.clone()).await {
            // Somebody has deleted it since it was made, and it is made again.
            Err(QueueError::NoSuchQueue) if is_first => is_first = false,
            done => return done,
        }
    }
}

/// Sends a leased message again, as one that was delivered so often. One that comes again at once does
/// so a little later where its queue is full: where it waits there is always room.
pub(crate) async fn again(
    line: &Line,
    lease: &Lease,
    attempts: u32,
    delay: Duration,
) -> Result<(), QueueError> {
    let message = stored_message::read(&lease.properties, lease.body.clone());
    let history = History {
        attempts,
        ..lease.history.clone()
    };
    let parcel = Parcel {
        id: history.id.clone(),
        properties: stored_message::again(&lease.properties, &message, &history),
        body: message.body,
    };
    let queue = &*lease.queue;
    if !delay.is_zero() {
        return hold(line, queue, parcel, delay).await;
    }
    queue.lasting().await;
    match store(line, &queue.name, parcel.clone()).await {
        Err(QueueError::Full(_)) => hold(line, queue, parcel, WHILE_FULL).await,
        done => done,
    }
}

pub(crate) fn nothing_said() -> QueueError {
    QueueError::other("RabbitMQ did not say what became of a message")
}
