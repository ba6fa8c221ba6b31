//! The queues behind one link.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::queue::{
    DatedReceipt, Delivery, DeliveryAction, Depth, LeaseState, LeaseTable, Message, Outcome,
    QueueError, Queues, ReceiptKey, ReceiveOptions, Remembered, RemoteSettle, Sent,
};
use lattice_provider_sdk::{Features, LinkError, Shared, chain};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Again, Sqs};
use crate::error::by_code;
use crate::queues::QueueTable;
use crate::settings::LinkSettings;
use crate::stored_message::{self, BATCH, Letter};

/// The longest wait, lease and delay of SQS.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
const LONGEST_LEASE: Duration = Duration::from_secs(43_200);
const LONGEST_DELAY: Duration = Duration::from_secs(900);
/// The pause between looks within the last second of a wait, which SQS does not count in parts.
const LOOK: Duration = Duration::from_millis(200);
/// How many bytes of messages are remembered for the case that they are rejected.
const REMEMBERED: usize = 128 << 20;
/// How many bytes one receive takes, besides those of one more request: all of it has to be remembered.
const MOST_AT_ONCE: usize = 16 << 20;
/// What every queue takes that was not set up otherwise.
const USUAL_MOST: usize = 256 << 10;
/// What is left of that for what a dead letter tells besides.
const DEAD_ROOM: usize = 4 << 10;

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct SqsQueues {
    sqs: Shared<Arc<Sqs>>,
    link: LinkSettings,
    pub(crate) table: QueueTable,
    /// By handles. SQS says nothing when a message is deleted whose lease has ended: it deletes it, or
    /// leaves it.
    leases: LeaseTable<()>,
    pub(crate) given: Remembered,
}

impl SqsQueues {
    pub(crate) fn new(sqs: Shared<Arc<Sqs>>, link: LinkSettings) -> Self {
        Self {
            table: QueueTable::new(Arc::clone(&sqs), link.clone()),
            sqs,
            link,
            leases: LeaseTable::default(),
            given: Remembered::new(REMEMBERED),
        }
    }

    /// Looks whether the link's queues are there, and creates them if it says so.
    pub(crate) async fn open_own(&self) -> Result<(), LinkError> {
        let own = &self.link.own;
        for queue in [own.clone(), self.table.dead(own)] {
            match self.table.url(&queue).await {
                Ok(_) => {}
                // Dead letters may never come.
                Err(QueueError::NoSuchQueue) if queue != *own => {}
                Err(error) => return Err(self.unusable(&queue, &error).await),
            }
        }
        Ok(())
    }

    async fn unusable(&self, queue: &str, error: &QueueError) -> LinkError {
        match error {
            QueueError::Invalid(why) => LinkError::invalid(why.clone()),
            // The component is not told why, but who looks after the link is.
            QueueError::AccessDenied | QueueError::NoSuchQueue => match self.check().await {
                Err(error) => error,
                Ok(()) => LinkError::unavailable(format!("the queue `{queue}`: {}", error.text())),
            },
            error => LinkError::unavailable(error.text()),
        }
    }

