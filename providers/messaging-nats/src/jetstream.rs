//! Consumers of JetStream.

mod consumer;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures::StreamExt as _;
use lattice_provider_sdk::messaging::{Again, DeadLetterTo, Deliverer, Intake, Tasks, Verdict};
use lattice_provider_sdk::{Backoff, BoxError, Shared};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use consumer::ConsumerError;

use crate::cluster::Cluster;
use crate::settings::ConsumerSettings;
use crate::{letters, message};

/// How long one fetch waits for messages at the server.
const FETCH_FOR: Duration = Duration::from_secs(10);
/// How often it is looked whether the connection is still the one that was asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first and the longest pause before messages are asked for again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is wrong with a consumer at the moment.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// One consumer of a link.
pub(crate) struct Consumed {
    cluster: Arc<Shared<Cluster>>,
    deliverer: Deliverer,
    settings: ConsumerSettings,
    trouble: Trouble,
    /// Where letters go, if anywhere.
    letters: Option<String>,
}

/// Finds the consumer, or makes it, and hands its messages to the component until the link goes.
/// `make` is told after how many deliveries the consumer itself gives a message up.
pub(crate) async fn begin(
    cluster: &Arc<Shared<Cluster>>,
    make: impl FnOnce(Option<u32>) -> Deliverer,
    settings: ConsumerSettings,
    intake: &Intake,
) -> Result<Trouble, ConsumerError> {
    let consumer = consumer::open(&cluster.jetstream, &settings).await?;
    let deliverer = make(consumer::gives_up_after(&consumer));
    let letters = match &deliverer.rules().dead_letter {
        DeadLetterTo::Nowhere => None,
        DeadLetterTo::Named(subject) => Some(subject.clone()),
        DeadLetterTo::Usual => Some(format!(
            "lattice.dead.{}.{}",
            settings.stream, settings.name
        )),
    };
    let trouble = Trouble::default();
    let consumed = Arc::new(Consumed {
        cluster: Arc::clone(cluster),
        deliverer,
        settings,
        trouble: Arc::clone(&trouble),
        letters,
    });
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    intake.tasks().spawn(async move {
        tokio::select! {
            biased;
            () = leaving.cancelled() => {}
            () = consumed.run(consumer, tasks) => {}
        }
    });
    Ok(trouble)
}

impl Consumed {
    async fn run(self: Arc<Self>, mut consumer: PullConsumer, tasks: Tasks) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let Err(error) = self.fetch(&consumer, &tasks).await else {
                *self.trouble.lock() = None;
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                continue;
            };
            let (stream, name) = (&*self.settings.stream, &*self.settings.name);
            tracing::warn!(stream, consumer = name, %error, "could not fetch messages");
            *self.trouble.lock() = Some(format!(
                "could not fetch from the consumer `{name}` of the stream `{stream}`: {error}"
            ));
            consumer = self.again(&mut backoff).await;
        }
    }

    /// Finds or makes the consumer again: it may have been deleted, with its stream or without.
    async fn again(&self, backoff: &mut Backoff) -> PullConsumer {
        loop {
            tokio::time::sleep(backoff.delay()).await;
            match consumer::open(&self.cluster.jetstream, &self.settings).await {
                Ok(again) => return again,
                Err(error) => *self.trouble.lock() = Some(lattice_provider_sdk::chain(&error)),
            }
        }
    }

    /// Asks for as many messages as there is room for, and starts on each that comes.
    async fn fetch(
        self: &Arc<Self>,
        consumer: &PullConsumer,
        tasks: &Tasks,
    ) -> Result<(), BoxError> {
        let first = self.deliverer.room().await;
        let most = self.settings.max_messages.saturating_sub(1);
        let mut rooms = self.deliverer.more_room(most);
        rooms.push(first);
        let nats = &self.cluster.nats;
        if !self.cluster.is_connected() {
            return Err("there is no connection to NATS at the moment".into());
        }
        let connection = nats
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed);
        let mut batch = consumer
            .batch()
            .max_messages(rooms.len())
            .expires(FETCH_FOR);
        if self.settings.max_bytes > 0 {
            batch = batch.max_bytes(self.settings.max_bytes);
        }
        let mut batch = batch.messages().await?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(room) = rooms.pop() {
            let next = loop {
                tokio::select! {
                    biased;
                    next = batch.next() => break next,
                    _ = look.tick() => {
                        // A server that was started again has forgotten what it was asked.
                        let now = nats.statistics().connects.load(std::sync::atomic::Ordering::Relaxed);
                        if now != connection {
                            return Ok(());
                        }
                    }
                }
            };
            match next {
                Some(Ok(message)) => {
                    let this = Arc::clone(self);
                    tasks.spawn(this.handle(message, room));
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Has one message handled, and tells JetStream what became of it.
    async fn handle(self: Arc<Self>, message: Message, room: OwnedSemaphorePermit) {
        let done = async {
            let kind = self.settle(&message).await;
            if let Err(error) = message.ack_with(kind).await {
                tracing::warn!(link = self.deliverer.link(), %error, "could not acknowledge a message");
            }
        };
        let every = (consumer::ack_wait(&self.settings) / 3).max(LOOK_EVERY);
        tokio::select! {
            biased;
            () = done => {}
            () = keep_alive(&message, every) => {}
        }
        drop(room);
    }

    async fn settle(&self, message: &Message) -> AckKind {
        let delivered = message.info().map_or(1, |info| info.delivered);
        let before = u32::try_from(delivered - 1).unwrap_or_default();
        // One at a time means in order, which a message that is given back would lose.
        let again = match self.deliverer.rules().max_in_flight {
            1 => Again::Here,
            _ => Again::Broker,
        };
        let arriving = message::arriving(&message.message, true);
        match self.deliverer.settle(&arriving, before, again).await {
            Verdict::Done => AckKind::Ack,
            Verdict::Again(after) => AckKind::Nak(Some(after)),
            Verdict::Left => AckKind::Nak(None),
            Verdict::Dead(letter) => {
                if let Some(subject) = &self.letters {
                    letters::keep(&self.cluster, subject, &message.message, &letter).await;
                }
                AckKind::Term
            }
        }
    }
}

/// Tells JetStream again and again that the message is being worked on; never ends.
async fn keep_alive(message: &Message, every: Duration) {
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    loop {
        ticks.tick().await;
        if let Err(error) = message.ack_with(AckKind::Progress).await {
            tracing::debug!(%error, "could not tell of progress");
        }
    }
}
