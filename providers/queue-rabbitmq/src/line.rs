//! One connection with the channels that publish.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use lattice_provider_sdk::queue::QueueError;
use lattice_provider_sdk::{BoxError, chain};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::queue::{LASTS_AFTER, Queue, declare};
use crate::settings::{QueueSettings, ServerSettings};

/// How long one attempt to connect may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// How long the server may take to answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How many channels publish.
const PUBLISHERS: usize = 4;
/// How many queues where messages wait are known to be there.
const MOST_WAITED_AT: usize = 4096;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("could not connect to RabbitMQ at `{place}`")]
pub(crate) struct ConnectError {
    pub(crate) place: String,
    pub(crate) source: BoxError,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) id: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: bytes::Bytes,
}

/// A channel that publishes for one at a time. It is not here while it is used: one whose user did
/// not see the end of it is not used again, as what the server still owes it would hold up what comes
/// behind.
type Publisher = Mutex<Option<Channel>>;

/// One connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) connection: Connection,
    publishers: Vec<Publisher>,
    next: AtomicUsize,
    queues: RwLock<HashMap<String, Arc<Queue>>>,
    /// The queues where messages wait that are there, each with the time from which on it keeps what the
    /// server has confirmed.
    waited_at: RwLock<HashMap<String, Instant>>,
    /// Held while a queue is looked up, so that many calls at once ask once.
    opening: Mutex<()>,
}

impl Line {
    pub(crate) async fn open(server: &ServerSettings, name: &str) -> Result<Self, ConnectError> {
        let uri = server.uri().map_err(|error| ConnectError {
            place: String::new(),
            source: error.into(),
        })?;
        let authority = &uri.authority;
        let place = format!("{}:{}/{}", authority.host, authority.port, uri.vhost);
        let opening = Self::connect(uri, server, name);
        let opened = match tokio::time::timeout(CONNECT_WITHIN, opening).await {
            Ok(opened) => opened.map_err(BoxError::from),
            Err(_) => Err(format!("no answer within {CONNECT_WITHIN:?}").into()),
        };
        opened.map_err(|source| ConnectError { place, source })
    }

    async fn connect(
        uri: lapin::uri::AMQPUri,
        server: &ServerSettings,
        name: &str,
    ) -> lapin::Result<Self> {
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: server.authority.as_ref().map(|pem| pem.expose().to_owned()),
        };
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime()?;
        let connection = Connection::connect_uri_with_config(uri, properties, tls, runtime).await?;
        Ok(Self {
            connection,
            publishers: std::iter::repeat_with(Mutex::default)
                .take(PUBLISHERS)
                .collect(),
            next: AtomicUsize::new(0),
            queues: RwLock::default(),
            waited_at: RwLock::default(),
            opening: Mutex::default(),
        })
    }

    /// Whether it can be used.
    pub(crate) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// The queue of that name, created as `create` says if it is missing.
    pub(crate) async fn queue(
        &self,
        name: &str,
        create: Option<QueueSettings>,
    ) -> Result<Arc<Queue>, QueueError> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        answered(async {
            let _one_at_a_time = self.opening.lock().await;
            if let Some(known) = self.known(name) {
                return Ok(known);
            }
            let queue = Arc::new(Queue::open(&self.connection, name, create).await?);
            let mut queues = self.queues.write();
            queues.insert(name.to_owned(), Arc::clone(&queue));
            Ok(queue)
        })
        .await
    }

    /// One whose channel was closed is opened again.
    fn known(&self, name: &str) -> Option<Arc<Queue>> {
        let queues = self.queues.read();
        queues
            .get(name)
            .filter(|queue| queue.is_open())
            .map(Arc::clone)
    }

    /// Makes sure of a queue where messages wait, and says from when on it keeps what the server has
    /// confirmed. It may be new whoever made it: another copy of the provider may have done so a moment
    /// ago, and a server that was killed soon after begins it anew. So this is a little after it was first
    /// used over this line.
    pub(crate) async fn waits_at(
        &self,
        name: &str,
        arguments: impl FnOnce() -> FieldTable,
    ) -> Result<Instant, QueueError> {
        let known = self.waited_at.read().get(name).copied();
        if let Some(lasts) = known {
            return Ok(lasts);
        }
        answered(declare(&self.connection, name, arguments())).await?;
        let mut waited_at = self.waited_at.write();
        let full = waited_at.len() >= MOST_WAITED_AT;
        // Who uses the one that is forgotten waits again.
        let any = waited_at.keys().next().filter(|_| full).cloned();
        if let Some(any) = any {
            waited_at.remove(&any);
        }
        let lasts = Instant::now() + LASTS_AFTER;
        Ok(*waited_at.entry(name.to_owned()).or_insert(lasts))
    }

    /// Looks a queue up again before its next use: it may have been deleted.
    pub(crate) fn forget(&self, name: &str) {
        self.queues.write().remove(name);
        self.waited_at.write().remove(name);
    }

    /// Publishes to a queue and waits until the server has confirmed each.
    pub(crate) async fn publish(
        &self,
        queue: &str,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.publishers.len();
        answered(async {
            let mut place = self.publishers[at].lock().await;
            let channel = match place.take().filter(|it| it.status().connected()) {
                Some(channel) => channel,
                None => confirming(&self.connection).await?,
            };
            let stored = send_all(&channel, queue, parcels).await?;
            *place = Some(channel);
            Ok(stored)
        })
        .await
    }
}

async fn confirming(connection: &Connection) -> Result<Channel, QueueError> {
    let channel = connection.create_channel().await.map_err(lost)?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    confirming.await.map_err(lost)?;
    Ok(channel)
}

/// Sends all before it waits for any. A message that no queue takes is returned before it is
/// confirmed, but maybe told with the confirmation of another one, so all are looked at together;
/// nobody else uses the channel meanwhile.
async fn send_all(
    channel: &Channel,
    queue: &str,
    parcels: Vec<Parcel>,
) -> Result<Vec<Result<(), QueueError>>, QueueError> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let mut sent = Vec::with_capacity(parcels.len());
    for parcel in parcels {
        let Parcel {
            id,
            properties,
            body,
        } = parcel;
        let confirm = channel.basic_publish("".into(), queue.into(), options, &body, properties);
        sent.push((id, confirm.await.map_err(lost)?));
    }
    let mut returned = HashSet::new();
    let mut done = Vec::with_capacity(sent.len());
    for (id, confirm) in sent {
        let confirmed = confirm.await.map_err(lost)?;
        let is_refused = confirmed.is_nack();
        let id_of = |id: &lapin::types::ShortString| id.as_str().to_owned();
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
