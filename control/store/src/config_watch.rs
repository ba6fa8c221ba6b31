//! Configs that follow the store, counted by name. Those that it loses with its bucket while they are in
//! use are written back, and stay as they are until then.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lattice_core::subject::store::config_key;
use lattice_core::{Backoff, ConfigName, Spread, StringMap};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::bucket::{Bucket, Record};
use crate::configs::{encode, parse};
use crate::error::StoreError;
use crate::leader::Present;
use crate::raw_watch::{RawChange, RawWatch, Snapshot};

/// Pauses after a config could not be written back.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A config as it was last seen.
#[derive(Debug, Clone, Default)]
struct Version {
    revision: u64,
    config: Option<Arc<StringMap>>,
    /// What it was before it was deleted.
    last: Option<Arc<StringMap>>,
}

/// One name that is watched.
#[derive(Debug)]
struct Slot {
    version: watch::Sender<Version>,
    watches: usize,
}

/// Configs that were lost with their bucket and are still to be written back.
type Lost = HashMap<ConfigName, Arc<StringMap>>;

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<ConfigName, Slot>,
    /// Runs while there are slots.
    task: Option<AbortOnDropHandle<()>>,
    lost: Lost,
    /// Runs while some are lost.
    restorer: Option<AbortOnDropHandle<()>>,
}

/// Shares one consumer of the config bucket among all watches of a process.
#[derive(Debug)]
pub(crate) struct Hub {
    bucket: Arc<Bucket>,
    table: Mutex<Table>,
}

impl Hub {
    pub(crate) fn new(bucket: Arc<Bucket>) -> Self {
        Self {
            bucket,
            table: Mutex::default(),
        }
    }

    pub(crate) fn names(&self) -> usize {
        self.table.lock().slots.len()
    }

    pub(crate) fn subscribe(hub: &Arc<Self>, name: &ConfigName) -> ConfigWatch {
        let mut table = hub.table.lock();
        let slot = table.slots.entry(name.clone()).or_insert_with(|| Slot {
            version: watch::Sender::new(Version::default()),
            watches: 0,
        });
        slot.watches += 1;
        let version = slot.version.subscribe();
        if table.task.is_none() {
            let watch = RawWatch::start(Arc::clone(&hub.bucket));
            let task = tokio::spawn(follow(Arc::downgrade(hub), watch));
            table.task = Some(AbortOnDropHandle::new(task));
        }
        ConfigWatch {
            hub: Arc::clone(hub),
            name: name.clone(),
            version,
        }
    }

    fn unsubscribe(&self, name: &ConfigName) {
        let mut table = self.table.lock();
        let Some(slot) = table.slots.get_mut(name) else {
            return;
        };
        slot.watches -= 1;
        if slot.watches == 0 {
            table.slots.remove(name);
        }
        if table.slots.is_empty() {
            table.task = None;
        }
    }

    /// Takes over what was read directly, unless the consumer was faster.
    pub(crate) fn read(&self, name: &ConfigName, revision: u64, config: StringMap) {
        if let Some(slot) = self.table.lock().slots.get(name) {
            slot.set_newer(revision, Some(config));
        }
    }

    /// Has the leader of the bucket asked what a config is, again and again until it says so or nobody
    /// watches the config any more: what was read may be older than what the consumer told before.
    pub(crate) fn make_sure(hub: &Arc<Self>, name: &ConfigName) {
        let bucket = Arc::clone(&hub.bucket);
        tokio::spawn(ask_leader(Arc::downgrade(hub), bucket, name.clone()));
    }

    fn is_watched(&self, name: &ConfigName) -> bool {
        self.table.lock().slots.contains_key(name)
    }

    /// Takes over what the leader has for a config.
    fn sure(&self, name: &ConfigName, present: Present) {
        let table = self.table.lock();
        if let Some(slot) = table.slots.get(name) {
            self.take(name, slot, present);
        }
    }

    fn take(&self, name: &ConfigName, slot: &Slot, present: Present) {
        let Some(value) = present.value else {
            slot.set_newer(present.revision, None);
            return;
        };
        let record = Record {
            key: config_key(name),
            value,
            revision: present.revision,
        };
        if let Some(config) = self.parse(&record) {
            slot.set_newer(record.revision, Some(config));
        }
    }

