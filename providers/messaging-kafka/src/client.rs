//! Brokers, and what is published to them.

mod told;

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::BoxError;
use lattice_provider_sdk::messaging::MessagingError;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::answers::Answers;
use crate::settings::ServerSettings;
use told::Told;

/// How long brokers may take to say what they have.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a message may wait in front of the queue of those to be sent.
const QUEUE_WITHIN: Duration = Duration::from_secs(1);
/// How long brokers may take to confirm a message.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// A producer that gave up in the place of another is not replaced sooner than this: it is not given to
/// us to send, or the brokers are not well.
const REPLACE_EVERY: Duration = Duration::from_secs(5);
/// What a message has besides its body.
const OVERHEAD: usize = 64 * 1024;

/// What is published.
pub(crate) struct Outbound<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) partition: Option<i32>,
    pub(crate) body: &'a [u8],
    pub(crate) headers: OwnedHeaders,
}

/// Why brokers cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The library does not take the settings.
    #[error("could not make a Kafka client")]
    Make(#[source] KafkaError),
    /// They do not answer, or not about a topic.
    #[error("the Kafka brokers at `{hosts}` do not answer for {what}")]
    Ask {
        /// Their addresses.
        hosts: String,
        /// What was asked.
        what: String,
        /// Why.
        source: BoxError,
    },
}

impl ClientError {
    /// What the brokers or the library call it.
    pub(crate) fn code(&self) -> Option<RDKafkaErrorCode> {
        let Self::Ask { source, .. } = self else {
            return None;
        };
        let told: Option<&KafkaError> = source.downcast_ref();
        let told = told.or_else(|| source.source()?.downcast_ref());
        told.and_then(KafkaError::rdkafka_error_code)
    }
}

/// What was not published.
#[derive(Debug)]
pub(crate) struct Unpublished {
    pub(crate) error: MessagingError,
    /// Whether there is no such topic, or not for us, which does not pass by itself.
    pub(crate) has_no_topic: bool,
}

fn has_no_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// Brokers, and what is published to them.
pub(crate) struct Kafka {
    pub(crate) settings: ServerSettings,
    producer: Mutex<Current<Producer>>,
    /// What the library last said of connections that failed.
    told: Told,
    answers: OnceCell<Arc<Answers>>,
}

