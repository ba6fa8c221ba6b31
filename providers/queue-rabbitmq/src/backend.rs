//! The queues behind one link.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::message::Delivery as Incoming;
use lapin::options::BasicAckOptions;
use lattice_provider_sdk::queue::{
    Delivery, Depth, Message, Outcome, QueueError, Queues, ReceiptKey, ReceiveOptions, Sent,
};
use lattice_provider_sdk::{Features, LinkError, LinkKey, Shared};
use tokio::time::Instant;

use crate::dead_letter_queue::DeadLetterQueue;
use crate::intake_line::IntakeLine;
use crate::leases::{LONGEST, Lease, fresh};
use crate::publish_line::{self, answered};
use crate::queue::{Queue, ready};
use crate::rabbit::Rabbit;
use crate::receive::receive;
use crate::room::Room;
use crate::settings::LinkSettings;
use crate::store::{self, MORE_AGAIN, nothing_said, packed};
use crate::stored_message::{self, History, Seen};

/// How many messages of one `send-many` are on their way at once.
const AT_ONCE: usize = 256;
/// The longest delay: what is checked before.
const LONGEST_DELAY_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct RabbitQueues {
    pub(crate) rabbit: Shared<Rabbit>,
    pub(crate) settings: LinkSettings,
    pub(crate) room: Arc<Room>,
}

impl RabbitQueues {
    pub(crate) fn new(rabbit: Shared<Rabbit>, settings: LinkSettings, link: LinkKey) -> Self {
        Self {
            room: rabbit.rooms.of(link),
            rabbit,
            settings,
        }
    }

    /// Whether RabbitMQ and the link's own queue are there.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let own = &self.settings.own;
        let looked = async {
            let line = self.rabbit.lines.intake_of_both()?;
            let queue = self.queue(&line, own).await?;
            let looked = answered(ready(&line.connection, &queue.name)).await;
            if looked.as_ref().err() == Some(&QueueError::NoSuchQueue) {
                // Made again, if the link makes queues.
                line.forget(own);
            }
            looked
        };
        looked.await.map(drop).map_err(|error| {
            LinkError::unavailable(match error {
                QueueError::NoSuchQueue => {
                    format!("there is no queue `{own}`; create it, or leave out `create`")
                }
                error => format!("the queue `{own}` cannot be used: {}", error.text()),
            })
        })
    }

    /// Whether RabbitMQ takes messages at the moment.
    pub(crate) fn check_sending(&self) -> Result<(), LinkError> {
        let line = self.rabbit.lines.publishing();
        let checked = line.map(drop);
        checked.map_err(|error| LinkError::unavailable(error.text()))
    }

    pub(crate) fn features(&self) -> Features {
        Features::new()
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .lacking("paging")
            .with("delay", LONGEST_DELAY_MS)
            .lacking("dedup")
            .lacking("groups")
            .with("order", "fifo")
            .with("max-message-bytes", self.settings.largest)
            .with("max-lease-ms", LONGEST.as_millis())
            .having("dead-letter")
            .with("depth", "ready-only")
    }

    async fn queue(&self, line: &IntakeLine, name: &str) -> Result<Arc<Queue>, QueueError> {
        line.queue(name, self.settings.creates(name)).await
    }

    /// Refuses what RabbitMQ cannot do with a message.
    fn possible(&self, message: &Message) -> Result<(), QueueError> {
        if message.dedup_id.is_some() {
            return Err(QueueError::unsupported("dedup: RabbitMQ keeps no ids"));
        }
        if message.group.is_some() {
            let what = "groups: RabbitMQ has no order among some of a queue's messages";
            return Err(QueueError::unsupported(what));
        }
        stored_message::possible(message)?;
        match message.body.len() > self.settings.largest {
            true => Err(QueueError::TooLarge(self.settings.largest as u64)),
            false => Ok(()),
        }
    }

    fn lease(
        &self,
        line: &IntakeLine,
        queue: &Arc<Queue>,
        incoming: Incoming,
        lease: Duration,
    ) -> Delivery {
        let seen = match (incoming.redelivered, self.settings.queue.quorum) {
            (false, _) => Seen::Never,
            (true, true) => Seen::Counted,
            (true, false) => Seen::Before,
        };
        let (history, attempt) = stored_message::history(&incoming.properties, seen);
        let body = Bytes::from(incoming.data);
        let (receipt, now) = (fresh(), Instant::now());
        let delivery = Delivery {
            receipt: receipt.clone(),
            id: history.id.clone(),
            message: stored_message::read(&incoming.properties, body.clone()),
            attempt,
            enqueued_at_ms: history.enqueued_at_ms,
            lease_ms: u32::try_from(lease.as_millis()).unwrap_or(u32::MAX),
        };
        let held = Lease {
            _share: self.room.share(body.len()),
            lines: Arc::downgrade(&self.rabbit.lines),
            queue: Arc::clone(queue),
            acker: incoming.acker,
            is_full: !line.takes(&incoming.properties, MORE_AGAIN),
            dead_letters: DeadLetterQueue::of(&queue.name, &self.settings),
            properties: incoming.properties,
            body,
            history,
            attempt,
            since: now,
            until: now + lease,
        };
        self.rabbit.leases.put(&receipt, held);
        delivery
    }

    fn taken<'a>(&'a self, queue: &str, receipt: &'a str) -> Result<Taken<'a>, QueueError> {
        Ok(Taken {
            lease: Some(self.rabbit.leases.take(queue, receipt)?),
            queues: self,
            receipt,
        })
    }
}

