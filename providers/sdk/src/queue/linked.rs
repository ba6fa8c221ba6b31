//! The queues behind one link, with what the link says of them.

mod dead_moves;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::dead_moves::DeadMoves;
use super::backend::{Delivery, Depth, Message, Outcome, QueueError, Queues, ReceiveOptions, Sent};
use super::checks;
use super::names::Names;
use super::receipt::{Holder, ReceiptKey, Scope};
use crate::error::LinkError;
use crate::link::{LinkRole, ProviderLink};
use crate::settings::Settings;

/// How long a delivery is leased when nobody says.
const LEASE: Duration = Duration::from_secs(30);
/// The longest lease that a link may say.
const LONGEST_LEASE_MS: u64 = 12 * 60 * 60 * 1000;

/// How much of the time until the deadline of a call is left for the way back.
pub(crate) const WAY_BACK: Duration = Duration::from_millis(250);

/// How many attempts a link with handlers makes when it does not say.
const HANDLER_ATTEMPTS: u32 = 5;

/// A backend as a link uses it: names are resolved, input is checked, receipts are sealed, and
/// messages that were delivered too often go to the dead-letter queue.
#[derive(Debug)]
pub struct Linked<B> {
    queues: Arc<B>,
    dead_moves: DeadMoves,
    names: Names,
    holder: Holder,
    lease: Duration,
    /// Zero for no limit.
    max_attempts: u32,
}

impl<B: Queues> Linked<B> {
    /// Reads what the link says.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value that cannot be used.
    pub fn new(link: &ProviderLink, settings: &Settings, queues: B) -> Result<Self, LinkError> {
        if !link.is_for("lattice", "queue") {
            let package = format!("{}:{}", link.namespace, link.package);
            let what = format!("this provider serves lattice:queue only, not {package}");
            return Err(LinkError::invalid(what));
        }
        let attempts = match link.role {
            LinkRole::Target => 0,
            LinkRole::Source => HANDLER_ATTEMPTS,
        };
        if link.role == LinkRole::Source {
            settings.required("queue", "the queue whose messages are handled")?;
        }
        let longest = u64::try_from(B::LONGEST_LEASE.as_millis()).unwrap_or(u64::MAX);
        let longest = longest.min(LONGEST_LEASE_MS);
        Ok(Self {
            queues: Arc::new(queues),
            dead_moves: DeadMoves::new(),
            names: Names::read(settings, link)?,
            holder: Holder::of(link),
            lease: settings.millis("lease_ms", LEASE, 1..=longest)?,
            max_attempts: settings.number("max_attempts", attempts, 0..=1_000_000)?,
        })
    }

    /// What the backend made of the link.
    pub fn queues(&self) -> &B {
        &self.queues
    }

    /// The queue that the link configures, as the backend calls it.
    #[must_use]
    pub fn own_queue(&self) -> &str {
        self.names.own()
    }

    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// How often a message of a queue is delivered; zero for no limit. What is dead already has none: it
    /// could go nowhere, and nobody would be told of it any more.
    pub(crate) fn max_attempts(&self, queue: &str) -> u32 {
        match self.queues.is_dead_letter_queue(queue) {
            true => 0,
            false => self.max_attempts,
        }
    }

    pub(crate) async fn send(&self, queue: &str, message: Message, delay: Option<u32>) -> Sent {
        let queue = self.names.resolve(queue)?;
        checks::message(&message)?;
        self.queues
            .send(&queue, message, checks::delay(delay)?)
            .await
    }

