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

use bytes::Bytes;
use hashbrown::HashTable;
use lattice_provider_sdk::keyvalue::{Entry, KeysPage};
use parking_lot::Mutex;

use crate::failure::Failure;
use crate::listing::Page;
use crate::room::Room;
use crate::settings::Limits;
use crate::value::Value;

/// The longest key, in bytes: what a key of plain letters may have in NATS, so that a component can
/// move between the two.
pub const LONGEST_KEY: usize = 3_072;

/// What a key takes beside itself and its value: its entry in a table that may be half empty, and
/// what its two allocations are rounded up to.
const KEEPING: usize = 128;

/// The most bytes of the values of a batch together: the largest answer that is taken.
const MOST_ANSWER: usize = 64 << 20;

/// How many bits of a place say the shard.
const SHARD_BITS: u32 = 6;

/// Shards this small are not made smaller.
const SMALL: usize = 64;

type Shard = HashTable<Item>;

/// A key with its value.
#[derive(Debug)]
struct Item {
    place: u64,
    key: Box<str>,
    value: Value,
}

impl Item {
    fn is(&self, place: u64, key: &str) -> bool {
        self.place == place && *self.key == *key
    }

    /// Where an item is in its shard. The table uses the first and the last bits of a hash; the
    /// first ones of a place are the same for all of a shard.
    fn spread(place: u64) -> u64 {
        place.rotate_left(32)
    }

    fn weight(key: &str, value: &Value) -> usize {
        KEEPING + key.len() + value.weight()
    }
}

/// Keys with their values.
pub(crate) struct Bucket {
    name: String,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    room: Room,
    total: Arc<Room>,
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
        Self {
            name: name.to_owned(),
            shards: (0..1 << SHARD_BITS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            room: Room::default(),
            total,
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
        let item = shard.find(Item::spread(place), |item| item.is(place, key))?;
        Some(item.value.bytes())
    }

    pub(crate) fn exists(&self, key: &str) -> bool {
        let place = self.place(key);
        let shard = self.shard(place).lock();
        let item = shard.find(Item::spread(place), |item| item.is(place, key));
        item.is_some()
    }

    pub(crate) fn set(&self, key: &str, value: &[u8], limits: &Limits) -> Result<(), Failure> {
        if value.len() as u64 > limits.value {
            return Err(Failure::Value {
                key: key.to_owned(),
                bytes: value.len() as u64,
                most: limits.value,
            });
        }
        // What is allocated is allocated, and what is freed is freed, without the lock.
        let value = Value::copied(value);
        let place = self.place(key);
        let mut shard = self.shard(place).lock();
        let Some(item) = shard.find_mut(Item::spread(place), |item| item.is(place, key)) else {
            return self.insert(&mut shard, place, key, value, limits);
        };
        let (before, after) = (item.value.weight(), value.weight());
        if after > before {
            self.take(after - before, key, limits)?;
        } else {
            self.give(before - after);
        }
        let old = std::mem::replace(&mut item.value, value);
        drop(shard);
        drop(old);
        Ok(())
    }

    pub(crate) fn increment(&self, key: &str, delta: u64, limits: &Limits) -> Result<u64, Failure> {
        let place = self.place(key);
        let mut shard = self.shard(place).lock();
        let Some(item) = shard.find_mut(Item::spread(place), |item| item.is(place, key)) else {
            self.insert(&mut shard, place, key, Value::Number(delta), limits)?;
            return Ok(delta);
        };
        let sum = item.value.plus(delta).map_err(|why| Failure::Number {
            key: key.to_owned(),
            why,
        })?;
        let number = Value::Number(sum);
        // No value weighs less than a number.
        let less = item.value.weight() - number.weight();
        if less > 0 {
            self.give(less);
        }
        item.value = number;
        Ok(sum)
    }

    /// Takes in a key that is not there.
    fn insert(
        &self,
        shard: &mut Shard,
        place: u64,
        key: &str,
        value: Value,
        limits: &Limits,
    ) -> Result<(), Failure> {
        if key.len() > LONGEST_KEY {
            return Err(Failure::Key { bytes: key.len() });
        }
        self.take(Item::weight(key, &value), key, limits)?;
        let item = Item {
            place,
            key: key.into(),
            value,
        };
        shard.insert_unique(Item::spread(place), item, |item| Item::spread(item.place));
        Ok(())
    }

    pub(crate) fn delete(&self, key: &str) {
        let place = self.place(key);
        let mut shard = self.shard(place).lock();
        let found = shard.find_entry(Item::spread(place), |item| item.is(place, key));
        let Ok(found) = found else {
            return;
        };
        let (item, _) = found.remove();
        self.give(Item::weight(key, &item.value));
        // A table does not get smaller by itself, and counts for those that are in it only.
        if shard.capacity() > SMALL && shard.len() < shard.capacity() / 4 {
            let enough = shard.len() * 2;
            shard.shrink_to(enough, |item| Item::spread(item.place));
        }
        drop(shard);
        drop(item);
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
            let mut items: Vec<&Item> = shard.iter().filter(|item| item.place >= first).collect();
            items.sort_unstable_by_key(|item| item.place);
            if !items
                .into_iter()
                .all(|item| page.offer(item.place, &item.key))
            {
                break;
            }
        }
        page.finish()
    }

    pub(crate) fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Failure> {
        let mut bytes = 0;
        let read = |key: String| {
            let value = self.get(&key);
            // A key may come many times, so a short question could have an endless answer.
            bytes += value.as_ref().map_or(0, Bytes::len);
            if bytes > MOST_ANSWER {
                return Err(Failure::Answer { most: MOST_ANSWER });
            }
            Ok(value.map(|value| (key, value)))
        };
        keys.into_iter().map(read).collect()
    }

    pub(crate) fn set_many(&self, entries: &[Entry], limits: &Limits) -> Result<(), Failure> {
        let mut entries = entries.iter();
        entries.try_for_each(|(key, value)| self.set(key, value, limits))
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

#[cfg(test)]
mod tests;
