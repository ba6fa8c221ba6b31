//! Messages of a stream in their order, as many at a time as there is room for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy};
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::BlobError;
use lattice_provider_sdk::chain;
use tokio::time::{Instant, timeout};

use crate::api::{disconnected, failed};
use crate::container::Container;

/// How long the server may take to hand a message over.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the server keeps a consumer that asks for nothing. Who reads slowly takes all that was
/// asked for before there is more to ask for, and may take up to the limit of silence for each bit.
const UNUSED: Duration = Duration::from_secs(600);

/// How often it is looked whether the server is there meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// What hands messages over. It is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct Messages {
    container: Container,
    consumer: consumer::Consumer<Config>,
    /// How many came so far.
    came: AtomicU64,
}

impl Messages {
    /// Those of a subject, from `begin` on. Who takes none for longer than `idle` may get no more.
    pub(crate) async fn open(
        container: Container,
        filter_subject: String,
        begin: DeliverPolicy,
        idle: Duration,
    ) -> Result<Self, BlobError> {
        let config = Config {
            deliver_policy: begin,
            ack_policy: AckPolicy::None,
            filter_subject,
            inactive_threshold: UNUSED.max(idle + ANSWER),
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let consumer = container.stream.create_consumer(config).await;
        Ok(Self {
            consumer: consumer.map_err(|error| failed(&container.name, &error))?,
            container,
            came: AtomicU64::default(),
        })
    }

    /// How many there were when they were opened.
    pub(crate) fn count(&self) -> u64 {
        self.consumer.cached_info().num_pending
    }

    /// Asks for some; the batch ends with them, or with the last there is.
    pub(crate) async fn ask(&self, most: usize) -> Result<Batch, BlobError> {
        let batch = self.consumer.fetch().max_messages(most).messages().await;
        batch.map_err(|error| BlobError::unavailable(&error))
    }

    /// Asks for some; the batch ends with them, or after `wait` when there are no more.
    pub(crate) async fn ask_for(&self, most: usize, wait: Duration) -> Result<Batch, BlobError> {
        let batch = self.consumer.batch().max_messages(most).expires(wait);
        let batch = batch.messages().await;
        batch.map_err(|error| BlobError::unavailable(&error))
    }

    /// Nothing is handed over twice, so that what went into a connection that broke is lost.
    fn in_turn(&self, message: Message) -> Result<Message, BlobError> {
        let number = message.info().map(|info| info.consumer_sequence);
        let number = number.map_err(|error| BlobError::unavailable(&*error))?;
        let wanted = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        if number == wanted {
            return Ok(message);
        }
        let what = format!("NATS handed message {number} over, message {wanted} was lost");
        Err(BlobError::Unavailable(what))
    }

    /// The next of a batch.
    pub(crate) async fn next(&self, batch: &mut Batch) -> Result<Option<Message>, BlobError> {
        let until = Instant::now() + ANSWER;
        loop {
            match timeout(LOOK, batch.next()).await {
                Ok(Some(Ok(message))) => return self.in_turn(message).map(Some),
                Ok(Some(Err(error))) => return Err(BlobError::Unavailable(chain(&*error))),
                Ok(None) => return Ok(None),
                Err(_) if !self.container.nats.backend.is_connected() => {
                    return Err(disconnected());
                }
                Err(_) if Instant::now() >= until => {
                    let what = "NATS stopped handing messages over";
                    return Err(BlobError::Unavailable(what.to_owned()));
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let name = self.consumer.cached_info().name.clone();
        let stream = self.container.stream.clone();
        let chores = &self.container.nats.chores;
        // One that cannot be deleted goes by itself when it was not used for a while.
        chores.add("deleting a consumer", move || {
            let (stream, name) = (stream.clone(), name.clone());
            async move {
                let _ = stream.delete_consumer(&name).await;
                Ok(())
            }
        });
    }
}
