//! Waiting for a lock where the backend keeps no queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

use super::backend::{Granted, Holder, LockError};
use super::wakeups::Wakeups;

/// How long a waiter relies on being woken. What it waits for may have been missed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// From how many names on those that nobody waits for are cleared away.
const CLEAR_FROM: usize = 64;

/// What became of one attempt.
#[derive(Debug)]
pub enum Attempt {
    /// The lock is ours.
    Got(Granted),
    /// Somebody else holds it.
    Held {
        /// Who.
        holder: Holder,
        /// When it may be free without a word, if that can be told.
        ends: Option<Instant>,
    },
}

tokio::task_local! {
    /// That of the acquisition under way.
    static DOUBT: Doubt;
}

/// Whether an acquisition that is broken off may have got its lock, or stands in a line of the
/// backend. That is so unless a [`LocalQueue`] knows better: between attempts nobody has anything.
#[derive(Debug, Clone)]
pub(super) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Makes an acquisition, which says meanwhile whether there is doubt about it.
    pub(super) fn about<F: Future>(&self, acquisition: F) -> TaskLocalFuture<Self, F> {
        DOUBT.scope(self.clone(), acquisition)
    }

    pub(super) fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Does nothing where nobody wants to know.
    fn set(is_left: bool) {
        let _ = DOUBT.try_with(|doubt| doubt.0.store(is_left, Ordering::Relaxed));
    }
}

type Line = Arc<tokio::sync::Mutex<()>>;

/// Those in this process who wait for locks: one line for each name, of which only the first one
/// asks the backend. So what many waiters cost a backend does not grow with their number, and among
/// them the order is kept.
#[derive(Debug, Default)]
pub struct LocalQueue {
    lines: Mutex<HashMap<String, Line>>,
    wakeups: Wakeups,
}

impl LocalQueue {
    /// Without waiters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What wakes the one who waits for a name.
    #[must_use]
    pub fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    /// Makes one attempt after the other until one succeeds, or `until` has passed: at first, when
    /// the wakeups is rung for the name, when the holder's time is over, and every second.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] when the wait ran out, and what an attempt says.
    pub async fn enter<F>(
        &self,
        name: &str,
        until: Instant,
        attempt: impl Fn() -> F,
    ) -> Result<Granted, LockError>
    where
        F: Future<Output = Result<Attempt, LockError>>,
    {
        let first = match attempted(attempt()).await? {
            Attempt::Got(granted) => return Ok(granted),
            Attempt::Held { holder, .. } => holder,
        };
        let turn = tokio::time::timeout_at(until, self.turn(name)).await;
        let Ok(_turn) = turn else {
            return Err(LockError::Held(Some(first)));
        };
        let mut listener = self.wakeups.listen(name);
        loop {
            let (holder, ends) = match attempted(attempt()).await? {
                Attempt::Got(granted) => return Ok(granted),
                Attempt::Held { holder, ends } => (holder, ends),
            };
            let now = Instant::now();
            if now >= until {
                return Err(LockError::Held(Some(holder)));
            }
            let wake = ends.unwrap_or(until).min(now + LOOK_AGAIN).min(until);
            listener.rung_by(wake).await;
        }
    }

    async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let line = {
            let mut lines = self.lines.lock();
            if lines.len() >= CLEAR_FROM {
                lines.retain(|_, line| Arc::strong_count(line) > 1);
            }
            Arc::clone(lines.entry(name.to_owned()).or_default())
        };
        line.lock_owned().await
    }
}

/// One attempt. Who is told that another holds the lock has got nothing.
async fn attempted<F>(attempt: F) -> Result<Attempt, LockError>
where
    F: Future<Output = Result<Attempt, LockError>>,
{
    Doubt::set(true);
    let attempted = attempt.await;
    Doubt::set(!matches!(attempted, Ok(Attempt::Held { .. })));
    attempted
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn held() -> Attempt {
        let holder = Holder {
            owner: "cart".to_owned(),
            fence: 1,
            expires_in_ms: None,
        };
        Attempt::Held { holder, ends: None }
    }

    fn got() -> Attempt {
        let ttl = Duration::from_secs(1);
        Attempt::Got(Granted { fence: 2, ttl })
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_who_holds_it() {
        let local_queue = LocalQueue::new();
        let until = Instant::now() + Duration::from_millis(2500);
        let asked = AtomicU64::new(0);
        let ended = local_queue
            .enter("a", until, || async {
                asked.fetch_add(1, Ordering::Relaxed);
                Ok(held())
            })
            .await;
        assert!(matches!(ended, Err(LockError::Held(Some(_)))));
        assert_eq!(Instant::now(), until);
        assert_eq!(asked.into_inner(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_bell_wakes_the_first_in_line() {
        let local_queue = Arc::new(LocalQueue::new());
        let until = Instant::now() + Duration::from_secs(60);
        let free = Arc::new(Mutex::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiters = tokio::task::JoinSet::new();
        for n in 0..5 {
            let (local_queue, free) = (Arc::clone(&local_queue), Arc::clone(&free));
            let order = Arc::clone(&order);
            waiters.spawn(async move {
                let take = || async {
                    let mut free = free.lock();
                    if *free == 0 {
                        return Ok(held());
                    }
                    *free -= 1;
                    Ok(got())
                };
                local_queue.enter("a", until, take).await.unwrap();
                order.lock().push(n);
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while !waiters.is_empty() {
            *free.lock() += 1;
            local_queue.wakeups().ring("a");
            waiters.join_next().await.unwrap().unwrap();
        }
        assert_eq!(*order.lock(), [0, 1, 2, 3, 4]);
        assert!(Instant::now() < until);
    }
}
