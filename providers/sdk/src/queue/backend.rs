//! What a queue provider does for one link.

use std::sync::Arc;
use std::time::Duration;

use super::receipt::ReceiptKey;
use crate::NoLink;

pub use super::bindings::lattice::queue::types::{
    Delivery, Depth, Error as QueueError, Message, Outcome,
};

impl QueueError {
    /// A failure in words.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// What is asked for can never be right; `text` names it.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// The backend is not there at the moment.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable(text.into())
    }

    /// The backend lacks a feature; `text` begins with its name.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::Unsupported(text.into())
    }

    /// What happened, for a log.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::NoSuchQueue => "there is no such queue".to_owned(),
            Self::TooLarge(most) => format!("the message is larger than {most} bytes"),
            Self::ReceiptExpired => "the receipt has expired".to_owned(),
            Self::AccessDenied => "access denied".to_owned(),
            Self::Full(text) => format!("the queue is full: {text}"),
            Self::Invalid(text) | Self::Unavailable(text) | Self::Other(text) => text.clone(),
            Self::Unsupported(text) => format!("the backend does not support {text}"),
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_) | Self::Other(_))
    }
}

impl From<NoLink> for QueueError {
    fn from(error: NoLink) -> Self {
        Self::other(error.to_string())
    }
}

/// What became of one message of several: its id, or why it was not stored.
pub type Sent = Result<String, QueueError>;

/// What a worker wants to receive. All of it has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveOptions {
    /// Up to how many messages; from 1 to 256.
    pub max: usize,
    /// How long to wait for the first one. The others are not waited for.
    pub wait: Duration,
    /// How long the worker has them to itself; at least a millisecond, and at most
    /// [`Queues::LONGEST_LEASE`].
    pub lease: Duration,
}

/// What is to be done about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAction {
    /// Its lease ends in this way.
    Settle(Outcome),
    /// Its lease lasts so many milliseconds from now.
    Extend(u32),
}

/// What copies of the provider can do about a delivery that another one has received, where
/// deliveries are [`Queues::HELD_HERE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteSettle {
    /// Nothing: when the one that received has ended, so has the lease.
    Never,
    /// All that is left to do, once that one has ended or has no such link any more.
    OnceEnded,
    /// The same, also while that one does not answer.
    UnlessAnswered,
    /// All that there is to do. That one is asked only where it may know of a longer lease than they:
    /// when they take the receipt for expired.
    First,
}

