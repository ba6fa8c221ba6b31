//! Files that take too long to compile.
//!
//! No thread that compiles can be ended. One that takes too long goes on, without the permit that others
//! wait for, as soon as there are few such; its file is not compiled once more for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::failed;
use crate::PrepareError;
use crate::runtime::RuntimeInner;

/// How long a file may take while others wait: as long as a host waits for it.
pub(super) const WITHIN: Duration = Duration::from_secs(300);

/// How many threads may go on beside those that others wait for.
const GOING_ON: usize = 2;

/// How long a file is not compiled again after it took too long. Where code is kept, it is there then.
const PAUSE: Duration = Duration::from_secs(600);

type Digest = [u8; 32];

/// The files that took too long.
#[derive(Debug)]
pub(super) struct Slow {
    /// When each was done after all; none of those that are not. They are few: each keeps a thread busy
    /// for long, and is forgotten soon after.
    files: Mutex<HashMap<Digest, Option<Instant>>>,
    going_on: Arc<Semaphore>,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            files: Mutex::default(),
            going_on: Arc::new(Semaphore::new(GOING_ON)),
        }
    }
}

impl Slow {
    /// Refuses a file that took too long, whether or not it has ended since.
    pub(super) fn check(&self, digest: &Digest) -> Result<(), PrepareError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, done| done.is_none_or(|done| done.elapsed() < PAUSE));
        if files.contains_key(digest) {
            return Err(PrepareError::Slow { within: WITHIN });
        }
        Ok(())
    }

    fn remember(&self, digest: Digest) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(digest, None);
    }

    fn done(&self, digest: &Digest) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = files.get_mut(digest) {
            *done = Some(Instant::now());
        }
    }
}

/// What a thread holds while it compiles.
struct Job {
    runtime: Arc<RuntimeInner>,
    digest: Digest,
    /// None once the thread is done.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Job {
    /// Refuses the file from now on, unless the thread is done.
    fn give_up(&self) {
        let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        if permit.is_some() {
            self.runtime.sources.slow.remember(self.digest);
        }
    }

    /// Lets others compile: at once while few go on, else as soon as one of those ends. The thread keeps
    /// its permit until then.
    async fn make_way<T>(self: Arc<Self>, thread: JoinHandle<T>) {
        let going_on = Arc::clone(&self.runtime.sources.slow.going_on);
        tokio::select! {
            biased;
            // It has given back its permit itself.
            _ = thread => {}
            Ok(place) = going_on.acquire_owned() => {
                let permit = &self.permit;
                let mut permit = permit.lock().unwrap_or_else(PoisonError::into_inner);
                if permit.is_some() {
                    *permit = Some(place);
                }
            }
        }
    }
}

/// The thread's own hold of its job, which ends it however the thread ends.
struct OnThread(Arc<Job>);

impl Drop for OnThread {
    fn drop(&mut self) {
        let permit = &self.0.permit;
        let held = permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.runtime.sources.slow.done(&self.0.digest);
        drop(held);
    }
}

