//! What guests still do after they have answered.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::serve::{Guest, GuestFuture};
use crate::imports::chain;
use crate::{CallError, HostEnv, LogLevel, LogRecord, LogSource};

/// Owns the guests of one component that run on after their answer is complete. They end with
/// their deadline at the latest, and are ended with the component.
pub(super) struct Tails {
    env: Arc<dyn HostEnv>,
    tasks: Mutex<JoinSet<()>>,
}

impl Tails {
    pub(super) fn new(env: Arc<dyn HostEnv>) -> Self {
        Self {
            env,
            tasks: Mutex::new(JoinSet::new()),
        }
    }

    fn adopt(&self, guest: GuestFuture, deadline: Instant) {
        let env = Arc::clone(&self.env);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let ended = timeout_at(deadline, guest)
                .await
                .unwrap_or(Err(CallError::Deadline));
            if let Err(error) = ended {
                report(&*env, &error);
            }
        });
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
    env.log(LogRecord {
        source: LogSource::Runtime,
        level: LogLevel::Error,
        context: "",
        message: &message,
    });
}