/// What every client of these brokers has in common.
pub(crate) fn config(settings: &ServerSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    let largest = (settings.largest + OVERHEAD).min(1_000_000_000);
    config
        .set("bootstrap.servers", &settings.hosts)
        .set("client.id", "lattice")
        .set("socket.timeout.ms", "10000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "5000")
        .set("allow.auto.create.topics", "true")
        .set("message.max.bytes", largest.to_string())
        .set("receive.message.max.bytes", "200000000");
    settings.security.apply(&mut config);
    config
}

/// The producer; another one takes its place when it can send no more.
struct Current<P> {
    producer: Arc<P>,
    /// When one was replaced last.
    replaced: Option<Instant>,
}

impl<P> Current<P> {
    fn new(producer: P) -> Self {
        Self {
            producer: Arc::new(producer),
            replaced: None,
        }
    }

    /// The producer, or the one that `make` makes where this one has given up and was not made just now.
    fn now<E>(
        &mut self,
        has_given_up: impl FnOnce(&P) -> Option<String>,
        make: impl FnOnce() -> Result<P, E>,
    ) -> Result<Arc<P>, E> {
        let is_due = |at: Instant| at.elapsed() >= REPLACE_EVERY;
        if self.replaced.is_none_or(is_due)
            && let Some(why) = has_given_up(&self.producer)
        {
            tracing::warn!(why, "a Kafka producer can send no more, making another one");
            self.replaced = Some(Instant::now());
            self.producer = Arc::new(make()?);
        }
        Ok(Arc::clone(&self.producer))
    }
}

/// A producer that closes where waiting for that blocks nobody.
struct Producer(Option<FutureProducer<Told>>);

impl Producer {
    fn make(settings: &ServerSettings, told: &Told) -> Result<Self, KafkaError> {
        let mut config = config(settings);
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("message.timeout.ms", CONFIRM_WITHIN.as_millis().to_string());
        Ok(Self(Some(config.create_with_context(told.clone())?)))
    }

    fn get(&self) -> &FutureProducer<Told> {
        self.0.as_ref().expect("only gone while it is dropped")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // It waits for its thread, which is not for those that run tasks.
        let producer = self.0.take();
        std::thread::spawn(move || drop(producer));
    }
}

impl Kafka {
    /// Makes a client, and asks the brokers whether they are there.
    pub(crate) async fn connect(settings: &ServerSettings) -> Result<Self, ClientError> {
        let told = Told::default();
        let producer = Producer::make(settings, &told).map_err(ClientError::Make)?;
        let kafka = Self {
            settings: settings.clone(),
            producer: Mutex::new(Current::new(producer)),
            told,
            answers: OnceCell::new(),
        };
        kafka.check(&[]).await?;
        Ok(kafka)
    }

    /// The producer, or another one: one that sends each message once gives up for good where it does
    /// not know any more what the brokers have, as after they have lost or forgotten something. Where
    /// the one before has done so just now, it is that one, which says why.
    fn producer(&self) -> Result<Arc<Producer>, KafkaError> {
        let has_given_up = |producer: &Producer| {
            let fatal = producer.get().client().fatal_error();
            fatal.map(|(_, why)| why)
        };
        let make = || Producer::make(&self.settings, &self.told);
        self.producer.lock().now(has_given_up, make)
    }

    /// Asks whether the brokers are there and have these topics, which they make if they are set
    /// up to.
    pub(crate) async fn check(&self, topics: &[String]) -> Result<(), ClientError> {
        if topics.is_empty() {
            return self.ask(None).await.map(drop);
        }
        for topic in topics {
            self.ask(Some(topic.clone())).await?;
        }
        Ok(())
    }

    /// The partitions of a topic, or of none.
    pub(crate) async fn ask(&self, topic: Option<String>) -> Result<Vec<i32>, ClientError> {
        let what = match &topic {
            Some(topic) => format!("the topic `{topic}`"),
            None => "their metadata".into(),
        };
        let failed = |source: BoxError| ClientError::Ask {
            hosts: self.settings.hosts.clone(),
            what: what.clone(),
            source,
        };
        let producer = self.producer().map_err(|e| failed(e.into()))?;
        // The library blocks the thread meanwhile.
        let asked = tokio::task::spawn_blocking(move || {
            let client = producer.get().client();
            let metadata = client.fetch_metadata(topic.as_deref(), ANSWER_WITHIN)?;
            let mut partitions = Vec::new();
            for of in metadata
                .topics()
                .iter()
                .filter(|of| Some(of.name()) == topic.as_deref())
            {
                if let Some(error) = of.error() {
                    return Err(KafkaError::MetadataFetch(error.into()));
                }
                partitions.extend(of.partitions().iter().map(|partition| partition.id()));
            }
            Ok(partitions)
        });
        let asked = asked.await.map_err(|e| failed(e.into()))?;
        asked
            .inspect(|_| self.told.forget())
            .map_err(|e| failed(self.told.explain(e)))
    }

    /// Publishes, and waits until the brokers have confirmed.
    pub(crate) async fn publish(&self, out: Outbound<'_>) -> Result<(), MessagingError> {
        self.try_publish(out).await.map_err(|failed| failed.error)
    }

    /// As [`Kafka::publish`]; says too whether it is for want of the topic that it failed.
    pub(crate) async fn try_publish(&self, out: Outbound<'_>) -> Result<(), Unpublished> {
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(out.topic)
            .payload(out.body)
            .headers(out.headers);
        record.key = out.key;
        record.partition = out.partition;
        let producer = self.producer().map_err(|error| Unpublished {
            error: MessagingError::other(format!("could not make a Kafka client: {error}")),
            has_no_topic: false,
        })?;
        let sent = producer.get().send(record, QUEUE_WITHIN).await;
        sent.map(drop).map_err(|(error, _)| {
            let code = error.rdkafka_error_code();
            let fatal = producer.get().client().fatal_error();
            match fatal.filter(|_| code == Some(RDKafkaErrorCode::Fatal)) {
                Some((code, why)) => Unpublished {
                    has_no_topic: has_no_topic(code),
                    error: MessagingError::other(format!(
                        "could not publish to `{}`: {why}",
                        out.topic
                    )),
                },
                None => Unpublished {
                    has_no_topic: code.is_some_and(has_no_topic),
                    error: self.refusal(out.topic, out.body.len(), &error),
                },
            }
        })
    }

    /// Whether the brokers neither have a topic nor make it, or do not let us use it.
    pub(crate) async fn lacks(&self, topic: &str) -> Option<String> {
        let error = self.ask(Some(topic.to_owned())).await.err()?;
        let lacks = error.code().is_some_and(has_no_topic);
        lacks.then(|| lattice_provider_sdk::chain(&error))
    }

    fn refusal(&self, topic: &str, size: usize, error: &KafkaError) -> MessagingError {
        let subject = topic.to_owned();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::RequestTimedOut) => {
                MessagingError::Unconfirmed { subject }
            }
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                MessagingError::Disconnected("Kafka")
            }
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => MessagingError::TooLarge {
                subject,
                size,
                limit: self.settings.largest,
                whose: "the Kafka broker's or the link's",
            },
            _ => MessagingError::other(format!("could not publish to `{topic}`: {error}")),
        }
    }

    /// Where answers arrive; begun with the first request.
    pub(crate) async fn answers(&self) -> Result<Arc<Answers>, MessagingError> {
        let begin = || async {
            let topic = &self.settings.reply_topic;
            let partitions = self.ask(Some(topic.clone())).await;
            let partitions = partitions.map_err(|e| lattice_provider_sdk::chain(&e))?;
            let begun = Answers::begin(&self.settings, partitions).await;
            begun.map(Arc::new).map_err(|e| e.to_string())
        };
        let answers = self.answers.get_or_try_init(begin).await;
        let answers = answers.map_err(|why| {
            let topic = &self.settings.reply_topic;
            MessagingError::other(format!("could not listen for answers on `{topic}`: {why}"))
        })?;
        Ok(Arc::clone(answers))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_producer_that_gives_up_at_once_stays_for_a_while() {
        let mut current = Current::new(1);
        let mut now = |has_given_up: bool| {
            let why = |_: &i32| has_given_up.then(|| "fenced".to_owned());
            let made = *current.producer + 1;
            *current.now(why, || Ok::<_, Infallible>(made)).unwrap()
        };
        assert_eq!(now(false), 1);
        assert_eq!(now(true), 2);
        assert_eq!(now(true), 2);
        tokio::time::advance(REPLACE_EVERY - Duration::from_millis(1)).await;
        assert_eq!(now(true), 2);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(now(false), 2);
        assert_eq!(now(true), 3);
    }
}
