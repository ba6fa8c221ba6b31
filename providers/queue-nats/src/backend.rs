//! The queues behind one link.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use futures::StreamExt as _;
use lattice_provider_sdk::queue::{
    Delivery, Depth, Message, Outcome, QueueError, Queues, ReceiptKey, ReceiveOptions, Sent,
    dead_letter, smaller_dead_letter,
};
use lattice_provider_sdk::{Features, LinkError, Shared, chain};
use tokio::time::Instant;

use crate::ack::Ack;
use crate::cluster::Cluster;
use crate::later::{MOVE_TO, later_id};
use crate::leases::Lease;
use crate::pull::{LOOK, LOOK_IN_LANES, SHORT_LOOK};
use crate::queue::{Queue, adjust};
use crate::settings::LinkSettings;
use crate::stored_message::{
    self, DEAD_ROOM, DEDUP_ID, MOVED_ID, MOVED_ROOM, MOVED_TIME, NOT_BEFORE,
};
use crate::wire::Reason;

/// How many messages of one `send-many` are on their way at once.
const AT_ONCE: usize = 256;

/// The longest delay and the longest lease: what is checked before.
const LONGEST_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct NatsQueues {
    cluster: Shared<Cluster>,
    settings: LinkSettings,
}

impl NatsQueues {
    pub(crate) fn new(cluster: Shared<Cluster>, settings: LinkSettings) -> Self {
        Self { cluster, settings }
    }

    /// Makes sure of the link's own queue.
    pub(crate) async fn open_own(&self) -> Result<(), LinkError> {
        let own = &self.settings.own;
        let opened = async {
            let queue = self.queue(own).await?;
            let js = &self.cluster.wire.jetstream;
            let adjusted = adjust(js, &queue, &self.settings.queue).await;
            if !matches!(adjusted, Ok(true)) {
                // Opened again as it is now; another copy of the provider may have changed it.
                self.cluster.forget(&queue.name);
            }
            adjusted.map(drop)
        };
        opened.await.map_err(|error| self.no_queue(&error))
    }

    fn no_queue(&self, error: &QueueError) -> LinkError {
        let own = &self.settings.own;
        LinkError::unavailable(match error {
            QueueError::NoSuchQueue => {
                format!("there is no queue `{own}`; create it, or leave out `create`")
            }
            error => format!("the queue `{own}` cannot be used: {}", error.text()),
        })
    }

