//! Reports of what anybody can cause as often as they like: no more of them than a reader can follow.

mod fair;
mod keyed;
mod log;
mod quota;

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use fair::FairThrottle;
pub use keyed::KeyedThrottle;
pub use log::LogThrottle;
pub use quota::Quota;
pub(crate) use quota::ToldQuota;

/// For how long further ones of a kind are only counted.
pub const THROTTLE_WINDOW: Duration = Duration::from_secs(1);
/// How many kinds are kept apart at the same time.
pub const MAX_THROTTLED_KINDS: usize = 1024;
/// How many owners (those who are certain to cause a report) have room of their own at the same time.
pub const MAX_THROTTLED_OWNERS: usize = 256;
/// How many kinds of one owner are kept apart.
pub const MAX_KINDS_OF_OWNER: usize = 128;
/// How many one throttle tells from one sweep to the next, a quarter of the window here; what is left waits.
pub const MAX_TOLD: usize = 128;
/// How many of them of one owner.
pub const MAX_TOLD_OF_OWNER: usize = 32;

/// A report that may come again and again.
pub trait Throttled {
    /// What is told once.
    type Kind: Eq + Hash;

    /// What this one is told together with.
    fn kind(&self) -> Self::Kind;

    /// How many before it were not told.
    fn suppressed(&mut self) -> &mut u64;

    /// Who has caused it, where that is certain: whatever they cause takes no room from others.
    fn owner(&self) -> Option<String> {
        None
    }

    /// What is told for this one, which waits, and a later one of its kind.
    #[must_use]
    fn join(self, later: Self) -> Self
    where
        Self: Sized,
    {
        later
    }
}

/// Where reports go that are not to wait: those for which there is no room are counted with the next.
#[derive(Debug)]
pub struct Reports<T> {
    queue: mpsc::Sender<T>,
    lost: AtomicU64,
}

impl<T: Throttled> Reports<T> {
    /// Reports go to `queue`.
    pub fn new(queue: mpsc::Sender<T>) -> Self {
        let lost = AtomicU64::new(0);
        Self { queue, lost }
    }

    /// Sends a report, if there is room.
    pub fn send(&self, mut report: T) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let suppressed = report.suppressed();
        *suppressed = suppressed.saturating_add(lost);
        if let Err(error) = self.queue.try_send(report) {
            let mut report = error.into_inner();
            self.lose(report.suppressed().saturating_add(1));
        }
    }

    /// Has so many that are not sent counted with the next.
    pub fn lose(&self, count: u64) {
        let more = |lost: u64| Some(lost.saturating_add(count));
        // It is taken over at once or tried again.
        let _before = self
            .lost
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// Tells the first of each kind at once, and what follows within a second together, as much as a reader
/// can follow. Ends when nobody sends any more.
pub async fn forward_throttled<T: Throttled>(mut coming: mpsc::Receiver<T>, tell: impl Fn(T)) {
    let mut kinds = Kinds::new();
    let mut ticks = interval(THROTTLE_WINDOW / 4);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            report = coming.recv() => match report {
                Some(report) => {
                    if let Some(due) = kinds.note(report) {
                        tell(due);
                    }
                }
                None => return,
            },
            _ = ticks.tick(), if !kinds.is_empty() => kinds.sweep(&tell),
        }
    }
}

/// Kinds of reports, and apart those of whom it is certain who causes them.
struct Kinds<T: Throttled> {
    of_anybody: KeyedThrottle<T::Kind, T>,
    of_owners: FairThrottle<String, T::Kind, T>,
}

impl<T: Throttled> Kinds<T> {
    fn new() -> Self {
        Self {
            of_anybody: KeyedThrottle::new(MAX_THROTTLED_KINDS).telling_at_most(MAX_TOLD),
            of_owners: FairThrottle::new(MAX_THROTTLED_OWNERS, MAX_KINDS_OF_OWNER),
        }
    }

    fn is_empty(&self) -> bool {
        self.of_anybody.is_empty() && self.of_owners.is_empty()
    }

    /// Gives back what is to be told now.
    fn note(&mut self, mut report: T) -> Option<T> {
        let (kind, before, now) = (report.kind(), *report.suppressed(), Instant::now());
        let due = match report.owner() {
            Some(owner) => {
                let key = (owner, kind);
                self.of_owners.note(key, report, before, now, T::join)
            }
            None => self
                .of_anybody
                .note_joined(kind, report, before, now, T::join),
        };
        due.map(|(report, untold)| standing_for(report, untold))
    }

