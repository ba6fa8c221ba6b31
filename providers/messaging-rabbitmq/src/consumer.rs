//! Queues whose messages a component gets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use lattice_provider_sdk::messaging::{Again, Arriving, Deliverer, Intake, Tasks, Verdict};
use lattice_provider_sdk::{Backoff, Shared, chain};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bindings::Bindings;
use crate::dead_letters::{self, DeadLetterTarget};
use crate::given_back::GivenBack;
use crate::message;
use crate::queue;
use crate::rabbit::Rabbit;
use crate::settings::QueueKind;

/// The first and the longest pause before a queue is consumed again.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a message is held, handler included: servers take messages from those who have them for half
/// an hour, and close their channel.
const LONGEST_HELD: Duration = Duration::from_secs(25 * 60);
/// How messages go back.
const REQUEUE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: true,
};

/// What is wrong with a queue at the moment.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// One queue of a link.
pub(crate) struct Queue {
    pub(crate) rabbit: Arc<Shared<Rabbit>>,
    pub(crate) deliverer: Deliverer,
    pub(crate) name: String,
    pub(crate) kind: QueueKind,
    pub(crate) bindings: Arc<Bindings>,
    /// Where letters go.
    pub(crate) dead_letter_target: DeadLetterTarget,
    pub(crate) given_back: GivenBack,
}

/// A channel that brings messages.
struct Opened {
    channel: Channel,
    consumer: Consumer,
    /// Cancelled when the server has the messages back that it brought.
    closed: CancellationToken,
}

/// What a message is held with.
struct Held {
    /// Acknowledgements need it, and it closes with the last one who has it.
    _channel: Channel,
    closed: CancellationToken,
    leaving: CancellationToken,
}

impl Held {
    fn new(opened: &Opened, leaving: &CancellationToken) -> Self {
        Self {
            _channel: opened.channel.clone(),
            closed: opened.closed.clone(),
            leaving: leaving.clone(),
        }
    }
}

/// Hands the messages of a queue that is there to the component, until the link goes.
pub(crate) async fn begin(
    queue: Queue,
    channel: Channel,
    intake: &Intake,
) -> Result<Trouble, lapin::Error> {
    let opened = queue.consume(channel).await?;
    let trouble = Trouble::default();
    let queue = Arc::new(queue);
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    let run = queue.run(opened, (leaving, tasks), Arc::clone(&trouble));
    intake.tasks().spawn(run);
    Ok(trouble)
}

/// Asks for no more. What is under way is still acknowledged, by the tasks that hold the channel.
async fn leave(opened: &Opened) {
    let options = BasicCancelOptions::default();
    let cancelled = opened.channel.basic_cancel(opened.consumer.tag(), options);
    if let Err(error) = cancelled.await {
        tracing::debug!(%error, "could not cancel a consumer");
    }
}

impl Queue {
    /// Asks for the messages of the queue.
    async fn consume(&self, channel: Channel) -> Result<Opened, lapin::Error> {
        let at_once = u16::try_from(self.deliverer.rules().max_in_flight).unwrap_or(u16::MAX);
        channel
            .basic_qos(at_once, BasicQosOptions::default())
            .await?;
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let name = self.name.as_str().into();
        let consumer = channel.basic_consume(name, "".into(), options, table);
        Ok(Opened {
            consumer: consumer.await?,
            channel,
            closed: CancellationToken::new(),
        })
    }

    /// Makes what may be missing by now, and asks for messages again.
    async fn open_again(&self) -> Result<Opened, lapin::Error> {
        let line = self.rabbit.next_intake().await;
        let channel = queue::declare(&line.connection, &self.name, self.kind).await?;
        self.bindings.add(&line.connection).await?;
        self.consume(channel).await
    }

