//! What a component publishes and asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::messaging::{Broker, BrokerMessage, MessagingError};
use lattice_provider_sdk::{Context, Shared};

use crate::client::{Kafka, Outbound};
use crate::message::{self, Destination};

/// Tells the requests of this process from each other.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The brokers behind one link.
pub(crate) struct KafkaBroker {
    kafka: Arc<Shared<Kafka>>,
    /// Partitions to publish to in turn.
    partitions: Vec<i32>,
    turn: AtomicUsize,
}

impl KafkaBroker {
    pub(crate) fn new(kafka: Arc<Shared<Kafka>>, partitions: Vec<i32>) -> Self {
        Self {
            kafka,
            partitions,
            turn: AtomicUsize::new(0),
        }
    }

    fn check(&self, subject: &str, size: usize) -> Result<(), MessagingError> {
        let limit = self.kafka.settings.largest;
        MessagingError::check_size(subject, size, limit, "the link's")
    }

    /// The next partition in turn; none for answers, whose topic is another one.
    fn partition(&self, to: &Destination) -> Option<i32> {
        if self.partitions.is_empty() || to.answers.is_some() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Some(self.partitions[turn % self.partitions.len()])
    }
}

impl Broker for KafkaBroker {
    async fn publish(&self, cx: &Context, message: BrokerMessage) -> Result<(), MessagingError> {
        self.check(&message.subject, message.body.len())?;
        let to = message::destination(&message.subject)?;
        let reply = message.reply_to.as_deref().map(message::destination);
        let reply = reply.transpose()?;
        let headers = message::headers(cx.trace.as_ref(), reply.as_ref(), to.answers.as_deref());
        let out = Outbound {
            topic: &to.topic,
            key: to.key.as_deref(),
            partition: self.partition(&to),
            body: &message.body,
            headers,
        };
        self.kafka.publish(out).await
    }

    async fn request(
        &self,
        cx: &Context,
        subject: String,
        body: Bytes,
        timeout: Duration,
    ) -> Result<BrokerMessage, MessagingError> {
        self.check(&subject, body.len())?;
        let to = message::destination(&subject)?;
        let work = async {
            let answers = self.kafka.answers().await?;
            let asked = answers.ask(NUMBER.fetch_add(1, Ordering::Relaxed));
            let reply = Destination {
                topic: self.kafka.settings.reply_topic.clone(),
                key: None,
                answers: Some(asked.id.clone()),
            };
            let out = Outbound {
                topic: &to.topic,
                key: to.key.as_deref(),
                partition: self.partition(&to),
                body: &body,
                headers: message::headers(cx.trace.as_ref(), Some(&reply), None),
            };
            self.kafka.publish(out).await?;
            let answer = asked.answer().await;
            answer.ok_or(MessagingError::Disconnected("Kafka"))
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(answer) => {
                let answer = message::arriving(&answer?, false).message;
                // An answer is not answered.
                let reply_to = None;
                Ok(BrokerMessage { reply_to, ..answer })
            }
            Err(_) => Err(MessagingError::Timeout {
                subject,
                after: timeout,
            }),
        }
    }
}
