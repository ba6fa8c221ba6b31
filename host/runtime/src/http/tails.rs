//! What guests still do after they have answered.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::serve::{Guest, GuestFuture};
use crate::imports::chain;
use crate::{CallError, HostEnv, LogLevel, LogRecord, LogSource};

/// Owns the guests of one component that run on after their answer, or its head. They end with
/// their deadline at the latest, and are ended with the component.
pub(super) struct Tails {
    env: Arc<dyn HostEnv>,
    threads: Option<Handle>,
    tasks: Mutex<JoinSet<()>>,
}

impl Tails {
    pub(super) fn new(env: Arc<dyn HostEnv>, threads: Option<Handle>) -> Self {
        Self {
            env,
            threads,
            tasks: Mutex::new(JoinSet::new()),
        }
    }

    /// Runs something as long as the component is there.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        match &self.threads {
            Some(threads) => tasks.spawn_on(work, threads),
            None => tasks.spawn(work),
        }
    }

    fn adopt(&self, guest: GuestFuture, deadline: Instant) {
        let env = Arc::clone(&self.env);
        let finish = async move {
            let ended = timeout_at(deadline, guest)
                .await
                .unwrap_or(Err(CallError::Deadline));
            // What it ends well with is dropped: who goes on after the answer serves no other call.
            if let Err(error) = ended {
                report(&*env, &error);
            }
        };
        self.run(finish);
    }
}

/// Takes over a guest whose answer is complete, and reports a failure: nobody else will.
pub(super) fn let_finish(tails: &Weak<Tails>, mut guest: Guest, deadline: Instant) {
    // Without the component its guests have to end, which dropping does.
    let Some(tails) = tails.upgrade() else { return };
    if let Some(error) = guest.failure() {
        report(&*tails.env, &error);
    }
    if let Some(future) = guest.into_future() {
        tails.adopt(future, deadline);
    }
}

fn report(env: &dyn HostEnv, error: &CallError) {
    let message = format!("failed after it had answered: {}", chain(error));
    env.log(LogRecord::plain(
        LogSource::Runtime,
        LogLevel::Error,
        &message,
    ));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::testing::FakeEnv;

    fn guest(future: impl Future<Output = CallError> + Send + 'static) -> Guest {
        Guest::running(Box::pin(async { Err(future.await) }))
    }

    #[tokio::test]
    async fn a_guest_that_fails_after_its_answer_is_reported() {
        let env = Arc::new(FakeEnv::default());
        let tails = Arc::new(Tails::new(env.clone(), None));
        let failing = guest(async { CallError::StackOverflow });
        let deadline = Instant::now() + Duration::from_secs(60);
        let_finish(&Arc::downgrade(&tails), failing, deadline);
        let mut tasks = std::mem::take(&mut *tails.tasks.lock().unwrap());
        tasks.join_next().await.unwrap().unwrap();
        assert!(env.logged()[0].contains("exhausted its stack"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_ends_with_its_deadline_and_with_its_component() {
        let tails = Arc::new(Tails::new(Arc::<FakeEnv>::default(), None));
        let weak = Arc::downgrade(&tails);
        let endless = || {
            let (held, dropped) = oneshot::channel::<()>();
            let endless = guest(async move {
                let _held = held;
                std::future::pending().await
            });
            (endless, dropped)
        };
        let (first, first_dropped) = endless();
        let_finish(&weak, first, Instant::now() + Duration::from_secs(5));
        assert!(first_dropped.await.is_err());
        let (second, second_dropped) = endless();
        let_finish(&weak, second, Instant::now() + Duration::from_secs(3600));
        drop(tails);
        let start = Instant::now();
        assert!(second_dropped.await.is_err());
        assert!(start.elapsed() < Duration::from_secs(3600));
        let (third, third_dropped) = endless();
        let_finish(&weak, third, Instant::now() + Duration::from_secs(3600));
        assert!(third_dropped.await.is_err());
    }
}
