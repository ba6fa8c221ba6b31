//! The limits of one instance: memory and CPU time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::time::Instant;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use crate::store::Ctx;
use crate::ticker::Running;

/// What a table element takes.
const ELEMENT_BYTES: usize = std::mem::size_of::<usize>();

/// Counts all memories and tables of one instance against one limit.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    limit: usize,
    used: usize,
    /// The last growth that was allowed, in case it fails after all.
    last: usize,
    denied: Option<usize>,
}

impl MemoryLimit {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            last: 0,
            denied: None,
        }
    }

    /// Forgets what was denied to an earlier call. What is used stays so.
    pub(crate) fn begin_call(&mut self) {
        self.denied = None;
    }

    /// What all memories and tables take together, in bytes.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Whether the instance was denied nothing and has as much left as it uses.
    pub(crate) fn has_room(&self) -> bool {
        self.denied.is_none() && self.used <= self.limit / 2
    }

    /// What the instance asked for in vain, and its limit.
    pub(crate) fn denied(&self) -> Option<(u64, u64)> {
        self.denied.map(|wanted| (wanted as u64, self.limit as u64))
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current);
        let wanted = self.used.saturating_add(more);
        if wanted > self.limit {
            self.denied = Some(wanted);
            return false;
        }
        self.used = wanted;
        self.last = more;
        true
    }

    fn undo(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Growth beyond the memory's own maximum fails whatever is said here, so that it must
        // not be counted.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(
            current.saturating_mul(ELEMENT_BYTES),
            desired.saturating_mul(ELEMENT_BYTES),
        ))
    }
}

/// Why the runtime stopped a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("the CPU budget is used up")]
    CpuBudget,
    #[error("the deadline has passed")]
    Deadline,
}

/// How long a call has kept a worker thread busy, in ticks.
pub(crate) struct Meter {
    running: Running,
    budget: Option<u64>,
    polled_at: AtomicU64,
    used: AtomicU64,
}

impl Meter {
    pub(crate) fn new(running: Running, budget: Option<u64>) -> Self {
        let polled_at = AtomicU64::new(running.now());
        Self {
            running,
            budget,
            polled_at,
            used: AtomicU64::new(0),
        }
    }

    /// The number of ticks so far, by which a busy guest gives way to others.
    pub(crate) fn now(&self) -> u64 {
        self.running.now()
    }

    /// The guest continues on a thread.
    fn resume(&self) {
        self.polled_at.store(self.running.now(), Ordering::Relaxed);
    }

    /// Called when the guest meets an epoch that is over; returns false when that is so only
    /// because it has been waiting.
    fn charge(&self) -> bool {
        let now = self.running.now();
        let spent = now.saturating_sub(self.polled_at.swap(now, Ordering::Relaxed));
        self.used.fetch_add(spent, Ordering::Relaxed);
        spent > 0
    }

    /// Notes what the guest has used so far. What is done until the returned is dropped is not the
    /// guest's own: a call within the host may have another guest compute on the same thread.
    pub(crate) fn away(&self) -> Away<'_> {
        self.charge();
        Away(self)
    }

    fn over_budget(&self) -> bool {
        self.budget
            .is_some_and(|budget| self.used.load(Ordering::Relaxed) >= budget)
    }
}

/// Time that is not charged to the guest; see [`Meter::away`].
pub(crate) struct Away<'a>(&'a Meter);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.resume();
    }
}

/// Makes the guest yield at each tick, and stops it when the budget or the time of the call that
/// it is in is used up.
pub(crate) fn watch(store: &mut Store<Ctx>) {
    store.epoch_deadline_callback(|cx| {
        let meter = cx.data().meter();
        if !meter.charge() {
            return Ok(UpdateDeadline::Continue(1));
        }
        if meter.over_budget() {
            return Err(Stopped::CpuBudget.into());
        }
        if Instant::now() >= cx.data().deadline() {
            return Err(Stopped::Deadline.into());
        }
        // tokio's own yield lets the worker look at timers and sockets before the guest goes on.
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(tokio::task::yield_now()),
        ))
    });
}

/// A future that runs a guest and tells the meter whenever it gets a thread.
pub(crate) struct Metered<F> {
    meter: Arc<Meter>,
    guest: Pin<Box<F>>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(meter: Arc<Meter>, guest: F) -> Self {
        Self {
            meter,
            guest: Box::pin(guest),
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.resume();
        self.guest.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limit = MemoryLimit::new(1000);
        assert!(limit.memory_growing(0, 600, None).unwrap());
        assert!(limit.table_growing(0, 25, None).unwrap());
        assert!(!limit.memory_growing(0, 300, None).unwrap());
        assert_eq!(limit.denied(), Some((1100, 1000)));
        assert!(limit.memory_growing(600, 800, None).unwrap());
        assert!(!limit.memory_growing(800, 801, None).unwrap());
    }

    #[test]
    fn instance_that_was_denied_memory_or_uses_most_of_it_has_no_room() {
        let mut limit = MemoryLimit::new(1000);
        assert!(limit.memory_growing(0, 500, None).unwrap());
        assert!(limit.has_room());
        assert!(!limit.memory_growing(500, 1001, None).unwrap());
        assert!(!limit.has_room());
        limit.begin_call();
        assert!(limit.has_room());
        assert!(limit.memory_growing(500, 501, None).unwrap());
        assert!(!limit.has_room());
        assert_eq!(limit.used(), 501);
    }

    #[test]
    fn growth_beyond_the_own_maximum_is_not_counted() {
        let mut limit = MemoryLimit::new(1000);
        assert!(!limit.memory_growing(0, 900, Some(800)).unwrap());
        assert_eq!(limit.denied(), None);
        assert!(limit.memory_growing(0, 1000, Some(2000)).unwrap());
    }
}