    /// Whether NATS and the link's own queue are there.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let looked = async {
            let queue = self.queue(&self.settings.own).await?;
            match queue.stream.get_info().await {
                Ok(_) => Ok(()),
                Err(error) => {
                    // Made again, if the link makes queues.
                    self.cluster.forget(&queue.name);
                    Err(QueueError::unavailable(chain(&error)))
                }
            }
        };
        looked.await.map_err(|error| self.no_queue(&error))
    }

    pub(crate) fn features(&self) -> Features {
        let known = self.cluster.wire.max_payload().saturating_sub(DEAD_ROOM);
        let most = usize::try_from(self.settings.queue.max_message_bytes);
        let most = most.map_or(known, |most| most.min(known));
        Features::new()
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .lacking("paging")
            .with("delay", LONGEST_MS)
            .with("dedup", self.settings.queue.window.as_millis())
            .having("groups")
            .with("order", "fifo")
            .with("max-message-bytes", most)
            .with("max-lease-ms", LONGEST_MS)
            .having("dead-letter")
            // JetStream does not tell those that somebody has from those that have come back.
            .with("depth", "approximate")
    }

    async fn queue(&self, name: &str) -> Result<Arc<Queue>, QueueError> {
        let create = self.settings.creates(name).then_some(&self.settings.queue);
        self.cluster.queue(name, create).await
    }

    /// What `done` says; a queue that is gone is looked up again by the next call.
    fn noted<T>(&self, queue: &Queue, done: Result<T, QueueError>) -> Result<T, QueueError> {
        if done.as_ref().err() == Some(&QueueError::NoSuchQueue) {
            self.cluster.forget(&queue.name);
        }
        done
    }

    async fn store(&self, queue: &Queue, message: Message, reason: &Reason) -> Sent {
        let wire = &self.cluster.wire;
        let headers = stored_message::headers(&message);
        let most = queue.most_sent(wire);
        stored_message::fits(&headers, message.body.len(), most)?;
        let subject = queue.subject(message.group.as_deref());
        let stored = wire.publish_among(subject, headers, message.body, most, reason);
        Ok(self.noted(queue, stored.await)?.sequence.to_string())
    }

    async fn store_for_later(&self, queue: &Queue, message: Message, delay: Duration) -> Sent {
        let wire = &self.cluster.wire;
        let mut headers = stored_message::headers(&message);
        let due = stored_message::now_ms().saturating_add(stored_message::millis(delay));
        headers.insert(NOT_BEFORE, due.to_string().as_str());
        let subject = queue.subject(message.group.as_deref());
        headers.insert(MOVE_TO, subject.as_str());
        let most = queue.most_sent(wire).saturating_sub(MOVED_ROOM);
        stored_message::fits(&headers, message.body.len(), most)?;
        let later = queue.later.cached_info().config.name.clone();
        let stored = wire.publish(later, headers, message.body, most);
        Ok(later_id(self.noted(queue, stored.await)?.sequence))
    }

    /// What is ready now of messages with a group; `look` is for how long it is looked at most.
    async fn ready(
        &self,
        queue: &Queue,
        want: ReceiveOptions,
        look: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let wire = &self.cluster.wire;
        let mut got = Vec::new();
        let in_use = queue.lanes.in_use().await?;
        let parts = in_use.chunks(want.max);
        let look = look.min(LOOK_IN_LANES);
        let each = u32::try_from(parts.len()).map_or(look, |parts| look / parts.max(1));
        let each = each.max(SHORT_LOOK);
        for lanes in parts {
            if got.len() >= want.max {
                break;
            }
            // Each lane gives one message at most, so that as many are asked as are wanted.
            let left = want.max - got.len();
            let pulls = lanes.iter().take(left);
            let pulls = pulls.map(|lane| lane.pull(wire, 1, Duration::ZERO, each));
            for pulled in futures::future::join_all(pulls).await {
                got.extend(self.leased(queue, pulled.unwrap_or_default(), want.lease));
            }
        }
        Ok(got)
    }

    /// Deliveries whose leases are kept from here on.
    fn leased(
        &self,
        queue: &Queue,
        messages: Vec<async_nats::Message>,
        lease: Duration,
    ) -> Vec<Delivery> {
        let messages = messages.into_iter();
        messages
            .filter_map(|message| self.lease(queue, message, lease))
            .collect()
    }

    fn lease(
        &self,
        queue: &Queue,
        message: async_nats::Message,
        lease: Duration,
    ) -> Option<Delivery> {
        let receipt = message.reply.as_ref()?.to_string();
        let ack = Ack::read(&receipt)?;
        let Cluster {
            wire,
            leases,
            counts,
            ..
        } = &*self.cluster;
        let attempt = match wire.counts_attempts() {
            true => ack.delivered,
            false => counts.count(&queue.name, &receipt, &ack, |held| leases.is_held(held))?,
        };
        let now = Instant::now();
        let held = Lease {
            queue: queue.name.clone(),
            sequence: ack.sequence,
            attempt,
            until: now + lease,
            patience: queue.patience,
            renewed: now,
        };
        leases.put(&receipt, held);
        let headers = message.headers.as_ref();
        let moved = headers.and_then(|headers| stored_message::text(headers, MOVED_ID));
        Some(Delivery {
            receipt,
            id: moved.unwrap_or_else(|| ack.sequence.to_string()),
            attempt,
            enqueued_at_ms: stored_message::number(headers, MOVED_TIME).unwrap_or(ack.published_ms),
            lease_ms: u32::try_from(lease.as_millis()).unwrap_or(u32::MAX),
            message: stored_message::read(headers, message.payload.clone()),
        })
    }

    /// Stores a message among the dead letters. Storing it again, when it could not be acknowledged
    /// in its queue, has no effect.
    async fn move_to_dead_letters(
        &self,
        queue: &Queue,
        lease: &Lease,
        why: &str,
    ) -> Result<(), QueueError> {
        let dead = self.settings.dead(&queue.name);
        let raw = queue.stream.get_raw_message(lease.sequence).await;
        let raw = raw.map_err(|error| QueueError::unavailable(chain(&error)))?;
        let stored = raw.time.unix_timestamp_nanos();
        let message = stored_message::read(Some(&raw.headers), raw.payload);
        let mut letter = dead_letter(message, &queue.name, lease.attempt, why);
        let dead_letters = self.dead_letter_queue(&dead).await?;
        // A queue that was made again counts from 1 again.
        let id = format!("dead-{}-{}-{stored}", queue.stream_name(), lease.sequence);
        let mut left_out = Vec::new();
        while let Err(error) = self.store_dead(&dead_letters, &letter, &id).await {
            letter = smaller_dead_letter(letter, error, &mut left_out)?;
        }
        if !left_out.is_empty() {
            let queue = queue.name.as_str();
            let what = "a dead letter is kept without what its queue did not take";
            tracing::error!(queue, ?left_out, "{what}");
        }
        Ok(())
    }

    async fn store_dead(
        &self,
        dead_letters: &Queue,
        letter: &Message,
        id: &str,
    ) -> Result<(), QueueError> {
        let wire = &self.cluster.wire;
        let mut headers = stored_message::headers(letter);
        headers.insert(DEDUP_ID, id);
        headers.insert(MOVED_ID, id);
        let (body, most) = (letter.body.clone(), dead_letters.most(wire));
        stored_message::fits(&headers, body.len(), most)?;
        let stored = wire.publish(dead_letters.subject(None), headers, body, most);
        self.noted(dead_letters, stored.await).map(drop)
    }

    /// The dead-letter queue, which has no limits of its own unless it was there before.
    async fn dead_letter_queue(&self, dead: &str) -> Result<Arc<Queue>, QueueError> {
        let mut unlimited = self.settings.queue.clone();
        (unlimited.max_messages, unlimited.max_bytes) = (-1, -1);
        unlimited.max_message_bytes = -1;
        let create = self.settings.create != crate::settings::Create::No;
        let made = self.cluster.queue(dead, create.then_some(&unlimited)).await;
        made.map_err(|error| match error {
            QueueError::NoSuchQueue => QueueError::unsupported(format!(
                "dead-letter: there is no queue `{dead}`, and the link creates none"
            )),
            error => error,
        })
    }
}

