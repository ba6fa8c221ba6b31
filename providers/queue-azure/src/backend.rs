//! The queues behind one link.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName};
use lattice_azure::{Azure, AzureError, AzureRequest};
use lattice_backend_http::encode::percent;
use lattice_backend_http::xml::{Element, escaped};
use lattice_backend_http::{HttpBackend, Retry, TlsError, date};
use lattice_provider_sdk::queue::{
    Delivery, DeliveryAction, Depth, Message, Outcome, QueueError, Queues, ReceiptKey,
    ReceiveOptions, Remembered, RemoteSettle, Sent, dead_letter, smaller_dead_letter,
};
use lattice_provider_sdk::{Backoff, Features, LinkError, Shared, chain};
use tokio::time::Instant;

use crate::error::queue_error;
use crate::leases::{Held, Leases, NotHeld, receipt};
use crate::settings::{AzureSettings, LinkSettings};
use crate::{queues, stored_message};

/// How many messages one request receives.
const BATCH: usize = 32;
/// The longest lease and delay of Azure.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// The pauses between looks for messages.
const LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// How many bytes of messages are remembered for the case that they are rejected.
const REMEMBERED: usize = 128 << 20;
/// Why a message is not rejected.
const UNKNOWN: &str = "the message is not remembered: the copy of the provider that gave it has \
    ended, or the link there, or it has given 128 MiB since; it comes again when its lease ends";
const POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct AzureQueues {
    azure: Shared<Azure>,
    link: LinkSettings,
    leases: Leases,
    given: Remembered,
}

/// Uses an account through a pool of its own.
pub(crate) fn open(settings: AzureSettings) -> Result<Azure, TlsError> {
    let http = HttpBackend::new(settings.http)?;
    let retry = Retry {
        attempts: settings.attempts,
        ..Retry::default()
    };
    Ok(Azure::new(http, settings.account, retry))
}

impl AzureQueues {
    pub(crate) fn new(azure: Shared<Azure>, link: LinkSettings) -> Self {
        Self {
            azure,
            link,
            leases: Leases::default(),
            given: Remembered::new(REMEMBERED),
        }
    }

    /// Looks whether the link's queue is there, and creates it if it says so.
    pub(crate) async fn open_own(&self) -> Result<(), LinkError> {
        let own = &self.link.own;
        for queue in [own, &self.link.dead(own)] {
            queues::check_name(queue).map_err(|error| LinkError::invalid(error.text()))?;
        }
        match queues::greet(&self.azure, own).await {
            Err(error) if error.is_missing() && self.link.may_create(own) => {}
            greeted => return greeted.map_err(|error| unusable(&error)),
        }
        for queue in [own, &self.link.dead(own)] {
            let created = queues::create(&self.azure, queue).await;
            created.map_err(|error| LinkError::unavailable(error.text()))?;
        }
        Ok(())
    }