/// Does what compiles a file, on a thread of its own. After a time the file is given up, whether or not
/// the caller still waits.
pub(super) async fn compile<T: Send + 'static>(
    runtime: &Arc<RuntimeInner>,
    digest: Digest,
    permit: OwnedSemaphorePermit,
    within: Duration,
    work: impl FnOnce(&RuntimeInner) -> Result<T, PrepareError> + Send + 'static,
) -> Result<T, PrepareError> {
    let job = Arc::new(Job {
        runtime: Arc::clone(runtime),
        digest,
        permit: Mutex::new(Some(permit)),
    });
    let on_thread = OnThread(Arc::clone(&job));
    let mut thread = tokio::task::spawn_blocking(move || {
        let held = on_thread;
        work(&held.0.runtime)
    });
    let watched = tokio::spawn(async move {
        match timeout(within, &mut thread).await {
            Ok(done) => done.unwrap_or_else(|error| Err(failed(&error))),
            Err(_) => {
                job.give_up();
                // The caller is not to wait for that.
                tokio::spawn(job.make_way(thread));
                tracing::warn!(?within, "a component takes too long to compile");
                Err(PrepareError::Slow { within })
            }
        }
    });
    watched.await.unwrap_or_else(|error| Err(failed(&error)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::future::BoxFuture;
    use futures::{FutureExt as _, poll};

    use super::super::permit;
    use super::*;
    use crate::{Runtime, RuntimeConfig};

    /// Longer than anything here should take on a busy machine.
    const SOON: Duration = Duration::from_secs(60);

    /// Compiles one file at a time.
    fn runtime() -> Runtime {
        let config = RuntimeConfig {
            max_instances: 4,
            max_memory_bytes: 1 << 20,
            max_compilations: 1,
            ..RuntimeConfig::default()
        };
        Runtime::new(config).unwrap()
    }

    /// When it is its turn, compiles a file for as long as the sender is there.
    async fn endless(
        runtime: &Arc<RuntimeInner>,
        number: u8,
    ) -> (mpsc::Sender<()>, BoxFuture<'_, Result<(), PrepareError>>) {
        let turn = timeout(SOON, permit(&runtime.compilations));
        let turn = turn.await.unwrap().unwrap();
        let (end, ended) = mpsc::channel::<()>();
        let work = move |_: &RuntimeInner| {
            let _ended = ended.recv();
            Ok(())
        };
        let within = Duration::from_millis(20);
        let compiled = compile(runtime, [number; 32], turn, within, work);
        (end, compiled.boxed())
    }

    #[tokio::test]
    async fn a_file_that_finds_too_many_going_on_makes_way_when_one_of_them_ends() {
        let runtime = runtime();
        let runtime = runtime.inner();
        let mut ends = Vec::new();
        for number in 0..=GOING_ON as u8 {
            let (end, compiled) = endless(runtime, number).await;
            let refused = timeout(SOON, compiled).await.unwrap();
            assert!(matches!(refused, Err(PrepareError::Slow { .. })));
            ends.push(end);
        }
        assert_eq!(runtime.compilations.available_permits(), 0);
        drop(ends.remove(0));
        let turn = timeout(SOON, permit(&runtime.compilations)).await;
        drop(turn.unwrap().unwrap());
        // The last one goes on in the place of the first.
        assert_eq!(runtime.sources.slow.going_on.available_permits(), 0);
    }

    #[tokio::test]
    async fn a_file_that_takes_too_long_keeps_no_others_waiting_and_is_refused_for_a_while() {
        let runtime = runtime();
        let runtime = runtime.inner();
        let slow = &runtime.sources.slow;
        let mut ends = Vec::new();
        let mut compiling = Vec::new();
        for number in 1..=GOING_ON as u8 {
            let (end, mut compiled) = endless(runtime, number).await;
            assert!(poll!(&mut compiled).is_pending());
            // The caller of the first goes away.
            if number > 1 {
                compiling.push(compiled);
            }
            ends.push(end);
        }
        for compiled in compiling {
            let refused = timeout(SOON, compiled).await.unwrap();
            assert!(matches!(refused, Err(PrepareError::Slow { .. })));
        }
        let turn = timeout(SOON, permit(&runtime.compilations)).await;
        drop(turn.unwrap().unwrap());
        assert!(slow.check(&[1; 32]).is_err() && slow.check(&[2; 32]).is_err());
        assert!(slow.check(&[9; 32]).is_ok());
        drop(ends);
        let all = timeout(SOON, slow.going_on.acquire_many(GOING_ON as u32)).await;
        drop(all.unwrap().unwrap());
        // What is done stays refused for a while, and may come again then.
        assert!(slow.check(&[1; 32]).is_err());
        tokio::time::pause();
        tokio::time::advance(PAUSE).await;
        assert!(slow.check(&[1; 32]).is_ok());
    }
}
