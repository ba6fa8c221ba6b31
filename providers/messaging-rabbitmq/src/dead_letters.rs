//! Where messages go that could not be delivered.

use std::time::Duration;

use bytes::Bytes;
use lapin::message::Delivery;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lattice_provider_sdk::messaging::{Arriving, Carried, DeadLetter, DeadLetterTo};
use lattice_provider_sdk::{Backoff, BoxError, chain};
use lattice_rabbitmq::open_channel;

use crate::consumer::Trouble;
use crate::message;
use crate::publish_line::Confirmed;
use crate::rabbit::Rabbit;

/// The first and the longest pause after an error.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After what time it is told of a letter that it is not posted yet.
const TOLD_AFTER: Duration = Duration::from_secs(4);

/// Where the letters of a queue go.
pub(crate) struct DeadLetterTarget {
    /// The queue for them, if they go anywhere.
    queue: Option<String>,
    /// Why no letter can be posted at the moment.
    pub(crate) trouble: Trouble,
}

impl DeadLetterTarget {
    /// That of the messages of `queue`.
    pub(crate) fn new(to: &DeadLetterTo, queue: &str) -> Self {
        let queue = match to {
            DeadLetterTo::Nowhere => None,
            DeadLetterTo::Named(queue) => Some(queue.clone()),
            DeadLetterTo::Usual => Some(format!("{queue}.dead")),
        };
        Self {
            queue,
            trouble: Trouble::default(),
        }
    }
}

/// Forgets what is wrong at the end, whatever that is: the message of a letter that is given up may go to
/// another copy of the provider.
struct Forgets<'a>(&'a Trouble);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// The headers of a letter have more bytes than the server takes.
#[derive(Debug, thiserror::Error)]
#[error("its headers do not fit into a frame")]
struct TooLarge;

/// Posts a dead letter, for as long as it takes; the trouble says meanwhile why it does not succeed.
pub(crate) async fn post(
    rabbit: &Rabbit,
    dead_letter_target: &DeadLetterTarget,
    (original, arriving): (&Delivery, &Arriving),
    letter: &DeadLetter,
) {
    let Some(queue) = dead_letter_target.queue.as_deref() else {
        return;
    };
    if letter.goes_round(arriving, queue) {
        return;
    }
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let mut carried = Carried::All;
    let _forgets = Forgets(&dead_letter_target.trouble);
    let trouble = &dead_letter_target.trouble;
    loop {
        let posted = attempt(rabbit, queue, original, letter, carried);
        let Err(error) = watched(posted, queue, trouble).await else {
            break;
        };
        if let Some(error) = error.downcast_ref::<TooLarge>() {
            match carried.less(letter, error) {
                Some(less) => carried = less,
                None => break,
            }
            continue;
        }
        let why = chain(&*error);
        tracing::warn!(
            queue,
            why,
            "could not post a dead letter, the message is kept"
        );
        *trouble.lock() = Some(format!("could not post a dead letter to `{queue}`: {why}"));
        tokio::time::sleep(backoff.delay()).await;
    }
}

/// Waits for the end of an attempt, and tells when that takes long: a server that is short of memory confirms
/// the letter when it is not any more, and a second one would come twice.
async fn watched(
    attempt: impl Future<Output = Result<(), BoxError>>,
    queue: &str,
    trouble: &Trouble,
) -> Result<(), BoxError> {
    tokio::pin!(attempt);
    if let Ok(posted) = tokio::time::timeout(TOLD_AFTER, &mut attempt).await {
        return posted;
    }
    tracing::warn!(
        queue,
        "a dead letter is not posted yet, the message is kept"
    );
    *trouble.lock() = Some(format!(
        "a dead letter to `{queue}` waits for RabbitMQ to take it"
    ));
    attempt.await
}

async fn attempt(
    rabbit: &Rabbit,
    queue: &str,
    original: &Delivery,
    letter: &DeadLetter,
    carried: Carried,
) -> Result<(), BoxError> {
    let line = rabbit.next_line().await;
    let key = message::short(queue)?;
    let mut told = letter.headers();
    let body = match carried.has_body() {
        true => Bytes::copy_from_slice(&original.data),
        false => {
            told.push((DeadLetter::SIZE, original.data.len().to_string()));
            Bytes::new()
        }
    };
    let theirs = Some(&original.properties).filter(|_| carried.has_headers());
    let properties = message::of_letter(theirs, told);
    if !line.takes(&properties) {
        return Err(TooLarge.into());
    }
    let send = || line.post(key.clone(), body.clone(), properties.clone());
    match send().await? {
        Confirmed::Taken => return Ok(()),
        Confirmed::Refused => return Err("RabbitMQ does not take it".into()),
        Confirmed::Unroutable => {}
    }
    tracing::info!(queue, "making a queue for dead letters");
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let intake = rabbit.next_intake().await;
    let channel = open_channel(&intake.connection).await?;
    let declared = channel.queue_declare(key.clone(), durable, FieldTable::default());
    declared.await?;
    match send().await? {
        Confirmed::Taken => Ok(()),
        _ => Err("RabbitMQ does not take it".into()),
    }
}
