//! Whether connections that wait are of use, after another one did not answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Hook, HookError};
use tokio::time::Instant;

/// How long a connection may take to show that it is there: less than any that waits for one has, as
/// far as we set that, so that there is time for a new one.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// What is known of the connections to one server, by when they were taken last.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    moments: Mutex<Moments>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Moments {
    /// Then one did not answer, which may only have been slow.
    doubted: Option<Instant>,
    /// Those that were not taken since have gone without a word.
    gone: Option<Instant>,
}

/// What is to be thought of a connection.
enum Verdict {
    Good,
    /// It has to show that it is there, for then another did not answer.
    Doubted(Instant),
    Gone,
}

impl Doubt {
    /// A statement was not answered: what became of its connection may have become of others.
    pub(crate) fn arise(&self) {
        self.moments().doubted = Some(Instant::now());
    }

    /// Has connections show that they are there before they are used, where that is in doubt. Of
    /// those that are gone only one costs a call its time.
    pub(crate) fn settle(self: Arc<Self>) -> Hook {
        Hook::async_fn(move |client, metrics| {
            let doubt = Arc::clone(&self);
            let unused = metrics.last_used();
            Box::pin(async move {
                let since = match doubt.verdict(unused) {
                    Verdict::Good => return Ok(()),
                    Verdict::Gone => return Err(HookError::message("gone with another one")),
                    Verdict::Doubted(since) => since,
                };
                let asked = client.simple_query("");
                match tokio::time::timeout(ANSWER_LIMIT, asked).await {
                    Ok(answer) => answer.map(drop).map_err(HookError::Backend),
                    Err(_) => {
                        doubt.confirm(since);
                        Err(HookError::message("gone without a word"))
                    }
                }
            })
        })
    }

    fn verdict(&self, unused: Duration) -> Verdict {
        let Moments { doubted, gone } = *self.moments();
        let is_older = |moment: &Instant| moment.elapsed() <= unused;
        if gone.as_ref().is_some_and(is_older) {
            return Verdict::Gone;
        }
        match doubted.filter(is_older) {
            Some(since) => Verdict::Doubted(since),
            None => Verdict::Good,
        }
    }

    fn confirm(&self, since: Instant) {
        let mut moments = self.moments();
        moments.gone = moments.gone.max(Some(since));
    }

    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
