//! Telling components of keys that change.
//!
//! etcd keeps changes for a while, so nothing has to wait here: a component that is away is told
//! again and again until it is there. Up to which revision it was told is kept in etcd, beside the
//! buckets, so that a provider that was away goes on from there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_etcd::{Etcd, EtcdError, Event, EventKind, Put, Range, Ranged, Watch, Watching};
use lattice_provider_sdk::keyvalue::watch::{Change, ChangeNotifier, LONGEST_PAUSE, PAUSE};
use lattice_provider_sdk::{Backoff, Shared};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::namespace::Namespace;

/// How long a watch on which nothing comes goes before etcd is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(10);

/// What is watched, and where it is remembered how far it was told.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) etcd: Shared<Etcd>,
    pub(crate) keys: Namespace,
    pub(crate) memory: Bytes,
}

/// Watches keys for one link until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    source: Arc<Source>,
    _task: JoinSet<()>,
}

impl Watcher {
    /// Tells of every change from now on, and of those since it was last watched.
    pub(crate) async fn start(source: Source, notifier: ChangeNotifier) -> Result<Self, EtcdError> {
        let from = source.begin().await?;
        let source = Arc::new(source);
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&source).run(notifier, from));
        Ok(Self {
            source,
            _task: task,
        })
    }

    /// What is watched.
    pub(crate) fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }
}

impl Source {
    /// Up to which revision the component was told; from now on, when it never was.
    async fn begin(&self) -> Result<i64, EtcdError> {
        let found = self.etcd.range(Range::key(self.memory.clone())).await?;
        let now = found.revision;
        let text = found.first().map(|pair| pair.value);
        let told = text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        if let Some(told) = told {
            return Ok(told);
        }
        self.remember(now).await?;
        Ok(now)
    }

    /// Whether etcd answers.
    pub(crate) async fn check(&self) -> Result<(), EtcdError> {
        self.now().await.map(drop)
    }

    async fn remember(&self, told: i64) -> Result<(), EtcdError> {
        let put = Put::new(self.memory.clone(), told.to_string());
        self.etcd.put(put).await?;
        Ok(())
    }

    async fn run(self: Arc<Self>, mut notifier: ChangeNotifier, mut told: i64) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let begun = Instant::now();
            let mut over = self.follow(&mut notifier, &mut told).await;
            if let EtcdError::Compacted { .. } = over {
                match self.catch_up(&mut notifier, &mut told).await {
                    Ok(()) => continue,
                    Err(error) => over = error,
                }
            }
            tracing::warn!(link = notifier.name(), error = %over, "lost sight of watched keys");
            if begun.elapsed() > LONGEST_PAUSE {
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
            }
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    /// Watches from a revision on. Where etcd has not come so far, it was set back, or is another one:
    /// to wait for the revision would be to miss what changes until then.
    async fn watch(
        &self,
        notifier: &mut ChangeNotifier,
        told: &mut i64,
    ) -> Result<Watching, EtcdError> {
        loop {
            let watch = Watch::prefix(self.keys.prefix());
            let watch = watch.from_revision(*told + 1).with_progress();
            let watching = self.etcd.watch(watch).await?;
            if watching.since() >= *told || self.now().await? >= *told {
                return Ok(watching);
            }
            drop(watching);
            tracing::warn!(
                link = notifier.name(),
                "etcd went back behind what was told, so it is told what the watched keys are now"
            );
            self.catch_up(notifier, told).await?;
        }
    }

    /// The revision of the cluster; a member that watches may be behind it.
    async fn now(&self) -> Result<i64, EtcdError> {
        let known = Range::key(self.memory.clone()).count_only();
        Ok(self.etcd.range(known).await?.revision)
    }

    /// Tells of the changes after a revision until the watch is over, and returns why it is.
    async fn follow(&self, notifier: &mut ChangeNotifier, told: &mut i64) -> EtcdError {
        let mut watching = match self.watch(notifier, told).await {
            Ok(watching) => watching,
            Err(error) => return error,
        };
        loop {
            let next = match tokio::time::timeout(SILENCE, watching.next()).await {
                Ok(Ok(next)) => next,
                Ok(Err(error)) => return error,
                // A member that hangs does not end its watches.
                Err(_) => match self.etcd.status().await {
                    Ok(_) => continue,
                    Err(error) => return error,
                },
            };
            let mut news = next.events.is_empty();
            for event in &next.events {
                news |= self.tell(notifier, event).await;
            }
            // More of the same revision may come with the next ones, but none of an earlier one.
            let last = next.events.last().map(|event| event.pair.mod_revision);
            *told = last.unwrap_or(next.revision).max(*told);
            if news && let Err(error) = self.remember(*told).await {
                return error;
            }
        }
    }

    /// Tells of a change until the component has heard it; says whether it wants to know.
    async fn tell(&self, notifier: &mut ChangeNotifier, event: &Event) -> bool {
        let Some(key) = self.keys.key(&event.pair.key) else {
            return false;
        };
        if !notifier.watched().has(key) {
            return false;
        }
        let change = match event.kind {
            EventKind::Put => Change::Set(Some(event.pair.value.clone())),
            EventKind::Delete => Change::Delete,
        };
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        while !notifier.tell(key, &change).await {
            tokio::time::sleep(backoff.delay()).await;
        }
        true
    }

    /// Tells what the keys have become, when etcd has forgotten how, or was set back.
    async fn catch_up(
        &self,
        notifier: &mut ChangeNotifier,
        told: &mut i64,
    ) -> Result<(), EtcdError> {
        let keys: Vec<String> = notifier.watched().keys().map(str::to_owned).collect();
        let mut first = None;
        for key in keys {
            let found = self.etcd.range(Range::key(self.keys.stored(&key))).await?;
            first.get_or_insert(found.revision);
            let value = Ranged::first(found).map(|pair| pair.value);
            let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
            while !notifier.tell_what_became(&key, value.clone()).await {
                tokio::time::sleep(backoff.delay()).await;
            }
        }
        // What changed while this was told is told again.
        *told = first.unwrap_or(*told);
        self.remember(*told).await
    }
}
