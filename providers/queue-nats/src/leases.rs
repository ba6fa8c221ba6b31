//! Who has which message, and until when.
//!
//! JetStream gives a message again when its consumer's time to acknowledge has passed, which is the
//! same for all. Leases may be shorter or longer, so they are kept here: one that ends is let go, and
//! one that lasts longer is kept alive. The consumer's time is longer than the usual lease, so that a
//! receipt has always expired here before the server gives the message to somebody else; an
//! acknowledgement that is late would be taken for that of the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use lattice_provider_sdk::queue::QueueError;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::wire::Wire;

/// How much longer than the usual lease a consumer waits for an acknowledgement.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// How long before the end of the consumer's time a lease counts as lost.
const MARGIN: Duration = Duration::from_secs(1);

/// How long to wait before trying again to keep a message.
const AGAIN: Duration = Duration::from_millis(500);

/// One message that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) queue: String,
    /// Its number in the stream.
    pub(crate) sequence: u64,
    pub(crate) attempt: u32,
    /// Until when its worker has it.
    pub(crate) until: Instant,
    /// How long the server waits, counted from `renewed`.
    pub(crate) patience: Duration,
    pub(crate) renewed: Instant,
}

impl Lease {
    /// Until when it is certain that the server gives the message to nobody else.
    fn certain(&self) -> Instant {
        self.renewed + self.patience.saturating_sub(MARGIN.min(self.patience / 4))
    }

    /// When something has to be done about it.
    fn due(&self) -> Instant {
        match self.until <= self.certain() {
            true => self.until,
            false => self.renewed + self.patience / 2,
        }
    }
}

