//! What the components of one host run at once, together.
//!
//! Each component has its own [`Limiter`](crate::Limiter); behind all of them stands one gate. It
//! is open until the host has more to do than it can, and then lets in as much as it gets done.
//!
//! **What is counted.** A call that waits for the answer of a store is no load, one that computes
//! is. So a call counts as much of one as those of its component computed, or waited for a thread to
//! do so, in the time that they took ([`Seat::learn`]): where calls wait for 100 ms and compute for
//! one, a hundredth each.
//!
//! **What tells of too much.** How long a task that gives way has to wait until it is its turn
//! again, on the threads that calls run on: the least of several such waits ([`probe`]). The least,
//! as in `CoDel`, since bursts pass by themselves while a queue that stands makes every wait long;
//! and the wait for a thread rather than the time that calls take, since that one depends on what
//! they wait for, differs from component to component, and its minimum has to be known first. The
//! limit goes half of the way down to the number of cores when the least wait is above its target,
//! and a quarter up while calls wait at the gate and it is not. A second without a wait above the
//! target opens the gate.
//!
//! **Whose turn it is.** At the limit the next turn is that of the component that has least at
//! work among those that wait; and one that has less than an equal share of the limit does not
//! wait, so that a flood of calls to one component holds up no other. Where no call of a component
//! ends for a while, one that waits is let in all the same: guests give way to one another, and a
//! short call is not to wait for some that compute for minutes.
//!
//! Calls made by a component of the same host never wait: who called them has a turn already, and
//! would wait for them while others wait for it.
//!
//! **What never waits here.** Calls made in this process that end before they give up their thread
//! are no more at once than there are threads. Of these a share is refused ([`shed`]).

mod member;
pub(crate) mod probe;
mod shed;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::threads;
use member::Member;
pub(crate) use member::{Seat, Spent, Turn, average};
pub use probe::{Threads, WatchedThreads};
use table::{Next, Table};

/// What a call counts that only computes.
const WHOLE: usize = 256;

/// The limit of a gate that is open.
const OPEN: usize = usize::MAX;

/// Of so many calls one has the threads looked at.
const MANY: u32 = 256;

/// How long after the last wait that was too long the gate opens.
const CALM: Duration = Duration::from_secs(1);

/// A time as the counters here have it.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Bounds what all members do at once. Clones share everything.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// The limit is never lower: what keeps all cores at work.
    floor: usize,
    limit: AtomicUsize,
    /// What is at work, in parts of [`WHOLE`].
    load: AtomicUsize,
    /// How many calls that is.
    turns: AtomicUsize,
    /// How many have begun; runs over.
    begun: AtomicU32,
    /// How many calls wait. Sequentially consistent with `load`: either who leaves sees who waits,
    /// or who begins to wait sees the room.
    waiting: AtomicUsize,
    /// Whether the threads are watched.
    watched: AtomicBool,
    /// Whether calls are refused that do not wait here.
    sheds: [AtomicBool; 2],
    much: Notify,
    /// How long a task waits for a thread, in nanoseconds: on the threads that serve NATS, and on
    /// those for calls that compute for long. 0 when that is not watched.
    waits: [AtomicU64; 2],
    table: Mutex<Table>,
    /// When tasks last had to wait for too long.
    congested_at: Mutex<Option<Instant>>,
}

impl Gate {
    /// A gate for a machine with so many cores.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                floor: cores.max(1).saturating_mul(WHOLE),
                limit: AtomicUsize::new(OPEN),
                load: AtomicUsize::new(0),
                turns: AtomicUsize::new(0),
                begun: AtomicU32::new(0),
                waits: Default::default(),
                waiting: AtomicUsize::new(0),
                watched: AtomicBool::new(false),
                sheds: Default::default(),
                much: Notify::new(),
                table: Mutex::default(),
                congested_at: Mutex::default(),
            }),
        }
    }

    /// Stands in for the threads that are watched.
    #[cfg(test)]
    pub(crate) fn press(&self, wait: Duration, target: Duration) {
        self.inner.waits[0].store(wait.as_nanos() as u64, Ordering::Relaxed);
        self.inner.heed(wait > target);
    }

    /// A place at the gate for one component.
    pub(crate) fn join(&self, name: &str) -> Seat {
        Seat::new(Member::new(&self.inner, name))
    }
}

impl Inner {
    /// Whether the host has more to do than it can, or had within the last second.
    fn is_engaged(&self) -> bool {
        self.limit.load(Ordering::Relaxed) != OPEN
    }

    fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    fn has_room(&self) -> bool {
        self.load.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed)
    }

    /// Gives turns to those who wait, as long as there is room.
    fn give(&self) {
        let mut table = self.table.lock();
        while let Some(next) = table.next(self) {
            self.give_to(next);
        }
    }

    fn give_to(&self, (member, place): Next) {
        let turn = Turn::take(&member);
        match place.send(turn) {
            Ok(()) => {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            // Who waited has left, and has counted itself out.
            Err(turn) => turn.undo(),
        }
    }

    /// Gives turns to those before whom nothing moves.
    fn give_to_stuck(&self) {
        let mut table = self.table.lock();
        table.stuck(|next| self.give_to(next));
    }

    /// Takes note of whether tasks had to wait for a thread for too long, each time for some time.
    fn heed(&self, too_long: bool) {
        let now = Instant::now();
        let limit = self.limit.load(Ordering::Relaxed);
        let limit = if too_long {
            *self.congested_at.lock() = Some(now);
            let most = limit.min(self.load.load(Ordering::Relaxed)).max(self.floor);
            self.floor + (most - self.floor) / 2
        } else {
            let before = *self.congested_at.lock();
            if before.is_none_or(|before| now - before >= CALM) {
                OPEN
            } else if self.waiting.load(Ordering::Relaxed) > 0 {
                limit.saturating_add((limit / 4).max(WHOLE))
            } else {
                limit
            }
        };
        self.limit.store(limit, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.give();
            self.give_to_stuck();
        }
    }

    /// How long a task waits for a thread of the kind that this is called on.
    fn wait_here(&self) -> Duration {
        let kind = usize::from(threads::is_for_long_work());
        Duration::from_nanos(self.waits[kind].load(Ordering::Relaxed))
    }

    /// Begins to watch the threads when more calls are at work than there are cores, and now and
    /// then when calls end as fast as they begin.
    fn look_out(&self, turns: usize, begun: u32) {
        if (turns * WHOLE > self.floor || begun.is_multiple_of(MANY))
            && !self.watched.load(Ordering::Relaxed)
            && !self.watched.swap(true, Ordering::Relaxed)
        {
            self.much.notify_one();
        }
    }
}