    fn sweep(&mut self, tell: impl Fn(T)) {
        let now = Instant::now();
        let told = |report, untold| tell(standing_for(report, untold));
        self.of_anybody
            .sweep(now, |_, report, untold| told(report, untold));
        self.of_owners.sweep(now, told);
    }
}

fn standing_for<T: Throttled>(mut report: T, untold: u64) -> T {
    *report.suppressed() = untold;
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use lattice_core::event::CallRefused;
    use parking_lot::Mutex;
    use tokio_util::task::AbortOnDropHandle;

    fn refused(target: &str, error: usize) -> CallRefused {
        CallRefused {
            target_id: target.to_owned(),
            code: "replayed".to_owned(),
            error: error.to_string(),
            ..CallRefused::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_the_others_together() {
        let (reports, coming) = mpsc::channel(256);
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let _task = AbortOnDropHandle::new(tokio::spawn(forward_throttled(
            coming,
            move |refused: CallRefused| {
                log.lock()
                    .push((refused.target_id, refused.error, refused.suppressed));
            },
        )));
        for error in 0..10 {
            reports.send(refused("a", error)).await.unwrap();
        }
        reports.send(refused("b", 0)).await.unwrap();
        tokio::time::sleep(THROTTLE_WINDOW / 2).await;
        let first = |target: &str| (target.to_owned(), "0".to_owned(), 0);
        assert_eq!(*told.lock(), [first("a"), first("b")]);
        tokio::time::sleep(2 * THROTTLE_WINDOW).await;
        assert_eq!(told.lock()[2..], [("a".to_owned(), "9".to_owned(), 8)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_certain_to_cause_many_hides_nothing_of_another() {
        let (reports, coming) = mpsc::channel(256);
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let tell = move |refused: CallRefused| {
            log.lock().push((refused.caller_id, refused.suppressed));
        };
        let _task = AbortOnDropHandle::new(tokio::spawn(forward_throttled(coming, tell)));
        let by = |caller: &str, target: &str| CallRefused {
            caller_id: Some(caller.to_owned()),
            ..refused(target, 0)
        };
        for number in 0..10 {
            if number == 5 {
                reports.send(by("b", "probe")).await.unwrap();
            }
            reports.send(by("a", "probe")).await.unwrap();
        }
        tokio::time::sleep(3 * THROTTLE_WINDOW).await;
        let of = |caller: &str, untold| (Some(caller.to_owned()), untold);
        assert_eq!(*told.lock(), [of("a", 0), of("b", 0), of("a", 8)]);
        // Nor by as many kinds as there are.
        for kind in 0..2 * MAX_THROTTLED_KINDS {
            reports.send(by("a", &kind.to_string())).await.unwrap();
        }
        reports.send(by("b", "vault")).await.unwrap();
        tokio::time::sleep(THROTTLE_WINDOW / 2).await;
        let told = told.lock();
        let of_b = told.iter().filter(|one| **one == of("b", 0));
        assert_eq!(of_b.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_that_are_too_many_are_counted_with_the_next_that_is_told() {
        let (reports, coming) = mpsc::channel(2 * MAX_THROTTLED_KINDS);
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let tell = move |refused: CallRefused| log.lock().push(refused.suppressed);
        let _task = AbortOnDropHandle::new(tokio::spawn(forward_throttled(coming, tell)));
        for kind in 0..MAX_THROTTLED_KINDS + 5 {
            let mut one = refused(&kind.to_string(), 0);
            one.suppressed = u64::from(kind == MAX_THROTTLED_KINDS) * u64::MAX;
            reports.send(one).await.unwrap();
        }
        tokio::time::sleep(3 * THROTTLE_WINDOW).await;
        assert_eq!(told.lock().len(), MAX_THROTTLED_KINDS);
        reports.send(refused("later", 0)).await.unwrap();
        tokio::time::sleep(THROTTLE_WINDOW).await;
        assert_eq!(told.lock().last(), Some(&u64::MAX));
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted_with_the_next() {
        let (queue, mut coming) = mpsc::channel(1);
        let reports = Reports::new(queue);
        for error in 0..4 {
            reports.send(refused("a", error));
        }
        assert_eq!(coming.recv().await.unwrap().suppressed, 0);
        reports.send(refused("b", 0));
        assert_eq!(coming.recv().await.unwrap().suppressed, 3);
        reports.send(refused("b", 1));
        assert_eq!(coming.recv().await.unwrap().suppressed, 0);
    }
}