    /// Those that cannot be stored by any backend are refused, and the others are sent.
    pub(crate) async fn send_many(
        &self,
        queue: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Sent>, QueueError> {
        let queue = self.names.resolve(queue)?;
        let checked: Vec<_> = messages.iter().map(checks::message).collect();
        let good = messages.into_iter().zip(&checked);
        let good: Vec<_> = good
            .filter_map(|(message, checked)| checked.is_ok().then_some(message))
            .collect();
        let mut sent = match good.is_empty() {
            true => Vec::new(),
            false => self.queues.send_many(&queue, good).await?,
        }
        .into_iter();
        let lost = || {
            Err(QueueError::other(
                "the backend did not say what became of it",
            ))
        };
        let each = checked.into_iter();
        Ok(each
            .map(|checked| checked.and_then(|()| sent.next().unwrap_or_else(lost)))
            .collect())
    }

    /// `deadline` is that of the call; the wait ends in time for the answer.
    pub(crate) async fn receive(
        &self,
        Scope { queue, home }: Scope<'_>,
        (max, wait): (u32, u32),
        lease: Option<u32>,
        deadline: Instant,
    ) -> Result<Vec<Delivery>, QueueError> {
        let queue = self.names.resolve(queue)?;
        let lease = match lease {
            Some(millis) => checks::lease(millis, B::LONGEST_LEASE)?,
            None => self.lease,
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let max = max.min(checks::MOST_RECEIVED);
        if max == 0 {
            return Ok(Vec::new());
        }
        let wait = Duration::from_millis(wait.into());
        let latest = deadline.checked_sub(WAY_BACK).unwrap_or(deadline);
        let until = latest.min(Instant::now() + wait);
        let scope = Scope {
            queue: &queue,
            home,
        };
        // Before anything is leased: nobody would have what comes if this failed later.
        let key = self.queues.receipt_key(&queue).await?;
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let want = ReceiveOptions { max, wait, lease };
            let got = self.queues.receive(&queue, want).await?;
            let came = !got.is_empty();
            let kept = self.without_the_dead(&queue, (got, lease), deadline).await;
            // When all that came were dead there may be others that are alive.
            if kept.is_empty() && came && Instant::now() < until {
                continue;
            }
            return Ok(self.sealed_with(&key, scope, kept));
        }
    }

    /// Moves those to the dead-letter queue that were delivered too often. The others are leased to a
    /// caller who is gone after `deadline`, so that they wait for half of the time until then at the most.
    async fn without_the_dead(
        &self,
        queue: &str,
        (got, lease): (Vec<Delivery>, Duration),
        deadline: Instant,
    ) -> Vec<Delivery> {
        let (dead, alive): (Vec<_>, Vec<_>) = got
            .into_iter()
            .partition(|delivery| self.is_spent(queue, delivery.attempt));
        if !dead.is_empty() {
            let now = Instant::now();
            let until = now + deadline.saturating_duration_since(now) / 2;
            let moved = self
                .dead_moves
                .move_all(&self.queues, queue, (dead, lease), until);
            moved.await;
        }
        alive
    }

    /// Whether a delivery is one too many.
    pub(crate) fn is_spent(&self, queue: &str, attempt: u32) -> bool {
        let most = self.max_attempts(queue);
        most != 0 && attempt > most
    }

    pub(crate) async fn sealed(
        &self,
        scope: Scope<'_>,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let key = self.queues.receipt_key(scope.queue).await?;
        Ok(self.sealed_with(&key, scope, deliveries))
    }

    fn sealed_with(
        &self,
        key: &ReceiptKey,
        scope: Scope<'_>,
        mut deliveries: Vec<Delivery>,
    ) -> Vec<Delivery> {
        for delivery in &mut deliveries {
            delivery.receipt = self.holder.seal(key, scope, &delivery.receipt);
        }
        deliveries
    }

    async fn opened(
        &self,
        Scope { queue, home }: Scope<'_>,
        receipt: &str,
    ) -> Result<(String, String), QueueError> {
        let queue = self.names.resolve(queue)?;
        let key = self.queues.receipt_key(&queue).await?;
        let scope = Scope {
            queue: &queue,
            home,
        };
        let own = self.holder.open(&key, scope, receipt)?;
        Ok((queue, own))
    }

    pub(crate) async fn settle(
        &self,
        scope: Scope<'_>,
        receipt: &str,
        how: Outcome,
    ) -> Result<(), QueueError> {
        if let Outcome::Retry(delay) = &how {
            checks::delay(*delay)?;
        }
        let (queue, receipt) = self.opened(scope, receipt).await?;
        self.end_lease(&queue, &receipt, how).await
    }

    /// Ends a lease that the backend knows by its own names. What is a dead letter already is not
    /// rejected: it would be stored where it is, and come again without end.
    pub(crate) async fn end_lease(
        &self,
        queue: &str,
        receipt: &str,
        how: Outcome,
    ) -> Result<(), QueueError> {
        if matches!(how, Outcome::Reject(_)) && self.queues.is_dead_letter_queue(queue) {
            let what = "dead-letter: the queue is the dead-letter queue itself";
            return Err(QueueError::unsupported(what));
        }
        self.queues.settle(queue, receipt, how).await
    }

    pub(crate) async fn extend(
        &self,
        scope: Scope<'_>,
        receipt: &str,
        lease: u32,
    ) -> Result<(), QueueError> {
        let lease = checks::lease(lease, B::LONGEST_LEASE)?;
        let (queue, receipt) = self.opened(scope, receipt).await?;
        self.queues.extend(&queue, &receipt, lease).await
    }

    pub(crate) async fn depth(&self, queue: &str) -> Result<Depth, QueueError> {
        let queue = self.names.resolve(queue)?;
        self.queues.depth(&queue).await
    }
}

/// Why a message that nobody settled is a dead letter.
pub(crate) fn spent(attempt: u32) -> String {
    let times = attempt.saturating_sub(1);
    format!("it was delivered {times} times, and settled neither by its workers nor in time")
}

#[cfg(test)]
pub(crate) mod tests {
    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;
    use crate::link::tests::bare;

    pub(crate) fn link(component: &str, name: &str) -> ProviderLink {
        bare(LinkRole::Target, ("lattice", "queue"), component, name)
    }

    /// Notes how leases end; has the messages that it is given, once.
    #[derive(Debug, Default)]
    struct Noted {
        ends: Mutex<Vec<Outcome>>,
        messages: Mutex<Vec<Delivery>>,
        /// How long it takes to reject one.
        slow: Duration,
        has_lost_its_key: bool,
    }

    impl Queues for Noted {
        fn is_dead_letter_queue(&self, queue: &str) -> bool {
            queue == "dead"
        }