    fn apply(&self, change: RawChange) {
        let mut table = self.table.lock();
        let Table { slots, lost, .. } = &mut *table;
        match change {
            RawChange::Snapshot(snapshot) => {
                for (name, slot) in &*slots {
                    self.resync(name, slot, &snapshot, lost);
                }
            }
            RawChange::Put(record) => {
                lost.remove(record.key.as_str());
                if let Some(slot) = slots.get(record.key.as_str())
                    && let Some(config) = self.parse(&record)
                {
                    slot.set_newer(record.revision, Some(config));
                }
            }
            RawChange::Gone { key, revision } => {
                lost.remove(key.as_str());
                if let Some(slot) = slots.get(key.as_str()) {
                    tracing::warn!(
                        config = key,
                        "a config in use was deleted: components see nothing of it any more, \
                         providers and links that have it keep its last values"
                    );
                    slot.set_newer(revision, None);
                }
            }
        }
    }

    fn resync(&self, name: &ConfigName, slot: &Slot, snapshot: &Snapshot, lost: &mut Lost) {
        let key = config_key(name);
        match snapshot.records.iter().find(|record| record.key == key) {
            Some(record) => {
                lost.remove(name);
                slot.restart(snapshot.fresh);
                if let Some(config) = self.parse(record) {
                    slot.set_newer(record.revision, Some(config));
                }
            }
            // Lost together with its bucket, which nobody asked for: keep the last value.
            None if snapshot.fresh => {
                slot.restart(true);
                if let Some(config) = slot.config() {
                    lost.insert(name.clone(), config);
                }
            }
            // Not written back yet.
            None if lost.contains_key(name) => {}
            None => slot.set_newer(snapshot.as_of, None),
        }
    }

    /// Has what was lost written back, by a task that ends when nothing is left.
    fn restore(hub: &Arc<Self>) {
        let mut table = hub.table.lock();
        if table.lost.is_empty() || table.restorer.is_some() {
            return;
        }
        let configs = table.lost.len();
        tracing::warn!(configs, "the store was lost, writing configs in use back");
        let task = tokio::spawn(write_back(Arc::downgrade(hub), Arc::clone(&hub.bucket)));
        table.restorer = Some(AbortOnDropHandle::new(task));
    }

    /// What is to be written back. When that is nothing, the task that asks has to end.
    fn lost(&self) -> Vec<(ConfigName, Arc<StringMap>)> {
        let mut table = self.table.lock();
        if table.lost.is_empty() {
            table.restorer = None;
        }
        let lost = table.lost.iter();
        lost.map(|(name, config)| (name.clone(), Arc::clone(config)))
            .collect()
    }

    /// Takes over what is there for a config that was to be written back: that one, or what somebody
    /// did before this process looked.
    fn restored(&self, name: &ConfigName, written: &Arc<StringMap>, present: Present) {
        let mut table = self.table.lock();
        let Table { slots, lost, .. } = &mut *table;
        // It may have been lost once more, and be another one by then.
        if lost
            .get(name)
            .is_some_and(|lost| Arc::ptr_eq(lost, written))
        {
            lost.remove(name);
        }
        if let Some(slot) = slots.get(name) {
            self.take(name, slot, present);
        }
    }

    fn parse(&self, record: &Record) -> Option<StringMap> {
        parse(&self.bucket, &record.key, &record.value)
            .inspect_err(|error| {
                tracing::error!(key = record.key, %error, "unreadable config, keeping the last one");
            })
            .ok()
    }
}

impl Slot {
    fn config(&self) -> Option<Arc<StringMap>> {
        self.version.borrow().config.clone()
    }

    fn set_newer(&self, revision: u64, config: Option<StringMap>) {
        self.version.send_if_modified(|version| {
            if revision <= version.revision {
                return false;
            }
            version.revision = revision;
            if version.config.as_deref() == config.as_ref() {
                return false;
            }
            version.config = config.map(Arc::new);
            if version.config.is_some() {
                version.last.clone_from(&version.config);
            }
            true
        });
    }

    /// Forgets the revision, since those of a new bucket start over.
    fn restart(&self, fresh: bool) {
        if fresh {
            self.version.send_if_modified(|version| {
                version.revision = 0;
                false
            });
        }
    }
}

async fn follow(hub: Weak<Hub>, mut watch: RawWatch) {
    loop {
        let change = watch.next().await;
        let Some(hub) = hub.upgrade() else { return };
        hub.apply(change);
        Hub::restore(&hub);
    }
}

async fn ask_leader(hub: Weak<Hub>, bucket: Arc<Bucket>, name: ConfigName) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter);
    let key = config_key(&name);
    loop {
        tokio::time::sleep(backoff.delay()).await;
        let is_watched = hub.upgrade().is_some_and(|hub| hub.is_watched(&name));
        if !is_watched {
            return;
        }
        match (bucket.leading(&key).await, hub.upgrade()) {
            (Ok(present), Some(hub)) => return hub.sure(&name, present),
            (Ok(_), None) => return,
            (Err(error), _) => {
                tracing::debug!(config = key, %error, "no leader says what a config is yet");
            }
        }
    }
}

