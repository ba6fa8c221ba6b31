//! Queues whose messages a component gets.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use lattice_provider_sdk::messaging::{
    Again, DeadLetter, DeadLetterTo, Deliverer, Intake, Tasks, Verdict,
};
use lattice_provider_sdk::{Backoff, BoxError, Shared, chain};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::line::{Confirmed, Line};
use crate::message;
use crate::rabbit::Rabbit;

/// The first and the longest pause before a queue is consumed again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is wrong with a queue at the moment.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// One queue of a link.
pub(crate) struct Queue {
    pub(crate) rabbit: Arc<Shared<Rabbit>>,
    pub(crate) deliverer: Deliverer,
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) quorum: bool,
}

/// Hands the messages of a queue to the component, until the link goes.
pub(crate) async fn begin(queue: Queue, intake: &Intake) -> Result<Trouble, lapin::Error> {
    let line = queue.rabbit.next_line().await;
    let (channel, consumer) = queue.open(&line).await?;
    let trouble = Trouble::default();
    let queue = Arc::new(queue);
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    let run = queue.run(channel, consumer, (leaving, tasks), Arc::clone(&trouble));
    intake.tasks().spawn(run);
    Ok(trouble)
}

impl Queue {
    /// Declares the queue with its bindings, and asks for its messages.
    async fn open(&self, line: &Line) -> Result<(Channel, Consumer), lapin::Error> {
        let channel = line.connection.create_channel().await?;
        let name = || self.name.as_str().into();
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        if self.quorum {
            let kind = AMQPValue::LongString("quorum".into());
            arguments.insert("x-queue-type".into(), kind);
        }
        channel.queue_declare(name(), durable, arguments).await?;
        for key in &self.keys {
            let exchange = self.rabbit.settings.exchange.as_str().into();
            let options = QueueBindOptions::default();
            let table = FieldTable::default();
            let bound = channel.queue_bind(name(), exchange, key.as_str().into(), options, table);
            bound.await?;
        }
        let at_once = u16::try_from(self.deliverer.rules().max_in_flight).unwrap_or(u16::MAX);
        channel
            .basic_qos(at_once, BasicQosOptions::default())
            .await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(name(), "".into(), options, FieldTable::default());
        let consumer = consumer.await?;
        Ok((channel, consumer))
    }

    async fn run(
        self: Arc<Self>,
        mut channel: Channel,
        mut consumer: Consumer,
        (leaving, tasks): (CancellationToken, Tasks),
        trouble: Trouble,
    ) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let tag = consumer.tag();
            tokio::select! {
                biased;
                () = leaving.cancelled() => {
                    // What is under way is still acknowledged, by the tasks that hold the channel.
                    let cancelled = channel.basic_cancel(tag, BasicCancelOptions::default());
                    if let Err(error) = cancelled.await {
                        tracing::debug!(%error, "could not cancel a consumer");
                    }
                    return;
                }
                why = self.take(&channel, &mut consumer, &tasks) => {
                    tracing::warn!(queue = self.name, why, "no more messages, consuming again");
                    *trouble.lock() = Some(format!("lost the queue `{}`: {why}", self.name));
                }
            }
            let again = async {
                loop {
                    tokio::time::sleep(backoff.delay()).await;
                    let line = self.rabbit.next_line().await;
                    match self.open(&line).await {
                        Ok(opened) => return opened,
                        Err(error) => *trouble.lock() = Some(chain(&error)),
                    }
                }
            };
            tokio::select! {
                biased;
                () = leaving.cancelled() => return,
                opened = again => (channel, consumer) = opened,
            }
            *trouble.lock() = None;
            backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        }
    }

    /// Starts on each message that comes; returns why no more come.
    async fn take(
        self: &Arc<Self>,
        channel: &Channel,
        consumer: &mut Consumer,
        tasks: &Tasks,
    ) -> String {
        loop {
            let room = self.deliverer.room().await;
            match consumer.next().await {
                Some(Ok(delivery)) => {
                    // Acknowledgements need the channel, which closes with the last one who has it.
                    let (this, channel) = (Arc::clone(self), channel.clone());
                    tasks.spawn(async move {
                        this.handle(delivery, room).await;
                        drop(channel);
                    });
                }
                Some(Err(error)) => return chain(&error),
                None => return "the server has ended it; was the queue deleted?".into(),
            }
        }
    }

    async fn handle(&self, delivery: Delivery, room: OwnedSemaphorePermit) {
        let arriving = message::arriving(&delivery);
        let verdict = self.deliverer.settle(&arriving, 0, Again::Here).await;
        match verdict {
            Verdict::Done | Verdict::Again(_) => {}
            Verdict::Dead(letter) => self.post(&delivery, &letter).await,
            // It goes back into the queue with the channel.
            Verdict::Left => return,
        }
        if let Err(error) = delivery.acker.ack(BasicAckOptions::default()).await {
            // It comes again on the next connection.
            tracing::debug!(%error, "could not acknowledge a message");
        }
        drop(room);
    }

    /// Posts a dead letter, for as long as it takes.
    async fn post(&self, original: &Delivery, letter: &DeadLetter) {
        let queue = match &self.deliverer.rules().dead_letter {
            DeadLetterTo::Nowhere => return,
            DeadLetterTo::Named(queue) => queue.clone(),
            DeadLetterTo::Usual => format!("{}.dead", self.name),
        };
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        while let Err(error) = self.try_post(&queue, original, letter).await {
            tracing::warn!(queue, %error, "could not post a dead letter, the message is kept");
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    async fn try_post(
        &self,
        queue: &str,
        original: &Delivery,
        letter: &DeadLetter,
    ) -> Result<(), BoxError> {
        let line = self.rabbit.next_line().await;
        let key = message::short(queue)?;
        let send = || {
            let properties = message::with_headers(&original.properties, letter.headers());
            line.post(key.clone(), &original.data, properties)
        };
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
}
