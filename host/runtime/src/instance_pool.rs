//! Instances that wait for their next call: those of one component, and of all together.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::component::Shared;
use crate::instance::LiveInstance;
use crate::{LogLevel, LogRecord, LogSource, Reuse};

/// How much memory all waiting instances of a runtime may take together, in bytes.
const MAX_BYTES: usize = 1 << 30;

/// The waiting instances of one component. They are dropped with it.
pub(crate) struct InstancePool {
    shared: Arc<Shared>,
    /// Whether there is a [`Reuse`], to be seen without the lock.
    open: AtomicBool,
    state: Mutex<State>,
    /// Whether the operator knows that instances are not kept because of what they hold.
    told: AtomicBool,
}

#[derive(Default)]
struct State {
    reuse: Option<Reuse>,
    /// In the order in which they came here.
    waiting: VecDeque<Waiting>,
    /// Whether a task looks after those that wait for too long.
    swept: bool,
    tasks: JoinSet<()>,
}

/// One that waits.
pub(crate) struct Waiting {
    instance: LiveInstance,
    since: Instant,
    _place: Place,
}

impl InstancePool {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        let reuse = shared.options.reuse;
        let instance_pool = Arc::new(Self {
            shared,
            open: AtomicBool::default(),
            state: Mutex::default(),
            told: AtomicBool::default(),
        });
        instance_pool.set(reuse);
        instance_pool
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether instances serve more than one call.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// How many instances wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Changes how instances are used again. Those that wait are retired.
    pub(crate) fn set(self: &Arc<Self>, reuse: Option<Reuse>) {
        let retired = {
            let mut state = self.lock();
            if state.reuse == reuse {
                return;
            }
            state.reuse = reuse;
            // The task would come by the time that counted before.
            state.tasks.abort_all();
            state.swept = false;
            self.open.store(reuse.is_some(), Ordering::Relaxed);
            std::mem::take(&mut state.waiting)
        };
        if reuse.is_some() {
            self.shared.runtime.pools().register(self);
        }
        // Outside of the lock: giving memory back takes a while.
        drop(retired);
    }

    /// Takes the instance that was used last.
    pub(crate) fn take(&self) -> Option<LiveInstance> {
        let last = {
            let mut state = self.lock();
            let max_idle = state.reuse?.max_idle;
            // When the last one has waited for too long, all have: the task is about to come.
            let fresh = |last: &mut Waiting| last.since.elapsed() < max_idle;
            state.waiting.pop_back_if(fresh)?
        };
        Some(last.instance)
    }

    /// Lets an instance wait, or retires it.
    pub(crate) fn put(self: &Arc<Self>, instance: LiveInstance) {
        let Some(place) = self.shared.runtime.pools().place(instance.bytes()) else {
            return;
        };
        let mut state = self.lock();
        let Some(reuse) = state.reuse else { return };
        let worn = instance.uses() >= reuse.max_uses
            || instance.bytes() > reuse.max_kept_bytes
            || !instance.has_room();
        if worn || state.waiting.len() >= reuse.max_kept {
            // Both go after the lock, as what is declared before it does.
            return;
        }
        state.waiting.push_back(Waiting {
            instance,
            since: Instant::now(),
            _place: place,
        });
        if !state.swept {
            state.swept = true;
            // What ended before leaves a result behind.
            while state.tasks.try_join_next().is_some() {}
            state.tasks.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Retires those that have waited for too long, and tells when the next one will have; `None`
    /// when nothing waits and the one who asks is not needed any more.
    fn retire_idle(&self) -> Option<Instant> {
        let mut retired = Vec::new();
        let mut state = self.lock();
        let next = loop {
            let first = state.waiting.front().map(|first| first.since);
            let Some((reuse, first)) = state.reuse.zip(first) else {
                state.swept = false;
                break None;
            };
            match first.checked_add(reuse.max_idle) {
                Some(end) if end <= Instant::now() => retired.extend(state.waiting.pop_front()),
                Some(end) => break Some(end),
                // No clock will ever show it.
                None => {
                    state.swept = false;
                    break None;
                }
            }
        };
        drop(state);
        next
    }

    /// Takes out a share of what waits, longest idle first.
    fn give_up(&self, share: Share) -> VecDeque<Waiting> {
        let mut state = self.lock();
        let gone = match share {
            Share::Half => state.waiting.len().div_ceil(2),
            Share::All => state.waiting.len(),
        };
        let stay = state.waiting.split_off(gone);
        std::mem::replace(&mut state.waiting, stay)
    }

    /// Says, once, why instances do not serve further calls although they should.
    pub(crate) fn tell_left_behind(&self, resources: usize) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let message = format!(
            "an instance is not used again, because it ends its call with {resources} of the \
             handles that it got in it (buckets, streams, fields or the like); the component has \
             to drop them"
        );
        let record = LogRecord::plain(LogSource::Runtime, LogLevel::Warn, &message);
        self.shared.env.log(record);
    }
}

/// Looks after an instance pool as long as something waits there.
async fn sweep(instance_pool: Weak<InstancePool>) {
    loop {
        let next = instance_pool
            .upgrade()
            .and_then(|instance_pool| instance_pool.retire_idle());
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

/// How much of what waits gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Half,
    All,
}

/// What the pools of a runtime have in common: together they hold less than leaves others
/// without room, and where that is still too much they give way.
pub(crate) struct InstancePools {
    places: Arc<Places>,
    pools: Mutex<Vec<Weak<InstancePool>>>,
}

struct Places {
    max: usize,
    taken: AtomicUsize,
    bytes: AtomicUsize,
}

/// The right of one instance to wait.
struct Place {
    places: Arc<Places>,
    bytes: usize,
}

impl InstancePools {
    /// InstancePools that hold so many instances together.
    pub(crate) fn new(max: usize) -> Self {
        let places = Places {
            max,
            taken: AtomicUsize::default(),
            bytes: AtomicUsize::default(),
        };
        Self {
            places: Arc::new(places),
            pools: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<InstancePool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, instance_pool: &Arc<InstancePool>) {
        let new = Arc::downgrade(instance_pool);
        let mut pools = self.lock();
        pools.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&new));
        pools.push(new);
    }

    fn place(&self, bytes: usize) -> Option<Place> {
        self.places.take(bytes)
    }

    /// Retires a share of what waits on each instance pool; false when nothing does.
    pub(crate) fn make_room(&self, share: Share) -> bool {
        if self.places.taken.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let pools: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let retired = pools
            .iter()
            .flat_map(|instance_pool| instance_pool.give_up(share));
        retired.count() > 0
    }
}

impl Places {
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        add_up_to(&self.taken, 1, self.max)?;
        if add_up_to(&self.bytes, bytes, MAX_BYTES).is_none() {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place {
            places: Arc::clone(self),
            bytes,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        self.places.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Adds to a count unless it would get larger than `max`.
fn add_up_to(count: &AtomicUsize, more: usize, max: usize) -> Option<()> {
    let add = |now: usize| now.checked_add(more).filter(|sum| *sum <= max);
    let added = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    added.ok().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_number_and_by_memory() {
        let pools = InstancePools::new(2);
        let first = pools.place(MAX_BYTES / 2).unwrap();
        assert!(pools.place(MAX_BYTES).is_none());
        let second = pools.place(MAX_BYTES / 2).unwrap();
        assert!(pools.place(0).is_none());
        drop(first);
        assert!(pools.place(1).is_some());
        drop(second);
        assert!(pools.place(MAX_BYTES).is_some());
        assert!(!pools.make_room(Share::All));
    }
}
