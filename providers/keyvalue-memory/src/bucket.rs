//! What is done in one bucket.
//!
//! Each key has a place, a hash of it with a key of the bucket's own, so that no component can
//! choose keys of the same place. The first bits of the place say which shard the key is in, which
//! is what a lock is for; the rest says where in the shard. So shard after shard has the keys in
//! the order of their places, as far as a page of keys needs it.
//!
//! Nothing here waits but for a lock, which is held for one key, or while a page looks through one
//! shard.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::pages::Page;
use lattice_provider_sdk::keyvalue::watch::{Change, ChangeSender, Watched};
use lattice_provider_sdk::keyvalue::{Entry, KeysPage, LARGEST_ANSWER, Outcome, Versioned};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::room::Room;
use crate::settings::Limits;
use crate::shard::{Item, Shard};
use crate::value::Value;
use crate::watch::Watchers;

/// The longest key, in bytes: what a key of plain letters may have in NATS, so that a component can
/// move between the two.
pub const LONGEST_KEY: usize = 3_072;

/// What a key takes beside itself and its value: its entry in a table that may be half empty, and
/// what its two allocations are rounded up to.
const KEEPING: usize = 192;

/// How many bits of a place say the shard.
const SHARD_BITS: u32 = 6;

/// The version of what is not there.
const ABSENT: &str = "absent";

fn weight(key: &str, value: &Value) -> usize {
    KEEPING + key.len() + value.weight()
}

/// How a link writes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Writing {
    pub(crate) limits: Limits,
    /// After which time what is written goes.
    pub(crate) lifetime: Option<Duration>,
}

impl Writing {
    fn ends(&self, ttl: Option<Duration>) -> Option<Instant> {
        let ttl = ttl.or(self.lifetime)?;
        // A time beyond every clock is for ever.
        Instant::now().checked_add(ttl)
    }
}

/// Keys with their values.
pub(crate) struct Bucket {
    name: String,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Told in versions, so that those of an earlier run mean nothing.
    run: u64,
    room: Room,
    total: Arc<Room>,
    /// Whether any key ever had a time.
    forgets: AtomicBool,
    watchers: Watchers,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the data.
        let mut shown = f.debug_struct("Bucket");
        shown.field("name", &self.name).finish_non_exhaustive()
    }
}