/// Writes lost configs back until none is left; one that cannot be written is not in the way of the others.
async fn write_back(hub: Weak<Hub>, bucket: Arc<Bucket>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter);
    loop {
        let Some(lost) = hub.upgrade().map(|hub| hub.lost()) else {
            return;
        };
        if lost.is_empty() {
            return;
        }
        let configs = lost.len();
        match write_all(&hub, &bucket, lost).await {
            Ok(()) => tracing::info!(configs, "wrote configs in use back"),
            Err(error) => {
                tracing::warn!(configs, %error, "could not write configs in use back, trying again");
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

async fn write_all(
    hub: &Weak<Hub>,
    bucket: &Bucket,
    lost: Vec<(ConfigName, Arc<StringMap>)>,
) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    for (name, config) in lost {
        let key = config_key(&name);
        let written = match encode(&key, &config) {
            Ok(value) => bucket.restore(&key, value).await,
            Err(error) => Err(error),
        };
        match (written, hub.upgrade()) {
            (Ok(present), Some(hub)) => hub.restored(&name, &config, present),
            (Ok(_), None) => {}
            (Err(error), _) => outcome = Err(error),
        }
    }
    outcome
}

/// A config that follows the store until it is dropped.
#[derive(Debug)]
pub struct ConfigWatch {
    hub: Arc<Hub>,
    name: ConfigName,
    version: watch::Receiver<Version>,
}

impl ConfigWatch {
    /// The name of the config.
    #[must_use]
    pub fn name(&self) -> &ConfigName {
        &self.name
    }

    /// The config as it is now; `None` when it does not exist or was deleted.
    #[must_use]
    pub fn current(&self) -> Option<Arc<StringMap>> {
        self.version.borrow().config.clone()
    }

    /// The config as it is now, or as it was before it was deleted, if it was watched then.
    ///
    /// For what grants something: were a deleted config to count as empty, a grant in it would be
    /// no grant, which may let everything through.
    #[must_use]
    pub fn current_or_last(&self) -> Option<Arc<StringMap>> {
        let version = self.version.borrow();
        version.config.clone().or_else(|| version.last.clone())
    }

    /// Waits until the config is another one than when this was last called, and returns it.
    ///
    /// Several changes at once may be seen as one. Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Option<Arc<StringMap>> {
        if self.version.changed().await.is_err() {
            // The hub outlives its watches, so this does not happen; never wake for nothing.
            std::future::pending::<()>().await;
        }
        self.version.borrow_and_update().config.clone()
    }

    pub(crate) fn mark_seen(mut self) -> Self {
        self.version.mark_unchanged();
        self
    }
}

impl Drop for ConfigWatch {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use lattice_nats::NewBucket;
    use lattice_nats_box::NatsBox;
    use tokio::time::timeout;

    use super::*;
    use crate::bucket::Limits;

    /// How long a test waits for what has to happen. A test machine may compile at the same time.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A watch without a consumer, which is told what it is told here.
    fn alone(hub: &Arc<Hub>, name: &ConfigName) -> ConfigWatch {
        let slot = Slot {
            version: watch::Sender::new(Version::default()),
            watches: 1,
        };
        let version = slot.version.subscribe();
        hub.table.lock().slots.insert(name.clone(), slot);
        ConfigWatch {
            hub: Arc::clone(hub),
            name: name.clone(),
            version,
        }
    }

    #[tokio::test]
    async fn an_earlier_config_is_replaced_by_what_the_leader_says() {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let js = async_nats::jetstream::new(client.clone());
        let new = NewBucket {
            name: "configs".to_owned(),
            ..NewBucket::default()
        };
        let limits = Limits {
            request: Duration::from_secs(2),
            write: Duration::from_secs(20),
        };
        let bucket = Arc::new(Bucket::new(client, js, new, limits));
        let name = ConfigName::new("limits").unwrap();
        let key = config_key(&name);
        let config = |value: &str| StringMap::from_iter([("key".to_owned(), value.to_owned())]);
        for value in ["earlier", "later"] {
            let written = encode(&key, &config(value)).unwrap();
            bucket.put(&key, written).await.unwrap();
        }
        let hub = Arc::new(Hub::new(bucket));
        let watch = alone(&hub, &name);
        // As a server has it that is behind.
        hub.read(&name, 1, config("earlier"));
        let mut watch = watch.mark_seen();
        assert_eq!(watch.current().as_deref(), Some(&config("earlier")));
        Hub::make_sure(&hub, &name);
        let told = timeout(PATIENCE, watch.changed()).await.unwrap();
        assert_eq!(told.as_deref(), Some(&config("later")));
    }
}