impl Queues for NatsQueues {
    // The leases of a process are its own.
    const HELD_HERE: bool = true;

    fn is_dead_letter_queue(&self, queue: &str) -> bool {
        self.settings.dead(queue) == queue
    }

    async fn receipt_key(&self, _queue: &str) -> Result<ReceiptKey, QueueError> {
        Ok(ReceiptKey::of_this_process())
    }

    async fn send(&self, queue: &str, message: Message, delay: Duration) -> Sent {
        let queue = self.queue(queue).await?;
        match delay.is_zero() {
            true => self.store(&queue, message, &Reason::default()).await,
            false => self.store_for_later(&queue, message, delay).await,
        }
    }

    async fn send_many(
        &self,
        queue: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Sent>, QueueError> {
        let queue = self.queue(queue).await?;
        let (sent, reason) = (messages.into_iter(), Reason::default());
        let sent = sent.map(|message| self.store(&queue, message, &reason));
        Ok(futures::stream::iter(sent)
            .buffered(AT_ONCE)
            .collect()
            .await)
    }

    async fn receive(
        &self,
        queue: &str,
        want: ReceiveOptions,
    ) -> Result<Vec<Delivery>, QueueError> {
        let queue = self.queue(queue).await?;
        let until = Instant::now() + want.wait;
        let mut look = LOOK;
        loop {
            let mut got = self.ready(&queue, want, look).await?;
            let left = want.max - got.len();
            if left > 0 {
                // One that waits for messages without a group looks for others now and then.
                let wait = until.saturating_duration_since(Instant::now());
                let wait = match got.is_empty() {
                    true => wait.min(queue.lanes.pause()),
                    false => Duration::ZERO,
                };
                let wire = &self.cluster.wire;
                let pulled = queue.workers.pull(wire, left, wait, look).await;
                match self.noted(&queue, pulled) {
                    Ok(messages) => got.extend(self.leased(&queue, messages, want.lease)),
                    Err(error) if got.is_empty() => return Err(error),
                    Err(_) => {}
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if !got.is_empty() || left.is_zero() {
                return Ok(got);
            }
            // One who has waited is told in time for his deadline.
            look = left.clamp(SHORT_LOOK, LOOK);
        }
    }

    async fn settle(&self, queue: &str, receipt: &str, how: Outcome) -> Result<(), QueueError> {
        let queue = self.queue(queue).await?;
        let lease = self.cluster.leases.take(&queue.name, receipt)?;
        let taken = Taken {
            queues: self,
            receipt,
            lease: Some(lease),
        };
        taken.settle(&queue, how).await
    }

    async fn extend(&self, queue: &str, receipt: &str, lease: Duration) -> Result<(), QueueError> {
        self.cluster.wire.connected()?;
        let held = self.cluster.leases.take(queue, receipt)?;
        let mut taken = Taken {
            queues: self,
            receipt,
            lease: Some(held),
        };
        let asked = Instant::now();
        let progress = AckKind::Progress;
        self.cluster.wire.acknowledge(receipt, progress).await?;
        if let Some(held) = &mut taken.lease {
            (held.until, held.renewed) = (asked + lease, asked);
        }
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<Depth, QueueError> {
        let queue = self.queue(queue).await?;
        let gone = |error: &dyn std::error::Error| QueueError::unavailable(chain(error));
        let info = queue.stream.get_info().await.map_err(|e| gone(&e))?;
        let (mut leased, mut waiting) = (0, 0);
        let mut consumers = queue.lanes.known().await?;
        consumers.push(queue.workers.clone());
        for consumer in consumers {
            let info = consumer.consumer.get_info().await.map_err(|e| gone(&e))?;
            leased += u64::try_from(info.num_ack_pending).unwrap_or(0);
            waiting += info.num_pending;
        }
        let delayed = queue.later.get_info().await.map_err(|e| gone(&e))?;
        let dead = match self
            .cluster
            .queue(&self.settings.dead(&queue.name), None)
            .await
        {
            Ok(dead) => {
                dead.stream
                    .get_info()
                    .await
                    .map_err(|e| gone(&e))?
                    .state
                    .messages
            }
            Err(QueueError::NoSuchQueue) => 0,
            Err(error) => return Err(error),
        };
        Ok(Depth {
            // A 2.9 server that was killed finds messages again that were acknowledged before, which it
            // gives to nobody.
            ready: info.state.messages.saturating_sub(leased).min(waiting),
            leased: Some(leased),
            delayed: Some(delayed.state.messages),
            dead: Some(dead),
        })
    }
}

/// A lease that was taken to settle or extend it: it is put back unless it was settled, also when
/// the caller gives up in the middle.
struct Taken<'a> {
    queues: &'a NatsQueues,
    receipt: &'a str,
    lease: Option<Lease>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.queues.cluster.leases.put(self.receipt, lease);
        }
    }
}

impl Taken<'_> {
    async fn settle(mut self, queue: &Queue, how: Outcome) -> Result<(), QueueError> {
        let wire = &self.queues.cluster.wire;
        let kind = match how {
            Outcome::Ack => AckKind::Ack,
            Outcome::Retry(delay) => {
                let delay = Duration::from_millis(delay.unwrap_or(0).into());
                AckKind::Nak((!delay.is_zero()).then_some(delay))
            }
            Outcome::Reject(why) => {
                if let Some(lease) = &self.lease {
                    self.queues.move_to_dead_letters(queue, lease, &why).await?;
                }
                AckKind::Ack
            }
        };
        let is_gone = matches!(kind, AckKind::Ack);
        wire.acknowledge(self.receipt, kind).await?;
        self.lease = None;
        if is_gone && let Some(ack) = Ack::read(self.receipt) {
            self.queues.cluster.counts.forget(&queue.name, &ack);
        }
        Ok(())
    }
}
