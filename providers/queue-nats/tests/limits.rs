//! Handlers of a backend that keeps messages for a short time only, which no real one does.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lattice_provider_sdk::queue::{
    Delivery, Depth, Message, NewLink, Outcome, QueueError, QueueLinks, Queues, ReceiptKey,
    ReceiveOptions, Sent,
};
use lattice_provider_sdk::{
    LinkError, Provider, ProviderLink, Session, Settings, StartError, async_trait,
};
use parking_lot::Mutex;
use support::{Lattice, PATIENCE};
use tokio::time::Instant;

const LONGEST_MS: u32 = 5000;

/// What was done about the delivery of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Settled(Outcome),
    GivenBack,
}

static DONE: Mutex<Vec<(String, Done)>> = Mutex::new(Vec::new());

fn note(queue: &str, done: Done) {
    DONE.lock().push((queue.to_owned(), done));
}

/// What was done first about the delivery of that queue.
async fn done(queue: &str) -> Done {
    all_done(queue, 1).await.swap_remove(0)
}

/// The same about `count` deliveries at least, in their order.
async fn all_done(queue: &str, count: usize) -> Vec<Done> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found: Vec<_> = {
            let done = DONE.lock();
            let of_it = done.iter().filter(|(of, _)| of == queue);
            of_it.map(|(_, done)| done.clone()).collect()
        };
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < until, "done about `{queue}`: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The queue that is its own dead-letter queue, and has always another message.
const DEAD: &str = "dead";
/// The queue that gives its message again when it was given back.
const AGAIN: &str = "again";

/// Queues that have one message each, and one that has always another one.
#[derive(Debug, Default)]
struct Brief {
    is_given: AtomicBool,
    attempts: AtomicU32,
}

impl Queues for Brief {
    const LONGEST_RETRY: Duration = Duration::from_millis(LONGEST_MS as u64);
    const LONGEST_HELD: Option<Duration> = Some(Duration::from_secs(2));

    fn is_dead_letter_queue(&self, queue: &str) -> bool {
        queue == DEAD
    }

    async fn receipt_key(&self, _queue: &str) -> Result<ReceiptKey, QueueError> {
        Ok(ReceiptKey::of_this_process())
    }

    async fn send(&self, _queue: &str, _message: Message, _delay: Duration) -> Sent {
        Err(QueueError::unsupported("sending"))
    }

    async fn receive(
        &self,
        queue: &str,
        want: ReceiveOptions,
    ) -> Result<Vec<Delivery>, QueueError> {
        if self.is_given.swap(queue != DEAD, Ordering::Relaxed) {
            tokio::time::sleep(want.wait).await;
            return Ok(Vec::new());
        }
        Ok(vec![Delivery {
            receipt: "receipt".to_owned(),
            id: "1".to_owned(),
            message: Message {
                body: "body".into(),
                content_type: None,
                attributes: Vec::new(),
                dedup_id: None,
                group: None,
            },
            attempt: 1 + self.attempts.fetch_add(1, Ordering::Relaxed),
            enqueued_at_ms: 0,
            lease_ms: 30_000,
        }])
    }

    async fn settle(&self, queue: &str, _receipt: &str, how: Outcome) -> Result<(), QueueError> {
        note(queue, Done::Settled(how));
        Ok(())
    }

    async fn give_back(&self, queue: &str, _receipt: &str) -> Result<(), QueueError> {
        note(queue, Done::GivenBack);
        self.is_given.store(queue != AGAIN, Ordering::Relaxed);
        Ok(())
    }

    async fn extend(&self, _queue: &str, _receipt: &str, _: Duration) -> Result<(), QueueError> {
        Ok(())
    }

    async fn depth(&self, _queue: &str) -> Result<Depth, QueueError> {
        Err(QueueError::unsupported("depth"))
    }
}

struct QueueBrief {
    session: Session,
    links: QueueLinks<Brief>,
}

#[async_trait]
impl Provider for QueueBrief {
    const NAME: &'static str = "queue-brief";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            links: QueueLinks::serve(&session).await?,
            session,
        }))
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let new = NewLink::read(link, &settings, Brief::default())?;
        self.links.put(&self.session, link, new);
        Ok(())
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.links.delete(link).await;
    }

    async fn shutdown(&self, until: Instant) {
        self.links.end(until).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_is_given_back_before_it_must_not_be_held() {
    let mut lattice = Lattice::start::<QueueBrief>(&[]).await;
    lattice.link_handler("away", &[("queue", "unseen")]).await;
    assert_eq!(done("unseen").await, Done::GivenBack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_back_unseen_has_all_its_attempts_though_the_backend_counts() {
    let mut lattice = Lattice::start::<QueueBrief>(&[]).await;
    let config = [("queue", AGAIN), ("max_attempts", "1")];
    lattice.link_handler("later", &config).await;
    let before = all_done(AGAIN, 2).await;
    assert_eq!(before, vec![Done::GivenBack; before.len()]);
    let mut worker = lattice.handle("later").await;
    let (delivery, answer) = worker.next().await;
    assert_eq!(delivery.attempt, 1);
    let before = all_done(AGAIN, 2).await;
    answer.send(support::Outcome::Ack).unwrap();
    let after = all_done(AGAIN, before.len() + 1).await;
    assert_eq!(after.last(), Some(&Done::Settled(Outcome::Ack)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_rejects_nothing_among_the_dead_letters() {
    let mut lattice = Lattice::start::<QueueBrief>(&[]).await;
    let mut worker = lattice.handle("undertaker").await;
    // The next message comes when the one before is done with.
    let config = [("queue", DEAD), ("max_in_flight", "1")];
    lattice.link_handler("undertaker", &config).await;
    for outcome in [
        support::Outcome::Reject("no".to_owned()),
        support::Outcome::Ack,
    ] {
        let (_, answer) = worker.next().await;
        answer.send(outcome).unwrap();
    }
    assert_eq!(done(DEAD).await, Done::Settled(Outcome::Ack));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_as_late_as_the_backend_can_do() {
    let mut lattice = Lattice::start::<QueueBrief>(&[]).await;
    let hour = "3600000";
    for (name, outcome) in [
        ("late", Some(support::Outcome::Retry(Some(u32::MAX)))),
        ("failed", None),
        ("soon", Some(support::Outcome::Retry(Some(1)))),
    ] {
        let mut worker = lattice.handle(name).await;
        let config = [
            ("queue", name),
            ("backoff_ms", hour),
            ("max_backoff_ms", hour),
        ];
        lattice.link_handler(name, &config).await;
        let (_, answer) = worker.next().await;
        match outcome {
            Some(outcome) => answer.send(outcome).unwrap(),
            None => drop(answer),
        }
        let Done::Settled(Outcome::Retry(Some(millis))) = done(name).await else {
            panic!("`{name}` is not tried again");
        };
        let most = if name == "soon" { 1 } else { LONGEST_MS };
        assert!(millis <= most, "{name}: {millis}");
    }
}
