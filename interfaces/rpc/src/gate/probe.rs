//! How long a task waits for a thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{CALM, Gate, Inner, WHOLE, nanos};

/// The time between two probes, and after how many the least counts.
const PAUSE: Duration = Duration::from_millis(10);
const PROBES: usize = 5;

/// With more calls than these from one look to the next, there is another.
const FEW: u32 = 32;

/// How long a probe may take; it counts as so long then.
const LONGEST: Duration = Duration::from_millis(100);

/// Threads that calls run on.
#[derive(Debug, Clone)]
pub struct Threads {
    /// Their runtime.
    pub handle: Handle,
    /// How long a task there may wait for its next turn.
    pub target: Duration,
}

/// Threads that a gate watches, as long as this is held.
#[derive(Debug)]
pub struct WatchedThreads(
    #[expect(dead_code, reason = "ends it when dropped")] AbortOnDropHandle<()>,
);

impl Gate {
    /// Begins to watch the threads on which the calls of the members run: those that serve NATS,
    /// and those for calls that compute for long. Without it the gate stays open. Nothing is done
    /// as long as there are few calls.
    #[must_use]
    pub fn watch(&self, serving: Threads, long: Option<Threads>) -> WatchedThreads {
        let gate = self.clone();
        let threads: Vec<_> = [serving].into_iter().chain(long).collect();
        let work = async move { gate.inner.watch(&threads).await };
        WatchedThreads(AbortOnDropHandle::new(tokio::spawn(work)))
    }
}

impl Inner {
    async fn watch(&self, threads: &[Threads]) {
        loop {
            self.much.notified().await;
            tokio::select! {
                () = self.set_limit(threads) => {}
                () = self.keep_waits_short(threads) => {}
            }
            self.shed_nothing();
            self.waits
                .iter()
                .for_each(|wait| wait.store(0, Ordering::Relaxed));
            self.watched.store(false, Ordering::Relaxed);
        }
    }

    /// Looks at the threads until there has been little to do for a while.
    async fn set_limit(&self, threads: &[Threads]) {
        let mut begun = self.begun.load(Ordering::Relaxed);
        let mut last = Instant::now();
        while last.elapsed() < CALM {
            let waits = least(threads).await;
            self.look(threads, &waits);
            let before = std::mem::replace(&mut begun, self.begun.load(Ordering::Relaxed));
            if self.is_busy(begun.wrapping_sub(before)) {
                last = Instant::now();
            }
        }
    }

    fn look(&self, threads: &[Threads], waits: &[Duration]) {
        let mut too_long = false;
        for (kind, wait) in waits.iter().enumerate() {
            self.waits[kind].store(nanos(*wait), Ordering::Relaxed);
            too_long |= *wait > threads[kind].target;
        }
        self.heed(too_long);
    }

    /// Whether there is a reason to go on looking, with so many calls begun since the last time.
    fn is_busy(&self, begun: u32) -> bool {
        self.turns.load(Ordering::Relaxed) * WHOLE > self.floor
            || begun > FEW
            || self.sheds.iter().any(|sheds| sheds.load(Ordering::Relaxed))
            || self.is_engaged()
    }
}

/// The least wait of several for each.
async fn least(threads: &[Threads]) -> Vec<Duration> {
    let mut least = vec![LONGEST; threads.len()];
    for _ in 0..PROBES {
        tokio::time::sleep(PAUSE).await;
        for (least, threads) in least.iter_mut().zip(threads) {
            let probe = AbortOnDropHandle::new(threads.handle.spawn(turnaround()));
            if let Ok(Ok(wait)) = tokio::time::timeout(LONGEST, probe).await {
                *least = wait.min(*least);
            }
        }
    }
    least
}

/// How long a task waits that gives way to all others that are ready. It gives way as guests do,
/// whom a shorter way would not meet; and twice, since tokio takes up the tasks that gave way in the
/// reverse order, so that those who wait less than others at first wait more the next time.
async fn turnaround() -> Duration {
    let began = Instant::now();
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
    began.elapsed() / 2
}