impl Queues for RabbitQueues {
    // Each receive makes a consumer and cancels it.
    const POLL: Duration = Duration::from_secs(10);
    const LONGEST_LEASE: Duration = LONGEST;
    const LONGEST_HELD: Option<Duration> = Some(LONGEST);
    // It is sent again, with the attempts that it had.
    const COUNTS_GIVEN_BACK: bool = false;
    // A delivery is of the channel that received it.
    const HELD_HERE: bool = true;

    fn is_dead_letter_queue(&self, queue: &str) -> bool {
        self.settings.dead(queue) == queue
    }

    async fn receipt_key(&self, _queue: &str) -> Result<ReceiptKey, QueueError> {
        Ok(ReceiptKey::of_this_process())
    }

    async fn send(&self, queue: &str, message: Message, delay: Duration) -> Sent {
        self.possible(&message)?;
        let lines = &self.rabbit.lines;
        let line = lines.publishing()?;
        let history = History::new(fresh());
        let parcel = packed(&line, message, &history)?;
        let intake = lines.intake()?;
        let queue = self.queue(&intake, queue).await?;
        if delay.is_zero() {
            queue.lasting().await;
            store::store(lines, &queue.name, parcel).await?;
        } else {
            store::hold(lines, &queue, parcel, delay).await?;
        }
        Ok(history.id)
    }

