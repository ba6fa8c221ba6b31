//! One connection that publishes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Connection, PublisherConfirm};
use lattice_provider_sdk::chain;
use lattice_provider_sdk::queue::QueueError;
use lattice_rabbitmq::{ExclusiveChannel, fits_frame, takes_messages};
use tokio_util::sync::CancellationToken;

/// How long the server may take to answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How many channels publish.
const PUBLISHERS: usize = 4;

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) id: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: bytes::Bytes,
}

/// One connection that publishes; for all else there is [`IntakeLine`](crate::intake_line::IntakeLine).
#[derive(Debug)]
pub(crate) struct PublishLine {
    pub(crate) connection: Connection,
    publishers: Vec<ExclusiveChannel>,
    next: AtomicUsize,
}

impl lattice_rabbitmq::Line for PublishLine {
    fn is_up(&self) -> bool {
        self.connection.status().connected()
    }
}

impl PublishLine {
    /// What publishes to queues, on a new connection.
    pub(crate) fn on(connection: Connection) -> Self {
        Self {
            connection,
            publishers: std::iter::repeat_with(ExclusiveChannel::default)
                .take(PUBLISHERS)
                .collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Refuses what is published while the server reads nothing: the client would keep all of it.
    pub(crate) fn check(&self) -> Result<(), QueueError> {
        takes_messages(&self.connection).map_err(|error| QueueError::unavailable(error.to_string()))
    }

    /// Whether a message may have these properties, to which `more` bytes may come.
    pub(crate) fn takes(&self, properties: &BasicProperties, more: usize) -> bool {
        fits_frame(&self.connection, properties, more)
    }

    /// The most bytes of properties that a message may have.
    pub(crate) fn most_properties(&self) -> u64 {
        self.connection.configuration().frame_max().into()
    }

    /// Publishes to a queue and waits until the server has confirmed each.
    pub(crate) async fn publish(
        &self,
        queue: &str,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.publishers.len();
        answered(async {
            // A new channel would wait for the server.
            self.check()?;
            let lent = self.publishers[at].lend(&self.connection).await;
            let channel = lent.map_err(lost)?;
            // It may have waited.
            if let Err(blocked) = self.check() {
                channel.give_back();
                return Err(blocked);
            }
            let sent = send_all(&channel, queue, parcels).await?;
            let stored = confirmed(sent).await?;
            channel.give_back();
            Ok(stored)
        })
        .await
    }
}

/// The id of a message that was sent, and what the server is to say of it.
type SentParcel = (String, PublisherConfirm);

/// Sends all before the server has confirmed any. Whoever waits may stop doing so; the message that is being
/// written then is still written, and no other is begun. The channel stays open until then: the client closes one
/// ahead of what waits to be written, and a server that gets a message on a closed channel ends the connection.
async fn send_all(
    channel: &Channel,
    queue: &str,
    parcels: Vec<Parcel>,
) -> Result<Vec<SentParcel>, QueueError> {
    let (channel, queue) = (channel.clone(), ShortString::from(queue));
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let left = CancellationToken::new();
    let _leaves = left.clone().drop_guard();
    let sending = tokio::spawn(async move {
        let mut sent = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            if left.is_cancelled() {
                break;
            }
            let Parcel {
                id,
                properties,
                body,
            } = parcel;
            let confirm =
                channel.basic_publish("".into(), queue.clone(), options, &body, properties);
            sent.push((id, confirm.await.map_err(lost)?));
        }
        Ok::<_, QueueError>(sent)
    });
    match sending.await {
        Ok(sent) => sent,
        Err(error) => Err(QueueError::unavailable(format!(
            "sending to RabbitMQ was broken off: {error}"
        ))),
    }
}

/// Waits for what the server says of each. A message that no queue takes is returned before it is
/// confirmed, but maybe told with the confirmation of another one, so all are looked at together;
/// nobody else uses the channel meanwhile.
async fn confirmed(sent: Vec<SentParcel>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
    let mut returned = HashSet::new();
    let mut done = Vec::with_capacity(sent.len());
    for (id, confirm) in sent {
        let confirmed = confirm.await.map_err(lost)?;
        let is_refused = confirmed.is_nack();
        let id_of = |id: &ShortString| id.as_str().to_owned();
        if let Some(message) = confirmed.take_message() {
            let id = message.delivery.properties.message_id().as_ref();
            returned.extend(id.map(id_of));
        }
        done.push((id, is_refused));
    }
    let each = done.into_iter().map(|(id, is_refused)| {
        if returned.contains(&id) {
            return Err(QueueError::NoSuchQueue);
        }
        match is_refused {
            true => Err(QueueError::Full(
                "RabbitMQ takes no more messages there".into(),
            )),
            false => Ok(()),
        }
    });
    Ok(each.collect())
}

/// Waits for the server, but not for ever.
pub(crate) async fn answered<T>(
    asked: impl Future<Output = Result<T, QueueError>>,
) -> Result<T, QueueError> {
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(QueueError::unavailable(format!(
            "RabbitMQ did not answer within {ANSWER_WITHIN:?}"
        ))),
    }
}

/// Why something failed that does not fail on a connection that works.
pub(crate) fn lost(error: lapin::Error) -> QueueError {
    QueueError::unavailable(chain(&error))
}