impl Bucket {
    /// An empty bucket; `total` counts what is in all buckets.
    pub(crate) fn new(name: &str, total: Arc<Room>) -> Self {
        let hasher = RandomState::new();
        Self {
            name: name.to_owned(),
            shards: (0..1 << SHARD_BITS).map(|_| Mutex::default()).collect(),
            run: hasher.hash_one("run"),
            hasher,
            room: Room::default(),
            total,
            forgets: AtomicBool::default(),
            watchers: Watchers::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Where the shard of a place stands among the shards.
    fn at(place: u64) -> usize {
        // Smaller than the number of shards.
        usize::try_from(place >> (u64::BITS - SHARD_BITS)).unwrap_or(0)
    }

    fn shard(&self, place: u64) -> &Mutex<Shard> {
        &self.shards[Self::at(place)]
    }

    pub(crate) fn get(&self, key: &str) -> Option<Bytes> {
        let place = self.place(key);
        let shard = self.shard(place).lock();
        Some(shard.get(place, key)?.value.bytes())
    }

    pub(crate) fn exists(&self, key: &str) -> bool {
        let place = self.place(key);
        self.shard(place).lock().get(place, key).is_some()
    }

    pub(crate) fn read(&self, key: &str) -> Versioned {
        let place = self.place(key);
        let shard = self.shard(place).lock();
        self.versioned(shard.get(place, key))
    }

    fn versioned(&self, item: Option<&Item>) -> Versioned {
        Versioned {
            value: item.map(|item| item.value.bytes()),
            version: self.version(item),
        }
    }

    fn version(&self, item: Option<&Item>) -> String {
        match item {
            Some(item) => format!("{:x}.{}", self.run, item.version),
            None => ABSENT.to_owned(),
        }
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        how: &Writing,
    ) -> Result<(), Failure> {
        check_length(key, value, &how.limits)?;
        // What is allocated is allocated, and what is freed is freed, without the lock.
        let value = Value::copied(value);
        let place = self.place(key);
        let mut shard = self.shard(place).lock();
        let old = self.put(&mut shard, place, key, value, how.ends(ttl), &how.limits)?;
        drop(shard);
        drop(old);
        Ok(())
    }

    /// Sets a key and leaves it the time that it had, unless the link gives times.
    pub(crate) fn increment(&self, key: &str, by: Addend, how: &Writing) -> Result<i128, Failure> {
        let place = self.place(key);
        let mut shard = self.shard(place).lock();
        let (sum, ends) = match shard.get(place, key) {
            None => (by.to_number(0), None),
            Some(item) => (item.value.plus(by), item.ends),
        };
        let sum = sum.map_err(|why| Failure::Number {
            key: key.to_owned(),
            why,
        })?;
        let (number, ends) = (Value::from(sum), how.ends(None).or(ends));
        self.put(&mut shard, place, key, number, ends, &how.limits)?;
        Ok(sum)
    }

    pub(crate) fn swap(
        &self,
        key: &str,
        version: &str,
        value: &[u8],
        how: &Writing,
    ) -> Result<Outcome, Failure> {
        check_length(key, value, &how.limits)?;
        let value = Value::copied(value);
        let place = self.place(key);
        let mut shard = self.shard(place).lock();
        let now = shard.get(place, key);
        if self.version(now) != version {
            return Ok(Outcome::Stale(self.versioned(now)));
        }
        self.put(&mut shard, place, key, value, how.ends(None), &how.limits)?;
        Ok(Outcome::Swapped)
    }

    /// Puts a value into a shard and returns the one that was there.
    fn put(
        &self,
        shard: &mut Shard,
        place: u64,
        key: &str,
        value: Value,
        ends: Option<Instant>,
        limits: &Limits,
    ) -> Result<Option<Value>, Failure> {
        if let Some(buried) = shard.bury(place, key) {
            self.give(weight(key, &buried.value));
            self.watchers.tell(key, || Change::Delete);
        }
        let after = value.weight();
        match shard.get(place, key).map(|item| item.value.weight()) {
            None if key.len() > LONGEST_KEY => return Err(Failure::Key { bytes: key.len() }),
            None => self.take(weight(key, &value), key, limits)?,
            Some(before) if after > before => self.take(after - before, key, limits)?,
            Some(before) => self.give(before - after),
        }
        if ends.is_some() {
            self.forgets.store(true, Ordering::Relaxed);
        }
        // With the lock of the shard, so that changes of a key are told in their order.
        self.watchers.tell(key, || Change::Set(Some(value.bytes())));
        Ok(shard.put(place, key, value, ends))
    }

    /// Tells a line of changes of some keys from now on.
    pub(crate) fn watch(&self, watched: Watched, line: ChangeSender) {
        self.watchers.add(watched, line);
    }

    pub(crate) fn delete(&self, key: &str) {
        let place = self.place(key);
        let mut shard = self.shard(place).lock();
        let Some(item) = shard.remove(place, key) else {
            return;
        };
        self.give(weight(key, &item.value));
        self.watchers.tell(key, || Change::Delete);
        drop(shard);
        drop(item);
    }

    /// Drops the keys whose time is over.
    pub(crate) fn sweep(&self) {
        if !self.forgets.load(Ordering::Relaxed) {
            return;
        }
        for shard in &self.shards {
            let mut shard = shard.lock();
            for item in shard.bury_all() {
                self.give(weight(&item.key, &item.value));
                self.watchers.tell(&item.key, || Change::Delete);
            }
        }
    }

    pub(crate) fn list_keys(&self, cursor: Option<u64>) -> KeysPage {
        let mut page = Page::default();
        let first = match cursor {
            None => 0,
            Some(u64::MAX) => return page.finish(),
            Some(last) => last + 1,
        };
        for shard in &self.shards[Self::at(first)..] {
            let shard = shard.lock();
            let mut items = shard.from(first).into_iter();
            if !items.all(|item| page.offer(item.place, &item.key)) {
                break;
            }
        }
        page.finish()
    }

    pub(crate) fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Failure> {
        let mut bytes = 0;
        let read = |key: String| {
            let value = self.get(&key);
            bytes += value.as_ref().map_or(0, Bytes::len);
            if bytes > LARGEST_ANSWER {
                return Err(Failure::Answer);
            }
            Ok(value.map(|value| (key, value)))
        };
        keys.into_iter().map(read).collect()
    }

    pub(crate) fn set_many(&self, entries: &[Entry], how: &Writing) -> Result<(), Failure> {
        let mut entries = entries.iter();
        entries.try_for_each(|(key, value)| self.set(key, value, None, how))
    }

    /// Takes room in the bucket and among all buckets.
    fn take(&self, bytes: usize, key: &str, limits: &Limits) -> Result<(), Failure> {
        let bytes = bytes as u64;
        if let Err(held) = self.room.take(bytes, limits.bucket) {
            return Err(Failure::Full {
                key: key.to_owned(),
                bucket: self.name.clone(),
                held,
                most: limits.bucket,
            });
        }
        self.total.take(bytes, limits.total).map_err(|held| {
            self.room.give(bytes);
            Failure::AllFull {
                key: key.to_owned(),
                bucket: self.name.clone(),
                held,
                most: limits.total,
            }
        })
    }

    fn give(&self, bytes: usize) {
        self.room.give(bytes as u64);
        self.total.give(bytes as u64);
    }
}

fn check_length(key: &str, value: &[u8], limits: &Limits) -> Result<(), Failure> {
    let bytes = value.len() as u64;
    if bytes <= limits.value {
        return Ok(());
    }
    Err(Failure::Value {
        key: key.to_owned(),
        bytes,
        most: limits.value,
    })
}

#[cfg(test)]
mod tests;