    /// Whether Azure is there and has the link's queue.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let greeted = queues::greet(&self.azure, &self.link.own).await;
        greeted.map_err(|error| unusable(&error))
    }

    pub(crate) fn features(&self) -> Features {
        Features::new()
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .lacking("paging")
            .with("delay", LONGEST.as_millis())
            .lacking("dedup")
            .lacking("groups")
            .with("order", "best-effort")
            .with("max-message-bytes", stored_message::MOST_SENT / 4 * 3)
            .with("max-lease-ms", LONGEST.as_millis())
            .having("dead-letter")
            .with("depth", "ready-only")
    }

    /// Does something with a queue, which is created when it is missing and the link lets us.
    async fn ask(
        &self,
        queue: &str,
        asked: &AzureRequest<'_>,
    ) -> Result<http::Response<Bytes>, QueueError> {
        match self.azure.ask(asked).await {
            Err(error) if is_no_queue(&error) && self.link.may_create(queue) => {
                queues::create(&self.azure, queue).await?;
                let again = self.azure.ask(asked).await;
                again.map_err(|error| queue_error(&error))
            }
            done => done.map_err(|error| queue_error(&error)),
        }
    }

    /// Asks once for up to 32 messages.
    async fn take(
        &self,
        queue: &str,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let (max, timeout) = (max.min(BATCH).to_string(), lease.as_secs().to_string());
        let mut asked = AzureRequest::new("receive messages", Method::GET, messages(queue));
        asked.query = vec![("numofmessages", &max), ("visibilitytimeout", &timeout)];
        // What a broken answer has taken comes again when its lease ends.
        let answer = self.ask(queue, &asked).await?;
        let text = String::from_utf8_lossy(answer.body());
        let list = Element::read(&text);
        let list = list.map_err(|error| {
            QueueError::other(format!("Azure gave no messages: {}", chain(&error)))
        })?;
        let given = list.all("QueueMessage");
        Ok(given.map(|given| self.delivery(given, lease)).collect())
    }

    fn delivery(&self, given: &Element, lease: Duration) -> Delivery {
        let (id, pop) = (given.text_of("MessageId"), given.text_of("PopReceipt"));
        let receipt = receipt(id, pop, lease);
        let attempt = given.text_of("DequeueCount").parse().unwrap_or(1).max(1);
        let message = self.link.encoding.read(given.text_of("MessageText"));
        self.leases.put(&receipt, pop, lease);
        let until = Instant::now() + lease;
        self.given.keep(&receipt, message.clone(), attempt, until);
        let enqueued = date::seconds(given.text_of("InsertionTime")).unwrap_or(0);
        Delivery {
            receipt,
            id: id.to_owned(),
            message,
            attempt,
            enqueued_at_ms: enqueued * 1000,
            lease_ms: u32::try_from(lease.as_millis()).unwrap_or(u32::MAX),
        }
    }

    fn held(&self, receipt: &str) -> Result<Held, QueueError> {
        self.leases.held(receipt).map_err(|error| match error {
            NotHeld::Over => QueueError::ReceiptExpired,
            NotHeld::Foreign => QueueError::invalid("the receipt is none of Azure"),
        })
    }

    async fn delete(&self, queue: &str, held: &Held) -> Result<(), QueueError> {
        let path = message_path(queue, held);
        let mut asked = AzureRequest::new("delete the message", Method::DELETE, path);
        asked.query = vec![("popreceipt", &held.pop)];
        let done = self.azure.ask(&asked).await;
        done.map(drop).map_err(|error| queue_error(&error))
    }

    /// Has a message come again after a time, unless it is settled before; the new receipt.
    async fn hide(&self, queue: &str, held: &Held, time: Duration) -> Result<String, QueueError> {
        let (path, time) = (message_path(queue, held), time.as_secs().to_string());
        let mut asked = AzureRequest::new("change the lease of the message", Method::PUT, path);
        asked.query = vec![("popreceipt", &held.pop), ("visibilitytimeout", &time)];
        // A second one would have the receipt of before.
        asked.once = true;
        let answer = self.azure.ask(&asked).await;
        let answer = answer.map_err(|error| queue_error(&error))?;
        let pop = answer.headers().get(POP_RECEIPT);
        let pop = pop.and_then(|pop| pop.to_str().ok());
        Ok(pop.unwrap_or_default().to_owned())
    }

    async fn reject(
        &self,
        queue: &str,
        receipt: &str,
        held: &Held,
        reason: &str,
    ) -> Result<(), QueueError> {
        let dead = self.link.dead(queue);
        queues::check_name(&dead)?;
        let taken = self.given.get(receipt);
        let taken = taken.ok_or_else(|| QueueError::other(UNKNOWN))?;
        let mut letter = dead_letter(taken.message, queue, taken.attempt, reason);
        let mut left_out = Vec::new();
        while let Err(error) = self.bury(&dead, &letter).await {
            letter = smaller_dead_letter(letter, error, &mut left_out)?;
        }
        if !left_out.is_empty() {
            let what = "a dead letter is kept without what its queue did not take";
            tracing::error!(queue, ?left_out, "{what}");
        }
        self.delete(queue, held).await
    }

    async fn bury(&self, dead: &str, letter: &Message) -> Result<(), QueueError> {
        let text = self.link.encoding.write(letter, stored_message::MOST)?;
        self.post(dead, &text, Duration::ZERO).await.map(drop)
    }

    /// Sends what was written; its id.
    async fn post(&self, queue: &str, text: &str, delay: Duration) -> Sent {
        queues::check_name(queue)?;
        let delay = seconds("delay", delay)?.as_secs().to_string();
        let mut asked = AzureRequest::new("send the message", Method::POST, messages(queue));
        // Forever; by itself Azure would forget it after a week.
        asked.query = vec![("messagettl", "-1"), ("visibilitytimeout", &delay)];
        asked.headers = vec![(CONTENT_TYPE, "application/xml".to_owned())];
        asked.body = Bytes::from(format!(
            "<QueueMessage><MessageText>{}</MessageText></QueueMessage>",
            escaped(text)
        ));
        asked.once = true;
        let answer = self.ask(queue, &asked).await?;
        let list = Element::read(&String::from_utf8_lossy(answer.body())).unwrap_or_default();
        let id = list
            .child("QueueMessage")
            .map(|sent| sent.text_of("MessageId"));
        Ok(id.unwrap_or_default().to_owned())
    }
}

fn unusable(error: &AzureError) -> LinkError {
    LinkError::unavailable(chain(error))
}

fn is_no_queue(error: &AzureError) -> bool {
    error.code() == Some("QueueNotFound")
}

fn messages(queue: &str) -> String {
    format!("/{queue}/messages")
}

