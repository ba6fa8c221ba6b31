//! Changes on their way to a component that may be slow or away.
//!
//! They are told one after the other, in their order. When more changed than the component could
//! take, or it was away, it is told what each key has become, so that it misses steps but not where
//! they led.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::{Change, ChangeNotifier};
use crate::Backoff;

/// The first pause before something is tried again.
pub const PAUSE: Duration = Duration::from_millis(200);
/// The longest one.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How many changes may wait for the component.
const WAITING: usize = 1024;

/// Where changes are put in. It never waits.
#[derive(Debug, Clone)]
pub struct ChangeSender {
    changes: mpsc::Sender<(String, Change)>,
    missed: Arc<Notify>,
}

/// Where changes come out.
#[derive(Debug)]
pub struct Changes {
    waiting: mpsc::Receiver<(String, Change)>,
    missed: Arc<Notify>,
}

/// The two ends of the way to a component.
#[must_use]
pub fn line() -> (ChangeSender, Changes) {
    let (changes, waiting) = mpsc::channel(WAITING);
    let missed = Arc::new(Notify::new());
    let line = ChangeSender {
        changes,
        missed: Arc::clone(&missed),
    };
    (line, Changes { waiting, missed })
}

impl ChangeSender {
    /// Puts a change in.
    pub fn put(&self, key: &str, change: Change) {
        if self.changes.try_send((key.to_owned(), change)).is_err() {
            self.missed.notify_one();
        }
    }

    /// Whether nobody takes changes out any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.changes.is_closed()
    }

    /// Says that changes may have been missed.
    pub fn missed(&self) {
        self.missed.notify_one();
    }
}

/// Where keys can be looked up.
pub trait ReadCurrent: Sync {
    /// Why one could not be.
    type Error: std::fmt::Display + Send;

    /// What a key holds now.
    fn look(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send;
}

/// Tells of one change after the other, until all lines are dropped; looks up what is not known.
pub async fn relay<L: ReadCurrent>(notifier: &mut ChangeNotifier, changes: &mut Changes, from: &L) {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let mut again: Option<Instant> = None;
    let Changes { waiting, missed } = changes;
    loop {
        let retry = async {
            match again {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let change = tokio::select! {
            biased;
            () = missed.notified() => None,
            () = retry => None,
            change = waiting.recv() => match change {
                None => return,
                change => change,
            },
        };
        let told = match &change {
            Some((key, change)) => tell(notifier, key, change, from).await,
            None => {
                // What waits is older than what is read now.
                while waiting.try_recv().is_ok() {}
                catch_up(notifier, from).await
            }
        };
        let told = told.unwrap_or_else(|error| {
            tracing::debug!(link = notifier.name(), %error, "could not read a watched key");
            false
        });
        if !told {
            again = Some(Instant::now() + backoff.delay());
        } else if change.is_none() {
            again = None;
            backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        }
    }
}

async fn tell<L: ReadCurrent>(
    notifier: &mut ChangeNotifier,
    key: &str,
    change: &Change,
    from: &L,
) -> Result<bool, L::Error> {
    if *change == Change::Set(None) && notifier.watched().wanted(key).set {
        // One that has gone since is told next.
        let found = Change::Set(from.look(key).await?);
        return Ok(notifier.tell(key, &found).await);
    }
    Ok(notifier.tell(key, change).await)
}

/// Tells of keys that are not as the component was told; `false` when it was not reached.
async fn catch_up<L: ReadCurrent>(
    notifier: &mut ChangeNotifier,
    from: &L,
) -> Result<bool, L::Error> {
    let keys: Vec<String> = notifier.watched().keys().map(str::to_owned).collect();
    let mut reached = true;
    for key in keys {
        let value = from.look(&key).await?;
        reached &= notifier.tell_what_became(&key, value).await;
    }
    Ok(reached)
}
