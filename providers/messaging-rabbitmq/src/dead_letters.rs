//! Where messages go that could not be delivered.

use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lattice_provider_sdk::messaging::{Arriving, Carried, DeadLetter, DeadLetterTo};
use lattice_provider_sdk::{Backoff, BoxError, chain};

use crate::consumer::Trouble;
use crate::line::Confirmed;
use crate::message;
use crate::rabbit::Rabbit;

/// The first and the longest pause after an error.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
    while let Err(error) = attempt(rabbit, queue, original, letter, carried).await {
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
        *dead_letter_target.trouble.lock() =
            Some(format!("could not post a dead letter to `{queue}`: {why}"));
        tokio::time::sleep(backoff.delay()).await;
    }
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
    let body: &[u8] = match carried.has_body() {
        true => &original.data,
        false => {
            told.push((DeadLetter::SIZE, original.data.len().to_string()));
            &[]
        }
    };
    let theirs = Some(&original.properties).filter(|_| carried.has_headers());
    let properties = message::of_letter(theirs, told);
    if !line.takes(&properties) {
        return Err(TooLarge.into());
    }
    let send = || line.post(key.clone(), body, properties.clone());
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
    let channel = line.connection.create_channel().await?;
    let declared = channel.queue_declare(key.clone(), durable, FieldTable::default());
    declared.await?;
    match send().await? {
        Confirmed::Taken => Ok(()),
        _ => Err("RabbitMQ does not take it".into()),
    }
}
