//! Consumers of JetStream.

mod consumer;
mod failures;
mod origins;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures::StreamExt as _;
use lattice_provider_sdk::messaging::{
    Again, DeadLetter, DeadLetterTo, Deliverer, Intake, Tasks, Verdict,
};
use lattice_provider_sdk::{Backoff, BoxError, Shared};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(crate) use consumer::ConsumerError;
use consumer::Manners;
use failures::{Failures, delivered_too_often};

use crate::cluster::Cluster;
use crate::dead_letters::{self, DeadLetterTarget};
use crate::message;
use crate::reach::Reach;
use crate::settings::ConsumerSettings;

/// How long one fetch waits for messages at the server.
const FETCH_FOR: Duration = Duration::from_secs(10);
/// How often it is looked whether the connection is still the one that was asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first and the longest pause before messages are asked for again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// JetStream is not told more often than this that a message is being worked on.
const SHORTEST_ALIVE: Duration = Duration::from_millis(20);
/// How long the handler may still take, when the link goes, over a message that does not come again.
/// What is left until all that is under way is cut off is for its letter.
const LAST_CALL: Duration = Duration::from_millis(1500);

/// What is wrong with a consumer at the moment.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// One consumer of a link.
pub(crate) struct Consumed {
    cluster: Arc<Shared<Cluster>>,
    /// Which streams are for the component.
    reach: Reach,
    deliverer: Deliverer,
    settings: ConsumerSettings,
    trouble: Trouble,
    /// Of the consumer as it was found last.
    manners: Mutex<Manners>,
    failures: Failures,
    /// Cancelled when the link goes.
    leaving: CancellationToken,
    /// Where letters go, if anywhere.
    dead_letter_target: Option<DeadLetterTarget>,
}

/// Finds the consumer, or makes it, and hands its messages to the component until the link goes.
/// `make` is told after how many deliveries the consumer itself gives a message up. Returns what is
/// wrong with it, and with its letters.
pub(crate) async fn begin(
    (cluster, reach): (&Arc<Shared<Cluster>>, Reach),
    make: impl FnOnce(Option<u32>) -> Deliverer,
    settings: ConsumerSettings,
    intake: &Intake,
) -> Result<[Trouble; 2], ConsumerError> {
    let consumer = consumer::open(&cluster.jetstream, &settings, &reach).await?;
    let manners = Manners::of(&consumer);
    let failures = Failures::default();
    failures.go_on_with(&consumer);
    let deliverer = make(manners.gives_up_after);
    let (trouble, unposted) = (Trouble::default(), Trouble::default());
    let usual = || format!("lattice.dead.{}.{}", settings.stream, settings.name);
    let subject = match &deliverer.rules().dead_letter {
        DeadLetterTo::Nowhere => None,
        DeadLetterTo::Named(subject) => Some((subject.clone(), true)),
        DeadLetterTo::Usual => Some((usual(), false)),
    };
    let dead_letter_target = subject
        .map(|(subject, is_named)| DeadLetterTarget::new(subject, is_named, Arc::clone(&unposted)));
    let consumed = Arc::new(Consumed {
        cluster: Arc::clone(cluster),
        reach,
        deliverer,
        settings,
        trouble: Arc::clone(&trouble),
        manners: Mutex::new(manners),
        failures,
        leaving: intake.leaving(),
        dead_letter_target,
    });
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    intake.tasks().spawn(async move {
        tokio::select! {
            biased;
            () = leaving.cancelled() => {}
            () = consumed.run(consumer, tasks) => {}
        }
    });
    Ok([trouble, unposted])
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
            let jetstream = &self.cluster.jetstream;
            match consumer::open(jetstream, &self.settings, &self.reach).await {
                Ok(again) => {
                    *self.manners.lock() = Manners::of(&again);
                    self.failures.go_on_with(&again);
                    return again;
                }
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
        let every = (self.manners.lock().ack_wait / 3).max(SHORTEST_ALIVE);
        tokio::select! {
            biased;
            () = done => {}
            () = keep_alive(&message, every) => {}
        }
        drop(room);
    }

    async fn settle(&self, message: &Message) -> AckKind {
        let info = message.info();
        let (delivered, number) =
            info.map_or((1, 0), |info| (info.delivered, info.stream_sequence));
        let is_last = self.manners.lock().is_last(delivered);
        let before = self.failed_before(delivered, number, is_last);
        // One at a time means in order, which a message that is given back would lose.
        let again = match self.deliverer.rules().max_in_flight {
            1 => Again::Here,
            _ => Again::Broker,
        };
        let arriving = message::arriving(&message.message, true);
        let settled = self.deliverer.settle(&arriving, before, again);
        let verdict = tokio::select! {
            biased;
            verdict = settled => verdict,
            () = self.is_gone(), if is_last => Verdict::Left,
        };
        match &verdict {
            Verdict::Again(_) => self.failures.add(number),
            Verdict::Done | Verdict::Dead(_) => self.failures.forget(number),
            Verdict::Left => {}
        }
        match verdict {
            Verdict::Done => AckKind::Ack,
            Verdict::Again(after) => AckKind::Nak(Some(self.pause(after, before, delivered))),
            Verdict::Left if is_last => {
                // A consumer of theirs would keep it without ever giving it to anybody.
                let cause = "the link went before the component had taken the message";
                let letter = self.deliverer.letter(&arriving, before, cause.into());
                self.bury(message, &letter).await
            }
            Verdict::Left => AckKind::Nak(None),
            Verdict::Dead(letter) => self.bury(message, &letter).await,
        }
    }

    /// How many attempts have failed before the delivery of number `delivered`.
    fn failed_before(&self, delivered: i64, number: u64, is_last: bool) -> u32 {
        let attempts = self.deliverer.rules().max_deliver;
        match is_last || delivered_too_often(delivered, attempts) {
            // Whatever became of the others: after this one it is given up, by the server or here.
            true => before_this_one(delivered),
            false => self.failures.of(number),
        }
    }

    /// How long a message waits that failed: longer than `after` where other copies have failed before
    /// this one, which do not begin anew.
    fn pause(&self, after: Duration, before: u32, delivered: i64) -> Duration {
        let deliveries = before_this_one(delivered);
        match deliveries > before {
            true => after.max(self.deliverer.rules().pause(deliveries.saturating_add(1))),
            false => after,
        }
    }

    /// Keeps a message as a letter, if anywhere, so that JetStream need not.
    async fn bury(&self, message: &Message, letter: &DeadLetter) -> AckKind {
        if let Some(dead_letter_target) = &self.dead_letter_target {
            dead_letters::keep(&self.cluster, dead_letter_target, &message.message, letter).await;
        }
        AckKind::Term
    }

    /// Waits until the link has gone, and what was begun before has had some time.
    async fn is_gone(&self) {
        self.leaving.cancelled().await;
        tokio::time::sleep(LAST_CALL).await;
    }
}

/// How often a message was delivered before this time.
fn before_this_one(delivered: i64) -> u32 {
    u32::try_from(delivered.saturating_sub(1)).unwrap_or(u32::MAX)
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
