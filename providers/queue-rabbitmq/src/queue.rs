//! One queue: whether it is there, and the channel that has its deliveries.

use lapin::options::{BasicQosOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection, ErrorKind};
use lattice_provider_sdk::chain;
use lattice_provider_sdk::queue::QueueError;
use lattice_rabbitmq::open_channel;
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit};
use tokio::time::{Duration, Instant, sleep_until};

use crate::intake_line::IntakeLine;
use crate::publish_line::{answered, lost};
use crate::settings::QueueSettings;

/// How old a quorum queue has to be before messages are kept in it. RabbitMQ notes some time after it has made
/// one which log is the queue's; a server that is killed before that begins the queue anew, without what it has
/// confirmed (measured with 3.10.8: 0.7 s were too little, 1 s was enough).
pub(crate) const LASTS_AFTER: Duration = Duration::from_millis(1500);

/// A queue that is there. What has been received stays with its channel: trouble with another queue
/// does not give it back.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: String,
    /// Opened when its messages are first wanted: a connection has few channels, and there may be many
    /// queues that are only sent to.
    receiving: OnceCell<Receiving>,
    /// Held while messages are fetched one by one.
    pub(crate) fetching: Mutex<()>,
    /// From when on it keeps what the server has confirmed.
    lasts: Instant,
}

/// The channel of a queue, with its place among those of the connection.
#[derive(Debug)]
struct Receiving {
    channel: Channel,
    _place: OwnedSemaphorePermit,
}

impl Receiving {
    async fn open(line: &IntakeLine) -> Result<Self, QueueError> {
        let place = line.channel_place()?;
        let channel = open_channel(&line.connection).await.map_err(lost)?;
        sync(&channel).await?;
        Ok(Self {
            channel,
            _place: place,
        })
    }
}

impl Queue {
    /// Looks a queue up, and creates it as `create` says when it is missing.
    pub(crate) async fn open(
        connection: &Connection,
        name: &str,
        create: Option<QueueSettings>,
    ) -> Result<Self, QueueError> {
        let mut lasts = Instant::now();
        match (ready(connection, name).await, create) {
            (Err(QueueError::NoSuchQueue), Some(how)) => {
                tracing::info!(queue = name, "creating a queue");
                declare(connection, name, arguments(how)).await?;
                if how.quorum {
                    lasts = Instant::now() + LASTS_AFTER;
                }
            }
            (looked, _) => drop(looked?),
        }
        Ok(Self {
            name: name.to_owned(),
            receiving: OnceCell::new(),
            fetching: Mutex::default(),
            lasts,
        })
    }

    /// Waits until a queue that was just made keeps what the server confirms.
    pub(crate) async fn lasting(&self) {
        sleep_until(self.lasts).await;
    }

    /// Whether it keeps by now what the server has confirmed.
    pub(crate) fn is_lasting(&self) -> bool {
        self.lasts <= Instant::now()
    }

    /// The channel that has its deliveries.
    pub(crate) async fn channel(&self, line: &IntakeLine) -> Result<Channel, QueueError> {
        let receiving = self.receiving.get_or_try_init(|| Receiving::open(line));
        let receiving = answered(receiving).await?;
        Ok(receiving.channel.clone())
    }

    /// Whether who has its messages still has them.
    pub(crate) fn is_open(&self) -> bool {
        let receiving = self.receiving.get();
        receiving.is_none_or(|receiving| receiving.channel.status().connected())
    }

    /// Waits until the server has done what was said on the channel before.
    pub(crate) async fn sync(&self) -> Result<(), QueueError> {
        match self.receiving.get() {
            Some(receiving) => sync(&receiving.channel).await,
            None => Ok(()),
        }
    }
}

/// Those who wait for a message take one at a time; saying so again is answered, and changes nothing.
async fn sync(channel: &Channel) -> Result<(), QueueError> {
    let said = channel.basic_qos(1, BasicQosOptions::default()).await;
    said.map_err(lost)
}

/// How many messages of a queue can be received.
pub(crate) async fn ready(connection: &Connection, name: &str) -> Result<u64, QueueError> {
    // The server closes the channel of who asks for what is not there.
    let channel = open_channel(connection).await.map_err(lost)?;
    let options = QueueDeclareOptions::durable().passive();
    let asked = channel.queue_declare(name.into(), options, FieldTable::default());
    let queue = asked.await.map_err(refused)?;
    let count = queue.message_count();
    // A channel that is not closed goes with its connection at the latest.
    channel.close(200, "done".into()).await.ok();
    Ok(count.into())
}

/// Makes a queue; one that is there with the same arguments is left alone.
pub(crate) async fn declare(
    connection: &Connection,
    name: &str,
    arguments: FieldTable,
) -> Result<(), QueueError> {
    let channel = open_channel(connection).await.map_err(lost)?;
    let options = QueueDeclareOptions::durable();
    let declared = channel.queue_declare(name.into(), options, arguments).await;
    declared.map_err(refused)?;
    channel.close(200, "done".into()).await.ok();
    Ok(())
}

fn arguments(how: QueueSettings) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let mut arguments = FieldTable::default();
    if how.quorum {
        arguments.insert("x-queue-type".into(), text("quorum"));
    }
    let limits = [
        ("x-max-length", how.max_messages),
        ("x-max-length-bytes", how.max_bytes),
    ];
    for (name, limit) in limits.into_iter().filter(|(_, limit)| *limit > 0) {
        arguments.insert(name.into(), AMQPValue::LongLongInt(limit));
        // A full queue says so; nothing that was stored goes.
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    arguments
}

fn refused(error: lapin::Error) -> QueueError {
    let ErrorKind::ProtocolError(told) = error.kind() else {
        return lost(error);
    };
    match told.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => QueueError::NoSuchQueue,
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            // The component hears no reason, so it is told here.
            tracing::warn!(%error, "access denied");
            QueueError::AccessDenied
        }
        AMQPErrorKind::Soft(_) => QueueError::other(chain(&error)),
        AMQPErrorKind::Hard(_) => lost(error),
    }
}