/// The queues behind one link.
///
/// Names, attributes, receipts and numbers have been checked by [`Linked`](super::Linked) before a
/// method is called, and receipts are those that the backend itself has given; they are sealed on
/// their way to the component. An operation is dropped when its caller gives up and when its
/// deadline passes, so it needs no time limit of its own against a slow caller, only against a
/// backend that is gone. Dropping a receive may leave what it was about to return leased.
pub trait Queues: Send + Sync + 'static {
    /// How long the caller of handlers waits in one [`Queues::receive`]. Backends where asking costs
    /// have it longer; a link that is deleted waits a second for a receive and drops it then.
    const POLL: Duration = Duration::from_secs(1);

    /// The longest lease that the backend gives, which it tells as `max-lease-ms`. Longer ones are
    /// refused before it is asked, whether a link says them or a worker.
    const LONGEST_LEASE: Duration = super::checks::LONGEST;

    /// How long after its receipt a message comes again at the latest that is to be tried again. What
    /// handlers and their links want later comes then.
    const LONGEST_RETRY: Duration = super::checks::LONGEST;

    /// How long a message may be held in all, extended leases included, where there is such a limit. One
    /// whose handler cannot be called for half of that is given back by [`Queues::give_back`].
    const LONGEST_HELD: Option<Duration> = None;

    /// Whether [`Queues::give_back`] counts as an attempt at the backend. The caller of handlers leaves those
    /// out that it gave back itself; other copies of the provider do not know of them.
    const COUNTS_GIVEN_BACK: bool = true;

    /// Whether the process that received a message settles it. Calls to settle and to extend that
    /// reach another copy of the provider are passed on to it then, as [`Queues::by_others`] says.
    const HELD_HERE: bool = false;

    /// What other copies can do where deliveries are [`Queues::HELD_HERE`]. Where they can do anything,
    /// the [`ReceiptKey`] has to be one that they know; else it may be that of the process.
    fn by_others(_about: &DeliveryAction) -> RemoteSettle {
        RemoteSettle::Never
    }

    /// Whether dead letters of a queue would go to that queue itself. Nothing is rejected there then, and
    /// no attempt is one too many: [`Linked`](super::Linked) refuses it before the backend is asked.
    fn is_dead_letter_queue(&self, queue: &str) -> bool;

    /// What the receipts of a queue are sealed with: something that all copies of the provider know
    /// that may settle them, and no component does.
    fn receipt_key(
        &self,
        queue: &str,
    ) -> impl Future<Output = Result<ReceiptKey, QueueError>> + Send;

    /// Stores a message and returns its id; it must be safe when this returns. Without a delay,
    /// `delay` is zero.
    fn send(
        &self,
        queue: &str,
        message: Message,
        delay: Duration,
    ) -> impl Future<Output = Sent> + Send;

    /// Stores several messages, each by itself, in their order. The outer error is for those that
    /// meet all of them alike; without one there is an answer for each.
    fn send_many(
        &self,
        queue: &str,
        messages: Vec<Message>,
    ) -> impl Future<Output = Result<Vec<Sent>, QueueError>> + Send {
        async move {
            let mut sent = Vec::with_capacity(messages.len());
            for message in messages {
                sent.push(self.send(queue, message, Duration::ZERO).await);
            }
            Ok(sent)
        }
    }

    /// Takes messages under a lease. None is returned when none came in time.
    fn receive(
        &self,
        queue: &str,
        want: ReceiveOptions,
    ) -> impl Future<Output = Result<Vec<Delivery>, QueueError>> + Send;

    /// Ends a lease: the message is gone, comes again (at once for `Retry(None)`), or goes to the
    /// dead-letter queue, where it has to be safe before it is taken from its own.
    ///
    /// [`QueueError::ReceiptExpired`] when the lease had ended before.
    fn settle(
        &self,
        queue: &str,
        receipt: &str,
        how: Outcome,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Gives back at once what no worker has begun with. It counts as an attempt, unless the backend can
    /// do better and says so by [`Queues::COUNTS_GIVEN_BACK`].
    fn give_back(
        &self,
        queue: &str,
        receipt: &str,
    ) -> impl Future<Output = Result<(), QueueError>> + Send {
        self.settle(queue, receipt, Outcome::Retry(None))
    }

    /// Has the lease end `lease` from now.
    fn extend(
        &self,
        queue: &str,
        receipt: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Counts messages.
    fn depth(&self, queue: &str) -> impl Future<Output = Result<Depth, QueueError>> + Send;
}

/// For providers that keep what they made of a link elsewhere too.
impl<B: Queues> Queues for Arc<B> {
    const POLL: Duration = B::POLL;
    const LONGEST_LEASE: Duration = B::LONGEST_LEASE;
    const LONGEST_RETRY: Duration = B::LONGEST_RETRY;
    const LONGEST_HELD: Option<Duration> = B::LONGEST_HELD;
    const COUNTS_GIVEN_BACK: bool = B::COUNTS_GIVEN_BACK;
    const HELD_HERE: bool = B::HELD_HERE;

    fn by_others(about: &DeliveryAction) -> RemoteSettle {
        B::by_others(about)
    }

    fn is_dead_letter_queue(&self, queue: &str) -> bool {
        B::is_dead_letter_queue(self, queue)
    }

    async fn receipt_key(&self, queue: &str) -> Result<ReceiptKey, QueueError> {
        B::receipt_key(self, queue).await
    }

    async fn send(&self, queue: &str, message: Message, delay: Duration) -> Sent {
        B::send(self, queue, message, delay).await
    }

    async fn send_many(
        &self,
        queue: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Sent>, QueueError> {
        B::send_many(self, queue, messages).await
    }

    async fn receive(
        &self,
        queue: &str,
        want: ReceiveOptions,
    ) -> Result<Vec<Delivery>, QueueError> {
        B::receive(self, queue, want).await
    }

    async fn settle(&self, queue: &str, receipt: &str, how: Outcome) -> Result<(), QueueError> {
        B::settle(self, queue, receipt, how).await
    }

    async fn give_back(&self, queue: &str, receipt: &str) -> Result<(), QueueError> {
        B::give_back(self, queue, receipt).await
    }

    async fn extend(&self, queue: &str, receipt: &str, lease: Duration) -> Result<(), QueueError> {
        B::extend(self, queue, receipt, lease).await
    }

    async fn depth(&self, queue: &str) -> Result<Depth, QueueError> {
        B::depth(self, queue).await
    }
}
