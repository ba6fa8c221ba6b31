//! Telling components of keys that change in a bucket.
//!
//! Changes are told in their order, each with its value. A component that was away or too slow is
//! told what each key has become. Nothing is remembered when the provider ends, and the data is not
//! either.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::watch::{
    Change, ChangeNotifier, ChangeSender, ReadCurrent, Watched, line, relay,
};
use parking_lot::RwLock;
use tokio::task::JoinSet;

use crate::bucket::Bucket;

/// Who wants to know of changes in one bucket.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    lines: RwLock<Vec<(Watched, ChangeSender)>>,
    /// How many there are, to be seen without the lock: most buckets have none.
    count: AtomicUsize,
}

impl Watchers {
    pub(crate) fn add(&self, watched: Watched, line: ChangeSender) {
        let mut lines = self.lines.write();
        lines.retain(|(_, line)| !line.is_over());
        lines.push((watched, line));
        self.count.store(lines.len(), Ordering::Release);
    }

    /// Tells those who watch the key.
    pub(crate) fn tell(&self, key: &str, change: impl Fn() -> Change) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for (watched, line) in self.lines.read().iter() {
            if watched.has(key) {
                line.put(key, change());
            }
        }
    }
}

impl ReadCurrent for Bucket {
    type Error = Infallible;

    async fn look(&self, key: &str) -> Result<Option<Bytes>, Infallible> {
        Ok(self.get(key))
    }
}

/// Watches keys for one link until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    _task: JoinSet<()>,
}

impl Watcher {
    /// Tells of every change from now on.
    pub(crate) fn start(bucket: Arc<Bucket>, mut notifier: ChangeNotifier) -> Self {
        let (line, mut changes) = line();
        bucket.watch(notifier.watched().clone(), line);
        let keys: Vec<String> = notifier.watched().keys().map(str::to_owned).collect();
        for key in keys {
            notifier.know(&key, ChangeNotifier::digest(bucket.get(&key).as_ref()));
        }
        let mut task = JoinSet::new();
        task.spawn(async move {
            relay(&mut notifier, &mut changes, &*bucket).await;
        });
        Self { _task: task }
    }
}
