//! A component at the gate, and the turns that its calls get.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::shed::Use;
use super::{Inner, WHOLE, nanos};
use crate::threads;

/// What a call counts before any has ended: little, since many that wait would be held up until one
/// does.
const UNKNOWN: usize = WHOLE / 16;

/// The kind of threads that this is called on.
fn kind() -> usize {
    usize::from(threads::is_for_long_work())
}

/// How much of the average one more call changes.
const RECENT: u64 = 16;

/// One component, as the gate sees it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) gate: Arc<Inner>,
    pub(super) name: Box<str>,
    /// What its calls that are at work count.
    pub(super) load: AtomicUsize,
    /// How many of its calls have ended while some waited.
    pub(super) ended: AtomicUsize,
    /// What its next call counts.
    weight: AtomicUsize,
    /// How long calls computed or could have, and how long they took, in nanoseconds, on average.
    ready: AtomicU64,
    whole: AtomicU64,
    pub(super) used: Use,
}

/// What a call took that has ended.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Spent {
    /// How long it kept a thread, and in how many stretches.
    pub(crate) busy: Duration,
    pub(crate) stretches: u32,
    /// How long it could have gone on but for want of a thread.
    pub(crate) waited: Duration,
    /// From its begin to its end.
    pub(crate) whole: Duration,
}

impl Member {
    pub(super) fn new(gate: &Arc<Inner>, name: &str) -> Arc<Self> {
        let member = Arc::new(Self {
            gate: Arc::clone(gate),
            name: name.into(),
            load: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            weight: AtomicUsize::new(UNKNOWN),
            ready: AtomicU64::new(0),
            whole: AtomicU64::new(0),
            used: Use::default(),
        });
        gate.table.lock().add(&member);
        member
    }

    /// Learns from a call what the next ones count. Two at once may count as one.
    fn learn(&self, spent: Spent) {
        if self.gate.watched.load(Ordering::Relaxed) {
            self.used.add(spent.busy, spent.stretches, kind());
        }
        let ready = average(&self.ready, spent.busy + spent.waited, RECENT);
        let whole = average(&self.whole, spent.whole, RECENT);
        let weight = u128::from(ready) * WHOLE as u128 / u128::from(whole.max(1));
        self.weight
            .store((weight as usize).clamp(1, WHOLE), Ordering::Relaxed);
    }
}

/// Takes one more into an average of the last `recent` or so; gives the new one, in nanoseconds.
pub(crate) fn average(average: &AtomicU64, one: Duration, recent: u64) -> u64 {
    let one = nanos(one).max(1);
    let before = average.load(Ordering::Relaxed);
    let after = match before {
        0 => one,
        _ if one > before => before + (one - before).div_ceil(recent),
        _ => before - (before - one) / recent,
    };
    average.store(after, Ordering::Relaxed);
    after
}

/// The place of a component at the gate, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Member>);

impl Seat {
    pub(super) fn new(member: Arc<Member>) -> Self {
        Self(member)
    }

    /// A turn at once, if nobody waits and there is room.
    pub(crate) fn try_enter(&self) -> Option<Turn> {
        let gate = &self.0.gate;
        if gate.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let turn = Turn::take(&self.0);
        // Those that come at the same moment may count each other; then they wait a little.
        let before = gate.load.load(Ordering::SeqCst) - turn.weight;
        (before < gate.limit.load(Ordering::SeqCst)).then_some(turn)
    }

    /// Waits for a turn. A call of `source` gets it at once if that is a component of this host.
    pub(crate) async fn enter(&self, source: Option<&str>) -> Turn {
        loop {
            let place = {
                let mut table = self.0.gate.table.lock();
                if table.admits(&self.0, source) {
                    return Turn::take(&self.0);
                }
                let (turn, place) = oneshot::channel();
                table.push(&self.0, turn);
                self.0.gate.waiting.fetch_add(1, Ordering::SeqCst);
                Place {
                    place,
                    taken: false,
                    gate: &self.0.gate,
                }
            };
            // Somebody may have left just before.
            self.0.gate.give();
            if let Some(turn) = place.taken().await {
                return turn;
            }
        }
    }