    async fn run(
        self: Arc<Self>,
        mut opened: Opened,
        (leaving, tasks): (CancellationToken, Tasks),
        trouble: Trouble,
    ) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            tokio::select! {
                biased;
                () = leaving.cancelled() => return leave(&opened).await,
                why = self.take(&mut opened, &leaving, &tasks) => {
                    opened.closed.cancel();
                    tracing::warn!(queue = self.name, why, "no more messages, consuming again");
                    *trouble.lock() = Some(format!("lost the queue `{}`: {why}", self.name));
                }
            }
            let again = async {
                loop {
                    tokio::time::sleep(backoff.delay()).await;
                    match self.open_again().await {
                        Ok(opened) => return opened,
                        Err(error) => *trouble.lock() = Some(chain(&error)),
                    }
                }
            };
            tokio::select! {
                biased;
                () = leaving.cancelled() => return,
                again = again => opened = again,
            }
            *trouble.lock() = None;
            backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        }
    }

    /// Starts on each message that comes; returns why no more come. The server is listened to while
    /// there is no room, of which messages of a lost channel may take some.
    async fn take(
        self: &Arc<Self>,
        opened: &mut Opened,
        leaving: &CancellationToken,
        tasks: &Tasks,
    ) -> String {
        // The server lets us have as many as there is room for.
        let mut waiting = VecDeque::new();
        loop {
            let next = tokio::select! {
                next = opened.consumer.next() => next,
                room = self.deliverer.room(), if !waiting.is_empty() => {
                    if let Some(delivery) = waiting.pop_front() {
                        let held = Held::new(opened, leaving);
                        let this = Arc::clone(self);
                        tasks.spawn(async move { this.handle(delivery, &held, room).await });
                    }
                    continue;
                }
            };
            match next {
                Some(Ok(delivery)) => waiting.push_back(delivery),
                Some(Err(error)) => return chain(&error),
                None => return "the server has ended it; was the queue deleted?".into(),
            }
        }
    }

    async fn handle(&self, delivery: Delivery, held: &Held, _room: OwnedSemaphorePermit) {
        if held.closed.is_cancelled() {
            return;
        }
        let until = Instant::now() + LONGEST_HELD;
        let arriving = message::arriving(&delivery);
        let message = &arriving.message;
        let mut failed = match delivery.redelivered {
            true => self.given_back.of(message),
            false => 0,
        };
        let is_done = match self.settle(&arriving, &mut failed, held, until).await {
            Verdict::Done | Verdict::Again(_) => true,
            Verdict::Dead(letter) => {
                failed = letter.attempts;
                let original = (&delivery, &arriving);
                tokio::select! {
                    biased;
                    // It comes again, and fails again.
                    () = held.closed.cancelled() => false,
                    () = dead_letters::post(&self.rabbit, &self.dead_letter_target, original, &letter) => true,
                    () = tokio::time::sleep_until(until) => false,
                }
            }
            Verdict::Left => false,
        };
        match is_done {
            true => self.given_back.forget(message),
            // Before it can come again.
            false => self.given_back.put(message, failed),
        }
        let answered = match is_done {
            true => delivery.acker.ack(BasicAckOptions::default()).await,
            false => delivery.acker.nack(REQUEUE).await,
        };
        if let Err(error) = answered {
            // It comes again on the next connection.
            tracing::debug!(%error, "could not acknowledge a message");
        }
    }

    /// Has the component handle a message at which so many attempts have failed, which is counted on. One
    /// that it cannot be given for long goes back: the server would take back all that the channel has
    /// brought.
    async fn settle(
        &self,
        arriving: &Arriving,
        failed: &mut u32,
        held: &Held,
        until: Instant,
    ) -> Verdict {
        let over = held.leaving.child_token();
        let deliverer = self.deliverer.while_held(over.clone());
        let last_attempt = until.checked_sub(deliverer.rules().timeout);
        let settled = attempts(&deliverer, arriving, failed, &over);
        tokio::pin!(settled);
        tokio::select! {
            biased;
            verdict = &mut settled => return verdict,
            () = held.closed.cancelled() => {}
            () = tokio::time::sleep_until(last_attempt.unwrap_or(until)) => {
                let queue = &*self.name;
                tracing::warn!(queue, "gave a message back that could not be delivered for long");
            }
        }
        over.cancel();
        settled.await
    }
}

/// Has attempts made until one is the last, or the message is to go back; counts those that have failed.
async fn attempts(
    deliverer: &Deliverer,
    arriving: &Arriving,
    failed: &mut u32,
    over: &CancellationToken,
) -> Verdict {
    loop {
        let pause = match deliverer.settle(arriving, *failed, Again::Broker).await {
            Verdict::Again(pause) => pause,
            verdict => return verdict,
        };
        *failed = failed.saturating_add(1);
        tokio::select! {
            biased;
            () = over.cancelled() => return Verdict::Left,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
