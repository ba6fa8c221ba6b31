//! How long a task waits for a thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::shed::{self, Control, Usage};
use super::{CALM, Gate, Inner, WHOLE};

/// The time between two probes, and after how many the least counts.
const PAUSE: Duration = Duration::from_millis(2);
const PROBES: usize = 5;

/// After how many such looks the limit is set, by the least of them all.
const LOOKS: usize = 5;

/// With more calls than these while the limit stays, the threads are watched on.
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
            let mut controls: Vec<_> = threads.iter().map(|_| Control::default()).collect();
            let mut begun = self.begun.load(Ordering::Relaxed);
            let mut last = Instant::now();
            while last.elapsed() < CALM {
                let mut waits = vec![LONGEST; threads.len()];
                let mut sheds = false;
                for _ in 0..LOOKS {
                    let latest = least(threads).await;
                    sheds = self.shed(&latest, &mut controls);
                    for (least, latest) in waits.iter_mut().zip(latest) {
                        *least = latest.min(*least);
                    }
                }
                self.look(threads, &waits);
                let before = std::mem::replace(&mut begun, self.begun.load(Ordering::Relaxed));
                if sheds || self.is_busy(begun.wrapping_sub(before)) {
                    last = Instant::now();
                }
            }
            self.waits
                .iter()
                .for_each(|wait| wait.store(0, Ordering::Relaxed));
            self.watched.store(false, Ordering::Relaxed);
        }
    }

    fn look(&self, threads: &[Threads], waits: &[Duration]) {
        let mut too_long = false;
        for (kind, wait) in waits.iter().enumerate() {
            self.waits[kind].store(wait.as_nanos() as u64, Ordering::Relaxed);
            too_long |= *wait > threads[kind].target;
        }
        self.heed(too_long);
    }

    /// Sets what is refused of calls that do not wait at the gate; whether that is anything.
    fn shed(&self, waits: &[Duration], controls: &mut [Control]) -> bool {
        let table = self.table.lock();
        let usage = Usage::take(table.members());
        let target = shed::target(usage.stretch());
        let mut sheds = false;
        for (kind, (wait, control)) in waits.iter().zip(controls).enumerate() {
            let share = control.next(*wait, target);
            sheds |= share > 0.0;
            tracing::trace!(kind, ?wait, ?target, share, "looked at the threads");
            for (place, member) in table.members().enumerate() {
                let own = if usage.is_large(place) { share } else { 0.0 };
                member.used.refuse(own, kind);
            }
        }
        sheds
    }

    /// Whether there is a reason to go on looking, with so many calls begun since the last time.
    fn is_busy(&self, begun: u32) -> bool {
        self.turns.load(Ordering::Relaxed) * WHOLE > self.floor || begun > FEW || self.is_engaged()
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
