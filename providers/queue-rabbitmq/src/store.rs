//! Storing messages, at once or for later.

use std::time::Duration;

use lattice_provider_sdk::queue::{Message, QueueError};
use tokio::time::{Instant, sleep_until};

use crate::hold;
use crate::leases::Lease;
use crate::publish_line::{Parcel, PublishLine};
use crate::queue::Queue;
use crate::rabbit::Lines;
use crate::stored_message::{self, History};

/// For how long a message waits that comes again while its queue is full.
const WHILE_FULL: Duration = Duration::from_secs(1);

/// What comes to the properties of a message that is sent, at most: by what a dead letter tells, what the
/// server notes when it moves the message, and the two below.
const MORE: usize = 4 << 10;
/// What comes to those of one that is sent again: the time for which it waits, and the server's count.
pub(crate) const MORE_AGAIN: usize = 64;

/// A message of a component, if its attributes fit into a frame whatever comes of it.
pub(crate) fn packed(
    line: &PublishLine,
    message: Message,
    history: &History,
) -> Result<Parcel, QueueError> {
    let parcel = parcel(message, history);
    if line.takes(&parcel.properties, MORE) {
        return Ok(parcel);
    }
    let most = line.most_properties().saturating_sub(MORE as u64);
    Err(QueueError::invalid(format!(
        "attributes that are too large: RabbitMQ takes about {most} bytes of them in all"
    )))
}

pub(crate) fn parcel(message: Message, history: &History) -> Parcel {
    Parcel {
        id: history.id.clone(),
        properties: stored_message::properties(&message, history),
        body: message.body,
    }
}

/// Stores one message in a queue that is there.
pub(crate) async fn store(lines: &Lines, queue: &str, parcel: Parcel) -> Result<(), QueueError> {
    let line = lines.publishing()?;
    let mut stored = line.publish(queue, vec![parcel]).await?;
    let stored = stored.pop().unwrap_or_else(|| Err(nothing_said()));
    if stored.as_ref().err() == Some(&QueueError::NoSuchQueue)
        && let Ok(intake) = lines.intake()
    {
        intake.forget(queue);
    }
    stored
}

/// Stores a message where it waits before it comes to its queue, so long from now.
pub(crate) async fn hold(
    lines: &Lines,
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
        let lasts = lines.intake()?.waits_at(&name, arguments).await?;
        queue.lasting().await;
        sleep_until(lasts).await;
        let left = due.saturating_duration_since(Instant::now());
        let expiration = hold::expiration(left).into();
        parcel.properties = parcel.properties.with_expiration(expiration);
        match store(lines, &name, parcel.clone()).await {
            // Somebody has deleted it since it was made, and it is made again.
            Err(QueueError::NoSuchQueue) if is_first => is_first = false,
            done => return done,
        }
    }
}

/// Sends a leased message again, as one that was delivered so often. One that comes again at once does
/// so a little later where its queue is full: where it waits there is always room. One of another program
/// whose headers fill a frame is [`QueueError::TooLarge`].
pub(crate) async fn again(
    lines: &Lines,
    lease: &Lease,
    attempts: u32,
    delay: Duration,
) -> Result<(), QueueError> {
    let line = lines.publishing()?;
    let message = stored_message::read(&lease.properties, lease.body.clone());
    let history = History {
        attempts,
        ..lease.history.clone()
    };
    let mut properties = stored_message::again(&lease.properties, &message, &history);
    if !line.takes(&properties, MORE_AGAIN) {
        // What means nothing to workers is left out, such as where it has waited before.
        properties = stored_message::properties(&message, &history);
    }
    if !line.takes(&properties, MORE_AGAIN) {
        return Err(QueueError::TooLarge(line.most_properties()));
    }
    let parcel = Parcel {
        id: history.id.clone(),
        properties,
        body: message.body,
    };
    let queue = &*lease.queue;
    if !delay.is_zero() {
        return hold(lines, queue, parcel, delay).await;
    }
    queue.lasting().await;
    match store(lines, &queue.name, parcel.clone()).await {
        Err(QueueError::Full(_)) => hold(lines, queue, parcel, WHILE_FULL).await,
        done => done,
    }
}

pub(crate) fn nothing_said() -> QueueError {
    QueueError::other("RabbitMQ did not say what became of a message")
}