fn message_path(queue: &str, held: &Held) -> String {
    format!("/{queue}/messages/{}", percent(&held.id, ""))
}

/// Whole seconds, not less.
fn seconds(what: &str, time: Duration) -> Result<Duration, QueueError> {
    let more = u64::from(time.subsec_nanos() > 0);
    let time = Duration::from_secs(time.as_secs() + more);
    if time > LONGEST {
        let why = format!("a {what} of {time:?}, which at Azure is at most {LONGEST:?}");
        return Err(QueueError::invalid(why));
    }
    Ok(time)
}

impl Queues for AzureQueues {
    /// Asking costs.
    const POLL: Duration = Duration::from_secs(5);
    const LONGEST_RETRY: Duration = LONGEST;
    const HELD_HERE: bool = true;

    fn by_others(about: &DeliveryAction) -> RemoteSettle {
        match about {
            // Azure refuses what has another receipt since its lease was extended.
            DeliveryAction::Settle(Outcome::Ack | Outcome::Retry(_)) => RemoteSettle::First,
            // It alone knows the message, which a dead letter has, and such receipts.
            DeliveryAction::Settle(Outcome::Reject(_)) | DeliveryAction::Extend(_) => {
                RemoteSettle::OnceEnded
            }
        }
    }

    fn is_dead_letter_queue(&self, queue: &str) -> bool {
        self.link.dead(queue) == queue
    }

    async fn receipt_key(&self, _queue: &str) -> Result<ReceiptKey, QueueError> {
        Ok(self.link.receipts.clone())
    }

    async fn send(&self, queue: &str, message: Message, delay: Duration) -> Sent {
        queues::check_name(queue)?;
        let text = self
            .link
            .encoding
            .write(&message, stored_message::MOST_SENT)?;
        self.post(queue, &text, delay).await
    }

    async fn receive(
        &self,
        queue: &str,
        want: ReceiveOptions,
    ) -> Result<Vec<Delivery>, QueueError> {
        queues::check_name(queue)?;
        let lease = seconds("lease", want.lease)?;
        let until = Instant::now() + want.wait;
        let mut pause = Backoff::new(LOOK, LONGEST_LOOK);
        let mut got = Vec::new();
        loop {
            let came = match self.take(queue, want.max - got.len(), lease).await {
                Ok(came) => came,
                // What is there must not be lost sight of.
                Err(_) if !got.is_empty() => return Ok(got),
                Err(error) => return Err(error),
            };
            let is_last = came.len() < BATCH;
            got.extend(came);
            let now = Instant::now();
            if got.len() >= want.max || (is_last && (!got.is_empty() || now >= until)) {
                return Ok(got);
            }
            if got.is_empty() {
                tokio::time::sleep(pause.delay().min(until - now)).await;
            }
        }
    }

    async fn settle(&self, queue: &str, receipt: &str, how: Outcome) -> Result<(), QueueError> {
        let held = self.held(receipt)?;
        match how {
            Outcome::Ack => self.delete(queue, &held).await?,
            Outcome::Retry(delay) => {
                let delay = Duration::from_millis(delay.unwrap_or(0).into());
                let delay = seconds("delay", delay)?;
                self.hide(queue, &held, delay).await?;
            }
            Outcome::Reject(reason) => self.reject(queue, receipt, &held, &reason).await?,
        }
        self.leases.settle(receipt);
        self.given.forget(receipt);
        Ok(())
    }

    async fn extend(&self, queue: &str, receipt: &str, lease: Duration) -> Result<(), QueueError> {
        let lease = seconds("lease", lease)?;
        let held = self.held(receipt)?;
        let pop = self.hide(queue, &held, lease).await?;
        self.leases.put(receipt, &pop, lease);
        self.given.extend(receipt, receipt, Instant::now() + lease);
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<Depth, QueueError> {
        queues::check_name(queue)?;
        let ready = match queues::count(&self.azure, queue).await {
            Err(QueueError::NoSuchQueue) if self.link.may_create(queue) => 0,
            counted => counted?,
        };
        let dead = match queues::count(&self.azure, &self.link.dead(queue)).await {
            Err(QueueError::NoSuchQueue) => 0,
            counted => counted?,
        };
        Ok(Depth {
            ready,
            leased: None,
            delayed: None,
            dead: Some(dead),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_and_not_shorter() {
        let whole = |millis| seconds("lease", Duration::from_millis(millis));
        assert_eq!(whole(1), Ok(Duration::from_secs(1)));
        assert_eq!(whole(2000), Ok(Duration::from_secs(2)));
        assert_eq!(whole(0), Ok(Duration::ZERO));
        assert!(whole(7 * 24 * 3_600_000 + 1).is_err());
        assert!(seconds("delay", AzureQueues::LONGEST_RETRY).is_ok());
    }
}
