//! What a component publishes and asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lattice_provider_sdk::messaging::{Broker, Message, MessagingError, Replies};
use lattice_provider_sdk::{Context, Shared};

use crate::client::{Kafka, Outbound};
use crate::message::{self, Destination};

/// Tells the requests of this process from each other.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The brokers behind one link.
pub(crate) struct KafkaBroker {
    kafka: Arc<Shared<Kafka>>,
    /// Those that get each message; one of them, in turn, gets a request.
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

    fn check(&self, message: &Message) -> Result<(), MessagingError> {
        message.check_metadata(message::is_reserved)?;
        let (size, limit) = (message.size(), self.kafka.settings.largest);
        MessagingError::check_size(&message.subject, size, limit, "the link's")
    }

    /// The next partition in turn, for a request; none for answers, whose topic is another one.
    fn partition(&self, to: &Destination) -> Option<i32> {
        if self.partitions.is_empty() || to.answers.is_some() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Some(self.partitions[turn % self.partitions.len()])
    }

    /// Each of the partitions, as in 1.x; an answer has one of its own, where nobody reads it twice.
    fn each_partition(&self, to: &Destination) -> Vec<Option<i32>> {
        if self.partitions.is_empty() || to.answers.is_some() {
            return vec![None];
        }
        self.partitions.iter().copied().map(Some).collect()
    }
}

impl Broker for KafkaBroker {
    async fn publish(&self, cx: &Context, message: Message) -> Result<(), MessagingError> {
        self.check(&message)?;
        let to = message::destination(&message.subject)?;
        let reply = message.reply_to.as_deref().map(message::destination);
        let (reply, answers) = (reply.transpose()?, to.answers.as_deref());
        let headers = message::headers(&message, cx.trace.as_ref(), reply.as_ref(), answers);
        let publish = |partition| {
            self.kafka.publish(Outbound {
                topic: &to.topic,
                key: to.key.as_deref(),
                partition,
                body: &message.body,
                headers: headers.clone(),
            })
        };
        let all = self.each_partition(&to).into_iter().map(publish);
        futures::future::try_join_all(all).await.map(drop)
    }

    async fn request(
        &self,
        cx: &Context,
        message: Message,
        _timeout: Duration,
        replies: &mut Replies,
    ) -> Result<(), MessagingError> {
        self.check(&message)?;
        let to = message::destination(&message.subject)?;
        let answers = self.kafka.answers().await?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut asked = answers.ask(number, replies.expected());
        let reply = Destination {
            topic: self.kafka.settings.reply_topic.clone(),
            key: None,
            answers: Some(asked.id.clone()),
        };
        let out = Outbound {
            topic: &to.topic,
            key: to.key.as_deref(),
            partition: self.partition(&to),
            body: &message.body,
            headers: message::headers(&message, cx.trace.as_ref(), Some(&reply), None),
        };
        self.kafka.publish(out).await?;
        while let Some(answer) = asked.answer().await {
            let answer = message::arriving(&answer, false).message;
            // An answer is not answered.
            let reply_to = None;
            if replies.take(Message { reply_to, ..answer }) {
                return Ok(());
            }
        }
        Err(MessagingError::Disconnected("Kafka"))
    }
}