    /// Whether the host has more to do than it can.
    pub(crate) fn is_engaged(&self) -> bool {
        self.0.gate.is_engaged()
    }

    /// Whether a call would get its turn at once.
    pub(crate) fn has_room(&self) -> bool {
        self.0.gate.has_room()
    }

    /// How long a task waits for a thread of the kind that this is called on.
    pub(crate) fn wait_here(&self) -> Duration {
        self.0.gate.wait_here()
    }

    /// Learns from a call that has ended what the next ones count.
    pub(crate) fn learn(&self, spent: Spent) {
        self.0.learn(spent);
    }

    /// Whether the host refuses some of the calls that are made on a thread like this one.
    pub(crate) fn is_shed(&self) -> bool {
        self.0.used.is_shed(kind())
    }

    /// Whether a call of `source` that comes at this moment had better go elsewhere.
    pub(crate) fn sheds_now(&self, source: Option<&str>) -> bool {
        let (used, gate) = (&self.0.used, &self.0.gate);
        used.is_shed(kind())
            && !source.is_some_and(|source| gate.table.lock().knows(source))
            && used.sheds_at(gate.since_start(), kind())
    }

    /// Whether the host cannot serve this call of `source` in time, which is made on this thread.
    /// Those that its own components make are part of what it has begun.
    pub(crate) fn refuses(&self, source: Option<&str>) -> bool {
        let used = &self.0.used;
        used.is_shed(kind())
            && !source.is_some_and(|source| self.0.gate.table.lock().knows(source))
            && used.refuses(kind())
    }

    #[cfg(test)]
    pub(super) fn load(&self) -> usize {
        self.0.load.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.gate.table.lock().remove(&self.0);
    }
}

/// A place in the queue of a member.
struct Place<'a> {
    place: oneshot::Receiver<Turn>,
    taken: bool,
    gate: &'a Inner,
}

impl Place<'_> {
    async fn taken(mut self) -> Option<Turn> {
        let turn = (&mut self.place).await.ok();
        self.taken = turn.is_some();
        turn
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        self.place.close();
        // With a turn that came just now, it is given back; without, nobody has counted it out.
        if self.place.try_recv().is_err() {
            self.gate.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The right of one call to be at work.
#[derive(Debug)]
pub(crate) struct Turn {
    member: Arc<Member>,
    weight: usize,
}

impl Turn {
    pub(super) fn take(member: &Arc<Member>) -> Self {
        let weight = member.weight.load(Ordering::Relaxed);
        member.load.fetch_add(weight, Ordering::Relaxed);
        member.gate.load.fetch_add(weight, Ordering::SeqCst);
        let before = member.gate.turns.fetch_add(1, Ordering::Relaxed);
        let begun = member.gate.begun.fetch_add(1, Ordering::Relaxed);
        member.gate.look_out(before + 1, begun);
        Self {
            member: Arc::clone(member),
            weight,
        }
    }

    /// Gives the turn back without passing it on.
    pub(super) fn undo(mut self) {
        self.put_back();
        self.weight = 0;
    }

    fn put_back(&self) {
        self.member.load.fetch_sub(self.weight, Ordering::Relaxed);
        let gate = &self.member.gate;
        gate.turns.fetch_sub(1, Ordering::Relaxed);
        gate.load.fetch_sub(self.weight, Ordering::SeqCst);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.weight == 0 {
            return;
        }
        self.put_back();
        let gate = &self.member.gate;
        if gate.waiting.load(Ordering::SeqCst) > 0 {
            self.member.ended.fetch_add(1, Ordering::Relaxed);
            gate.give();
        }
    }
}
