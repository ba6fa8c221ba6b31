//! Answers to requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::{Backoff, BoxError};
use parking_lot::Mutex;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::OwnedMessage;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::client::config;
use crate::message::{CORRELATION_ID, header};
use crate::settings::ServerSettings;

/// How long brokers may take to say where a partition ends.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The first and the longest pause after an error of the consumer.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Waiting = Arc<Mutex<HashMap<String, mpsc::Sender<OwnedMessage>>>>;

/// Hands answers to those who asked.
pub(crate) struct Answers {
    waiting: Waiting,
    /// No other process has it.
    name: String,
    _task: AbortOnDropHandle<()>,
}

impl Answers {
    /// Listens to a topic from its end on.
    pub(crate) async fn begin(
        settings: &ServerSettings,
        partitions: Vec<i32>,
    ) -> Result<Self, BoxError> {
        let (settings, topic) = (settings.clone(), settings.reply_topic.clone());
        // The library blocks the thread meanwhile. An end that is known now is before every answer.
        let made = tokio::task::spawn_blocking(move || open(&settings, &topic, &partitions));
        let consumer = made.await??;
        let waiting = Waiting::default();
        let task = tokio::spawn(listen(consumer, Arc::clone(&waiting)));
        Ok(Self {
            waiting,
            name: uuid::Uuid::new_v4().simple().to_string(),
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// A request with a number of its own that waits for so many answers.
    pub(crate) fn ask(&self, number: u64, expected: usize) -> Asked {
        let id = format!("{}.{number}", self.name);
        let (sender, receiver) = mpsc::channel(expected);
        self.waiting.lock().insert(id.clone(), sender);
        Asked {
            waiting: Arc::clone(&self.waiting),
            id,
            receiver,
        }
    }
}

fn open(
    settings: &ServerSettings,
    topic: &str,
    partitions: &[i32],
) -> Result<StreamConsumer, BoxError> {
    let mut config = config(settings);
    config
        // The library wants one although nothing is stored for it.
        .set("group.id", "lattice-answers")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "100");
    let consumer: StreamConsumer = config.create()?;
    let mut assigned = TopicPartitionList::new();
    for partition in partitions {
        let (_, end) = consumer.fetch_watermarks(topic, *partition, ANSWER_WITHIN)?;
        assigned.add_partition_offset(topic, *partition, Offset::Offset(end))?;
    }
    consumer.assign(&assigned)?;
    Ok(consumer)
}

async fn listen(consumer: StreamConsumer, waiting: Waiting) {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        match consumer.recv().await {
            Ok(message) => {
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                let message = message.detach();
                let id = header(&message, CORRELATION_ID);
                let asker = id.and_then(|id| waiting.lock().get(&id).cloned());
                if let Some(asker) = asker {
                    // Who asked may have given up meanwhile, or have as many as it wants.
                    let _ = asker.try_send(message);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "could not read answers");
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

/// A request that waits for its answers, until it is dropped.
pub(crate) struct Asked {
    waiting: Waiting,
    pub(crate) id: String,
    receiver: mpsc::Receiver<OwnedMessage>,
}

impl Asked {
    /// The next answer; `None` when nobody listens any more.
    pub(crate) async fn answer(&mut self) -> Option<OwnedMessage> {
        self.receiver.recv().await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}