        async fn receipt_key(&self, _queue: &str) -> Result<ReceiptKey, QueueError> {
            match self.has_lost_its_key {
                true => Err(QueueError::unavailable("the key")),
                false => Ok(ReceiptKey::of_this_process()),
            }
        }

        async fn send(&self, _queue: &str, _message: Message, _delay: Duration) -> Sent {
            Err(QueueError::unsupported("sending"))
        }

        async fn receive(
            &self,
            _queue: &str,
            _want: ReceiveOptions,
        ) -> Result<Vec<Delivery>, QueueError> {
            Ok(std::mem::take(&mut *self.messages.lock()))
        }

        async fn settle(&self, _queue: &str, _: &str, how: Outcome) -> Result<(), QueueError> {
            if matches!(how, Outcome::Reject(_)) {
                sleep(self.slow).await;
            }
            self.ends.lock().push(how);
            Ok(())
        }

        async fn extend(&self, _queue: &str, _: &str, _: Duration) -> Result<(), QueueError> {
            Ok(())
        }

        async fn depth(&self, _queue: &str) -> Result<Depth, QueueError> {
            Err(QueueError::unsupported("depth"))
        }
    }

    /// A delivery that the backend knows as `own`.
    fn delivery(own: &str) -> Delivery {
        Delivery {
            receipt: own.to_owned(),
            id: "1".to_owned(),
            message: Message {
                body: "body".into(),
                content_type: None,
                attributes: Vec::new(),
                dedup_id: None,
                group: None,
            },
            attempt: 1,
            enqueued_at_ms: 0,
            lease_ms: 30_000,
        }
    }

    #[tokio::test]
    async fn a_dead_letter_is_acknowledged_or_tried_again_and_never_rejected() {
        let settings = Settings::from_texts([], []);
        let queues = Noted::default();
        let linked = Linked::new(&link("worker", "default"), &settings, queues).unwrap();
        let reject = || Outcome::Reject("no".to_owned());
        for queue in ["dead", "alive"] {
            let scope = Scope { queue, home: "" };
            let sealed = linked.sealed(scope, vec![delivery("receipt")]).await;
            let receipt = sealed.unwrap().swap_remove(0).receipt;
            for how in [Outcome::Retry(None), Outcome::Ack] {
                let settled = linked.settle(scope, &receipt, how).await;
                assert_eq!(settled, Ok(()));
            }
            let rejected = linked.settle(scope, &receipt, reject()).await;
            let what = "dead-letter: the queue is the dead-letter queue itself";
            let expected = match queue {
                "dead" => Err(QueueError::unsupported(what)),
                _ => Ok(()),
            };
            assert_eq!(rejected, expected);
        }
        let (again, ack) = (Outcome::Retry(None), Outcome::Ack);
        let noted = linked.queues().ends.lock().clone();
        assert_eq!(noted, [again.clone(), ack.clone(), again, ack, reject()]);
    }

    const ALIVE: Scope<'static> = Scope {
        queue: "alive",
        home: "",
    };

    /// A link to a queue with a message that is alive, behind forty that were delivered too often.
    fn with_many_dead(mut queues: Noted) -> Linked<Noted> {
        let dead = || Delivery {
            attempt: 2,
            ..delivery("dead")
        };
        let messages = queues.messages.get_mut();
        messages.extend(std::iter::repeat_with(dead).take(40));
        messages.push(delivery("alive"));
        let settings = Settings::from_texts([("max_attempts", "1")], []);
        Linked::new(&link("worker", "default"), &settings, queues).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_alive_come_in_time_however_long_the_dead_take() {
        for (millis, moved) in [(10, 40), (60_000, 0)] {
            let queues = Noted {
                slow: Duration::from_millis(millis),
                ..Noted::default()
            };
            let linked = with_many_dead(queues);
            // As at the end of a wait.
            let deadline = Instant::now() + WAY_BACK;
            let got = linked.receive(ALIVE, (100, 0), None, deadline).await;
            assert_eq!(got.unwrap().len(), 1);
            assert!(Instant::now() < deadline, "nobody waits any more");
            assert_eq!(linked.queues().ends.lock().len(), moved);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_dead_are_moved_once_however_long_that_takes() {
        let queues = Noted {
            slow: Duration::from_secs(1),
            ..Noted::default()
        };
        let linked = with_many_dead(queues);
        let deadline = Instant::now() + WAY_BACK;
        let got = linked.receive(ALIVE, (100, 0), None, deadline).await;
        assert_eq!(got.unwrap().len(), 1);
        // Nobody waits for them any more.
        sleep(Duration::from_secs(10)).await;
        assert_eq!(linked.queues().ends.lock().len(), 40);
    }

    #[tokio::test]
    async fn nothing_is_received_that_could_not_be_sealed() {
        let queues = Noted {
            has_lost_its_key: true,
            ..Noted::default()
        };
        let linked = with_many_dead(queues);
        let deadline = Instant::now() + WAY_BACK;
        let got = linked.receive(ALIVE, (100, 0), None, deadline).await;
        assert_eq!(got, Err(QueueError::unavailable("the key")));
        assert_eq!(linked.queues().messages.lock().len(), 41);
    }
}