/// The leases of one connection, by the subjects of their acknowledgements.
#[derive(Debug)]
pub(crate) struct Leases {
    table: Arc<Table>,
    keeper: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Table {
    held: Mutex<Held>,
    /// Told when something is due earlier than before.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Held {
    leases: HashMap<String, Lease>,
    due: BTreeSet<(Instant, String)>,
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Leases {
    pub(crate) fn new(wire: Wire) -> Self {
        let table = Arc::new(Table::default());
        let keeper = tokio::spawn(keep(Arc::clone(&table), wire));
        Self { table, keeper }
    }

    pub(crate) fn put(&self, ack: &str, lease: Lease) {
        self.table.put(ack, lease);
    }

    /// Whether somebody has what came with that acknowledgement.
    pub(crate) fn is_held(&self, ack: &str) -> bool {
        let held = self.table.held.lock();
        held.leases.get(ack).is_some_and(Lease::is_alive)
    }

    /// Takes a lease that has not ended: who takes it settles it, or puts it back.
    pub(crate) fn take(&self, queue: &str, ack: &str) -> Result<Lease, QueueError> {
        let mut held = self.table.held.lock();
        let known = held.leases.get(ack);
        if known.is_some_and(|lease| lease.queue == queue && lease.is_alive())
            && let Some(lease) = held.remove(ack)
        {
            return Ok(lease);
        }
        Err(QueueError::ReceiptExpired)
    }
}

impl Lease {
    fn is_alive(&self) -> bool {
        let now = Instant::now();
        now < self.until && now < self.certain()
    }
}

impl Held {
    fn insert(&mut self, ack: &str, lease: Lease) {
        // A server that forgets what it has given gives it again by the same name.
        self.remove(ack);
        self.due.insert((lease.due(), ack.to_owned()));
        self.leases.insert(ack.to_owned(), lease);
    }

    fn remove(&mut self, ack: &str) -> Option<Lease> {
        let lease = self.leases.remove(ack)?;
        self.due.remove(&(lease.due(), ack.to_owned()));
        Some(lease)
    }

    /// The first one that something has to be done about by now.
    fn next_due(&mut self, now: Instant) -> Option<(String, Lease)> {
        loop {
            let (_, ack) = self.due.first().filter(|(due, _)| *due <= now)?;
            if let Some(lease) = self.leases.get(ack) {
                return Some((ack.clone(), lease.clone()));
            }
            // One without a lease would stay the first for ever, and be due all the time.
            self.due.pop_first();
        }
    }
}

impl Table {
    fn put(&self, ack: &str, lease: Lease) {
        let due = lease.due();
        let mut held = self.held.lock();
        let first = held.due.first().map(|(first, _)| *first);
        held.insert(ack, lease);
        drop(held);
        if first.is_none_or(|first| due < first) {
            self.sooner.notify_one();
        }
    }

    async fn until_due(&self) {
        let first = self.held.lock().due.first().map(|(first, _)| *first);
        let sooner = self.sooner.notified();
        match first {
            Some(first) => tokio::select! {
                () = tokio::time::sleep_until(first) => {}
                () = sooner => {}
            },
            None => sooner.await,
        }
    }
}

/// Lets go of leases that end, and has the server wait for those that do not.
async fn keep(table: Arc<Table>, wire: Wire) {
    loop {
        table.until_due().await;
        loop {
            let next = table.held.lock().next_due(Instant::now());
            let Some((ack, lease)) = next else { break };
            let now = Instant::now();
            if now >= lease.until || now >= lease.certain() {
                table.held.lock().remove(&ack);
                wire.let_go(&ack).await;
            } else {
                renew(&table, &wire, &ack).await;
            }
        }
    }
}

/// Has the server wait anew. Does not wait for its answer here, where others are due.
async fn renew(table: &Arc<Table>, wire: &Wire, ack: &str) {
    let mut held = table.held.lock();
    let Some(mut lease) = held.remove(ack) else {
        return;
    };
    let before = lease.clone();
    // Not due again before the answer is there.
    let asked = Instant::now();
    lease.renewed = asked;
    held.insert(ack, lease);
    drop(held);
    let (table, wire, ack) = (Arc::clone(table), wire.clone(), ack.to_owned());
    tokio::spawn(async move {
        let connected = wire.connected();
        let renewed = match connected {
            Ok(()) => wire.acknowledge(&ack, AckKind::Progress).await,
            Err(error) => Err(error),
        };
        if renewed.is_err() {
            tokio::time::sleep(AGAIN).await;
            let mut held = table.held.lock();
            if let Some(mut lease) = held.remove(&ack) {
                if lease.renewed == asked {
                    lease.renewed = before.renewed;
                }
                drop(held);
                table.put(&ack, lease);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(until: u64, patience: u64) -> Lease {
        let now = Instant::now();
        Lease {
            queue: "jobs".into(),
            sequence: 1,
            attempt: 1,
            until: now + Duration::from_secs(until),
            patience: Duration::from_secs(patience),
            renewed: now,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_lease_is_due_at_its_end_and_a_long_one_before_the_server_gives_up() {
        let now = Instant::now();
        assert_eq!(lease(30, 35).due(), now + Duration::from_secs(30));
        assert_eq!(lease(60, 35).due(), now + Duration::from_secs_f64(17.5));
        assert!(lease(35, 35).due() < now + Duration::from_secs(34));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_due_comes_first_and_is_gone_when_taken() {
        let mut held = Held::default();
        held.insert("a", lease(20, 60));
        held.insert("b", lease(10, 60));
        let now = Instant::now();
        assert_eq!(held.next_due(now), None);
        let later = now + Duration::from_secs(15);
        assert_eq!(held.next_due(later).unwrap().0, "b");
        assert!(held.remove("b").is_some() && held.remove("b").is_none());
        assert_eq!(held.next_due(later), None);
        assert_eq!(held.due.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_put_twice_is_due_once() {
        let mut held = Held::default();
        held.insert("a", lease(10, 60));
        held.insert("a", lease(20, 60));
        let now = Instant::now();
        assert_eq!(held.next_due(now + Duration::from_secs(15)), None);
        assert!(held.remove("a").is_some());
        assert!(held.due.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_without_a_lease_keeps_no_other_back() {
        let mut held = Held::default();
        let now = Instant::now();
        held.due.insert((now, "gone".to_owned()));
        held.insert("b", lease(10, 60));
        let later = now + Duration::from_secs(10);
        assert_eq!(held.next_due(later).unwrap().0, "b");
        assert_eq!(held.due.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_the_server_may_have_ended_is_dead() {
        let lease = lease(60, 35);
        assert!(lease.is_alive());
        tokio::time::advance(Duration::from_secs(34)).await;
        assert!(!lease.is_alive());
    }
}