    async fn send_many(
        &self,
        queue: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Sent>, QueueError> {
        let lines = &self.rabbit.lines;
        let line = lines.publishing()?;
        let intake = lines.intake()?;
        let there = self.queue(&intake, queue).await?;
        there.lasting().await;
        let mut sent: Vec<Sent> = Vec::with_capacity(messages.len());
        let mut parcels = Vec::new();
        for message in messages {
            let history = History::new(fresh());
            let possible = self.possible(&message);
            sent.push(
                match possible.and_then(|()| packed(&line, message, &history)) {
                    Ok(parcel) => {
                        parcels.push(parcel);
                        Ok(history.id)
                    }
                    Err(error) => Err(error),
                },
            );
        }
        let mut stored = Vec::with_capacity(parcels.len());
        let mut parcels = parcels.into_iter().peekable();
        // A queue with limits refuses what comes after it has noticed, not what is on its way already.
        let how = self.settings.queue;
        let at_once = match how == how.unlimited() {
            true => AT_ONCE,
            false => 1,
        };
        while parcels.peek().is_some() {
            let part: Vec<_> = parcels.by_ref().take(at_once).collect();
            let count = part.len();
            match line.publish(queue, part).await {
                Ok(answers) => stored.extend(answers),
                // What was stored before is told all the same.
                Err(error) if !stored.is_empty() => {
                    stored.extend(std::iter::repeat_n(Err(error), count));
                }
                Err(error) => return Err(error),
            }
        }
        if stored.contains(&Err(QueueError::NoSuchQueue)) {
            intake.forget(queue);
        }
        let mut stored = stored.into_iter();
        for sent in sent.iter_mut().filter(|sent| sent.is_ok()) {
            if let Err(error) = stored.next().unwrap_or_else(|| Err(nothing_said())) {
                *sent = Err(error);
            }
        }
        Ok(sent)
    }

    async fn receive(
        &self,
        queue: &str,
        want: ReceiveOptions,
    ) -> Result<Vec<Delivery>, QueueError> {
        let line = self.rabbit.lines.intake()?;
        let queue = self.queue(&line, queue).await?;
        let channel = queue.channel(&line).await?;
        let until = Instant::now() + want.wait;
        if self.room.is_full() {
            self.rabbit.leases.forget_lost();
        }
        let Some(room) = self.room.left(&queue.name, until).await else {
            return Ok(Vec::new());
        };
        let want = ReceiveOptions {
            wait: until.saturating_duration_since(Instant::now()),
            ..want
        };
        let got = receive(&queue, channel, want, room).await?;
        let got = got.take().into_iter();
        Ok(got
            .map(|incoming| self.lease(&line, &queue, incoming, want.lease))
            .collect())
    }

    async fn settle(&self, queue: &str, receipt: &str, how: Outcome) -> Result<(), QueueError> {
        // Nothing can be said without it.
        drop(self.rabbit.lines.intake()?);
        self.taken(queue, receipt)?.settle(how).await
    }

    async fn give_back(&self, queue: &str, receipt: &str) -> Result<(), QueueError> {
        self.taken(queue, receipt)?.give_back().await
    }

    async fn extend(&self, queue: &str, receipt: &str, lease: Duration) -> Result<(), QueueError> {
        let mut taken = self.taken(queue, receipt)?;
        let Some(held) = &mut taken.lease else {
            return Err(QueueError::ReceiptExpired);
        };
        let until = Instant::now() + lease;
        let latest = held.since + LONGEST;
        if until > latest {
            held.until = latest;
            return Err(QueueError::unsupported(format!(
                "max-lease-ms: RabbitMQ lets nobody have a message for longer than {LONGEST:?} in all"
            )));
        }
        held.until = until;
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<Depth, QueueError> {
        let line = self.rabbit.lines.intake()?;
        let queue = self.queue(&line, queue).await?;
        let count = |name: String| {
            let line = Arc::clone(&line);
            async move { publish_line::answered(ready(&line.connection, &name)).await }
        };
        let dead = match count(self.settings.dead(&queue.name)).await {
            Ok(dead) => dead,
            Err(QueueError::NoSuchQueue) => 0,
            Err(error) => return Err(error),
        };
        Ok(Depth {
            ready: count(queue.name.clone()).await?,
            leased: None,
            delayed: None,
            dead: Some(dead),
        })
    }
}

/// A lease that was taken to settle or extend it: it is put back unless it was settled, also when
/// the caller gives up in the middle.
struct Taken<'a> {
    queues: &'a RabbitQueues,
    receipt: &'a str,
    lease: Option<Lease>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.queues.rabbit.leases.put(self.receipt, lease);
        }
    }
}

impl Taken<'_> {
    async fn settle(self, how: Outcome) -> Result<(), QueueError> {
        let Some(lease) = &self.lease else {
            return Err(QueueError::ReceiptExpired);
        };
        let lines = &self.queues.rabbit.lines;
        let is_counted = self.queues.settings.queue.quorum && !lease.is_worn();
        let gives_back = match how {
            Outcome::Ack => false,
            // A quorum queue counts what is given back.
            Outcome::Retry(None | Some(0)) if is_counted => true,
            Outcome::Retry(delay) => {
                let delay = Duration::from_millis(delay.unwrap_or(0).into());
                lease.send_again(lines, lease.attempt, delay).await?;
                false
            }
            Outcome::Reject(why) => {
                lease.dead_letters.store(lines, lease, &why).await?;
                false
            }
        };
        self.end(gives_back).await
    }

    /// Has the message come again as if this delivery had not been. The server would count it, so it is
    /// sent again.
    async fn give_back(self) -> Result<(), QueueError> {
        let Some(lease) = &self.lease else {
            return Err(QueueError::ReceiptExpired);
        };
        let before = lease.attempt.saturating_sub(1);
        let lines = &self.queues.rabbit.lines;
        lease.send_again(lines, before, Duration::ZERO).await?;
        self.end(false).await
    }

    async fn end(mut self, gives_back: bool) -> Result<(), QueueError> {
        let Some(lease) = &self.lease else {
            return Err(QueueError::ReceiptExpired);
        };
        let queue = Arc::clone(&lease.queue);
        answered(async {
            if gives_back {
                lease.give_back().await;
                return Ok(());
            }
            let acked = lease.acker.ack(BasicAckOptions::default()).await;
            acked.map(drop).map_err(publish_line::lost)
        })
        .await?;
        // Said, whatever comes of it: the server gives the message again if it has not heard.
        self.lease = None;
        answered(queue.sync()).await
    }
}