    /// Whether SQS is there and has the link's queue.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let looked = self.table.look_for_own().await;
        looked.map_err(|error| LinkError::unavailable(chain(&error)))
    }

    pub(crate) fn features(&self) -> Features {
        let features = Features::new()
            // A receive asks some of the servers that keep a queue, and may miss what others have.
            .with("consistency", "eventual")
            .with("ttl", "queue")
            .lacking("cas")
            .lacking("paging")
            .with("order", "best-effort")
            .with("max-message-bytes", self.most_sent())
            .with("max-lease-ms", LONGEST_LEASE.as_millis())
            .having("dead-letter")
            .with("depth", "approximate");
        match self.link.fifo {
            true => features
                .having("groups")
                .with("dedup", 300_000)
                .lacking("delay"),
            false => features
                .lacking("groups")
                .lacking("dedup")
                .with("delay", LONGEST_DELAY.as_millis()),
        }
    }

    async fn ask(
        &self,
        queue: &str,
        action: &'static str,
        params: &Value,
        again: Again,
    ) -> Result<Value, QueueError> {
        let done = self.sqs.ask(action, params, again).await;
        self.table.checked(queue, done)
    }

    fn letter(&self, queue: &str, message: &Message) -> Result<Letter, QueueError> {
        let fifo = self.table.name(queue)?.fifo;
        stored_message::write(message, fifo, self.most_sent())
    }

    /// The largest dead letter that its queue is sure to take.
    fn most(&self) -> usize {
        self.link.largest.max(USUAL_MOST)
    }

    /// The largest message that is sent: as a dead letter it has to fit too.
    fn most_sent(&self) -> usize {
        self.link.largest.min(self.most() - DEAD_ROOM)
    }

    /// Sends what was written; its id.
    pub(crate) async fn post(&self, queue: &str, mut letter: Letter) -> Sent {
        let url = self.table.url(queue).await?;
        let url = Value::from(&*url);
        letter.params.insert("QueueUrl".to_owned(), url);
        let (params, again) = (letter.params.into(), self.again(queue)?);
        let answer = self.ask(queue, "SendMessage", &params, again).await?;
        Ok(text(&answer["MessageId"]))
    }

    /// Sending twice to a FIFO queue stores once.
    fn again(&self, queue: &str) -> Result<Again, QueueError> {
        Ok(match self.table.name(queue)?.fifo {
            true => Again::Safe,
            false => Again::Undone,
        })
    }

    async fn send_batch(
        &self,
        queue: &str,
        url: &str,
        letters: &[Letter],
    ) -> Result<Vec<Sent>, QueueError> {
        let entries = letters.iter().enumerate().map(|(index, letter)| {
            let mut entry = letter.params.clone();
            entry.insert("Id".to_owned(), index.to_string().into());
            Value::from(entry)
        });
        let entries: Vec<_> = entries.collect();
        let params = json!({"QueueUrl": url, "Entries": entries});
        let again = self.again(queue)?;
        let answer = self.ask(queue, "SendMessageBatch", &params, again).await?;
        let lost = || Err(QueueError::other("SQS did not say what became of it"));
        let mut sent: Vec<Sent> = letters.iter().map(|_| lost()).collect();
        let mut set = |entry: &Value, outcome: Sent| {
            let index = entry["Id"].as_str().and_then(|id| id.parse::<usize>().ok());
            if let Some(place) = index.and_then(|index| sent.get_mut(index)) {
                *place = outcome;
            }
        };
        for entry in answer["Successful"].as_array().into_iter().flatten() {
            set(entry, Ok(text(&entry["MessageId"])));
        }
        for entry in answer["Failed"].as_array().into_iter().flatten() {
            let (code, why) = (text(&entry["Code"]), text(&entry["Message"]));
            let why = format!("SQS did not store the message: {code}: {why}");
            set(entry, Err(by_code(&code, why)));
        }
        Ok(sent)
    }

    /// Asks once for up to ten messages.
    async fn take(
        &self,
        queue: &str,
        url: &str,
        max: usize,
        wait: Duration,
        lease: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let params = json!({
            "QueueUrl": url,
            "MaxNumberOfMessages": max,
            "WaitTimeSeconds": wait.as_secs(),
            "VisibilityTimeout": lease.as_secs(),
            "AttributeNames": ["All"],
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        // What a broken answer has taken comes again when its lease ends.
        let answer = self
            .ask(queue, "ReceiveMessage", &params, Again::Safe)
            .await?;
        let given = answer["Messages"].as_array().into_iter().flatten();
        Ok(given.map(|given| self.delivery(given, lease)).collect())
    }

    fn delivery(&self, given: &Value, lease: Duration) -> Delivery {
        let handle = text(&given["ReceiptHandle"]);
        let number = |name: &str| given["Attributes"][name].as_str()?.parse::<u64>().ok();
        let attempt = number("ApproximateReceiveCount").unwrap_or(1);
        let attempt = u32::try_from(attempt.max(1)).unwrap_or(u32::MAX);
        let message = stored_message::read(given);
        self.leases.put(&handle, (), lease);
        let until = Instant::now() + lease;
        self.given.keep(&handle, message.clone(), attempt, until);
        Delivery {
            receipt: DatedReceipt::write(&handle, lease),
            id: text(&given["MessageId"]),
            message,
            attempt,
            enqueued_at_ms: number("SentTimestamp").unwrap_or(0),
            lease_ms: u32::try_from(lease.as_millis()).unwrap_or(u32::MAX),
        }
    }

    async fn set_visibility(
        &self,
        queue: &str,
        handle: &str,
        lease: Duration,
    ) -> Result<(), QueueError> {
        let params = json!({
            "QueueUrl": &*self.table.url(queue).await?,
            "ReceiptHandle": handle,
            "VisibilityTimeout": lease.as_secs(),
        });
        let action = "ChangeMessageVisibility";
        let done = self.ask(queue, action, &params, Again::Safe).await;
        done.map(drop)
    }

    pub(crate) async fn delete(&self, queue: &str, handle: &str) -> Result<(), QueueError> {
        let params = json!({
            "QueueUrl": &*self.table.url(queue).await?,
            "ReceiptHandle": handle,
        });
        let done = self.ask(queue, "DeleteMessage", &params, Again::Safe).await;
        done.map(drop)
    }

    /// Refuses a receipt whose lease has ended, asking SQS when that is doubtful.
    async fn held<'a>(&self, queue: &str, receipt: &'a str) -> Result<&'a str, QueueError> {
        let receipt = DatedReceipt::read(receipt);
        let receipt = receipt.ok_or_else(|| QueueError::invalid("the receipt is none of SQS"))?;
        match self.leases.state(receipt.own, &receipt) {
            LeaseState::Lasts(()) | LeaseState::AsGiven => {}
            LeaseState::Over => return Err(QueueError::ReceiptExpired),
            LeaseState::Doubtful => {
                let moment = Duration::from_secs(10);
                self.set_visibility(queue, receipt.own, moment).await?;
            }
        }
        Ok(receipt.own)
    }

    async fn counts(&self, queue: &str) -> Result<[u64; 3], QueueError> {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let params = json!({
            "QueueUrl": &*self.table.url(queue).await?,
            "AttributeNames": names,
        });
        let answer = self
            .ask(queue, "GetQueueAttributes", &params, Again::Safe)
            .await?;
        let count = |name: &str| answer["Attributes"][name].as_str()?.parse().ok();
        Ok(names.map(|name| count(name).unwrap_or(0)))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn bytes_of(got: &[Delivery]) -> usize {
    got.iter().map(|given| given.message.size()).sum()
}

/// Whole seconds, not less.
fn seconds(time: Duration) -> Duration {
    let more = u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(time.as_secs() + more)
}

fn lease_of(lease: Duration) -> Result<Duration, QueueError> {
    let lease = seconds(lease);
    if lease > LONGEST_LEASE {
        let why = format!("a lease of {lease:?}, which at SQS is at most {LONGEST_LEASE:?}");
        return Err(QueueError::invalid(why));
    }
    Ok(lease)
}

impl Queues for SqsQueues {
    /// Asking costs.
    const POLL: Duration = Duration::from_secs(5);
    /// SQS counts from when it gave the message, which is a little earlier than we had it.
    const LONGEST_RETRY: Duration = LONGEST_LEASE.saturating_sub(Duration::from_secs(60));
    /// Extending does not help beyond that: SQS counts from when it gave the message.
    const LONGEST_HELD: Option<Duration> = Some(LONGEST_LEASE);
    const HELD_HERE: bool = true;

    fn by_others(about: &DeliveryAction) -> RemoteSettle {
        match about {
            DeliveryAction::Settle(Outcome::Ack | Outcome::Retry(_)) => RemoteSettle::First,
            // It alone knows the message, which a dead letter has, and is to know it for longer.
            DeliveryAction::Settle(Outcome::Reject(_)) => RemoteSettle::OnceEnded,
            DeliveryAction::Extend(_) => RemoteSettle::UnlessAnswered,
        }
    }

    fn is_dead_letter_queue(&self, queue: &str) -> bool {
        // One link may call it by two names.
        let name = |queue: &str| self.table.name(queue).ok().map(|name| name.text);
        let own = name(queue);
        own.is_some() && own == name(&self.table.dead(queue))
    }

    async fn receipt_key(&self, _queue: &str) -> Result<ReceiptKey, QueueError> {
        Ok(self.link.receipts.clone())
    }

    async fn send(&self, queue: &str, message: Message, delay: Duration) -> Sent {
        let mut letter = self.letter(queue, &message)?;
        if !delay.is_zero() {
            let delay = seconds(delay);
            if self.table.name(queue)?.fifo {
                let why = "delay in queues of a link that says `fifo`";
                return Err(QueueError::unsupported(why));
            }
            if delay > LONGEST_DELAY {
                let why = format!("delay of more than {LONGEST_DELAY:?}");
                return Err(QueueError::unsupported(why));
            }
            let delay = delay.as_secs().into();
            letter.params.insert("DelaySeconds".to_owned(), delay);
        }
        self.post(queue, letter).await
    }

    async fn send_many(
        &self,
        queue: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Sent>, QueueError> {
        let url = self.table.url(queue).await?;
        let written: Vec<_> = messages.iter().map(|m| self.letter(queue, m)).collect();
        let letters: Vec<_> = written.iter().flatten().cloned().collect();
        let mut rest = letters.as_slice();
        let mut sent = Vec::new();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(stored_message::batch(rest, self.link.largest));
            match self.send_batch(queue, &url, now).await {
                Ok(done) => sent.extend(done),
                // Nothing was stored before, so it meets all of them.
                Err(error) if sent.is_empty() => return Err(error),
                Err(error) => sent.extend(now.iter().map(|_| Err(error.clone()))),
            }
            rest = later;
        }
        let mut sent = sent.into_iter();
        let lost = || Err(QueueError::other("the message was not sent"));
        let each = written.into_iter();
        Ok(each
            .map(|written| written.and_then(|_| sent.next().unwrap_or_else(lost)))
            .collect())
    }

    async fn receive(
        &self,
        queue: &str,
        want: ReceiveOptions,
    ) -> Result<Vec<Delivery>, QueueError> {
        let lease = lease_of(want.lease)?;
        let url = self.table.url(queue).await?;
        let fifo = self.table.name(queue)?.fifo;
        let until = Instant::now() + want.wait;
        let mut got = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait = match got.is_empty() {
                true => left.min(LONGEST_WAIT).min(self.sqs.longest_wait()),
                false => Duration::ZERO,
            };
            // SQS would give several of one group at once, which are to come one at a time.
            let most = if fifo { 1 } else { BATCH };
            let max = most.min(want.max - got.len());
            let came = self.take(queue, &url, max, wait, lease).await;
            match came {
                Ok(came) if came.is_empty() && got.is_empty() => {}
                Ok(came) if came.is_empty() => return Ok(got),
                Ok(came) => got.extend(came),
                // What is there must not be lost sight of.
                Err(_) if !got.is_empty() => return Ok(got),
                Err(error) => return Err(error),
            }
            if got.len() >= want.max || bytes_of(&got) >= MOST_AT_ONCE {
                return Ok(got);
            }
            if got.is_empty() {
                let now = Instant::now();
                if now >= until {
                    return Ok(got);
                }
                if until - now < Duration::from_secs(1) {
                    tokio::time::sleep(LOOK.min(until - now)).await;
                }
            }
        }
    }

    async fn settle(&self, queue: &str, receipt: &str, how: Outcome) -> Result<(), QueueError> {
        let handle = self.held(queue, receipt).await?;
        match how {
            Outcome::Ack => self.delete(queue, handle).await?,
            Outcome::Retry(delay) => {
                let delay = Duration::from_millis(delay.unwrap_or(0).into());
                let delay = lease_of(delay)?;
                self.set_visibility(queue, handle, delay).await?;
            }
            Outcome::Reject(reason) => self.reject(queue, handle, &reason).await?,
        }
        self.leases.settle(handle);
        self.given.forget(handle);
        Ok(())
    }

    async fn extend(&self, queue: &str, receipt: &str, lease: Duration) -> Result<(), QueueError> {
        let lease = lease_of(lease)?;
        let handle = self.held(queue, receipt).await?;
        self.set_visibility(queue, handle, lease).await?;
        self.leases.put(handle, (), lease);
        self.given.extend(handle, handle, Instant::now() + lease);
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<Depth, QueueError> {
        let [ready, leased, delayed] = self.counts(queue).await?;
        let dead = match self.counts(&self.table.dead(queue)).await {
            Ok([ready, leased, delayed]) => ready + leased + delayed,
            Err(QueueError::NoSuchQueue) => 0,
            Err(error) => return Err(error),
        };
        Ok(Depth {
            ready,
            leased: Some(leased),
            delayed: Some(delayed),
            dead: Some(dead),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_and_not_shorter() {
        assert_eq!(seconds(Duration::from_millis(1)), Duration::from_secs(1));
        assert_eq!(seconds(Duration::from_millis(2000)), Duration::from_secs(2));
        assert_eq!(seconds(Duration::ZERO), Duration::ZERO);
        assert!(lease_of(Duration::from_secs(43_201)).is_err());
        assert!(lease_of(SqsQueues::LONGEST_RETRY).is_ok());
    }
}
