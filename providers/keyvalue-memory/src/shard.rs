//! A part of a bucket, behind one lock.

use std::collections::BTreeSet;

use hashbrown::HashTable;
use tokio::time::Instant;

use crate::value::Value;

/// Tables this small are not made smaller.
pub(crate) const SMALL: usize = 64;

/// A key with its value.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) place: u64,
    pub(crate) key: Box<str>,
    pub(crate) value: Value,
    /// Which write of the shard set it.
    pub(crate) version: u64,
    /// When it goes by itself.
    pub(crate) ends: Option<Instant>,
}

impl Item {
    fn is(&self, place: u64, key: &str) -> bool {
        self.place == place && *self.key == *key
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }

    /// Where an item is in its table, which uses the first and the last bits of a hash; the first
    /// ones of a place are the same for all of a shard.
    fn spread(place: u64) -> u64 {
        place.rotate_left(32)
    }
}

/// Keys with their values.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    items: HashTable<Item>,
    /// Counts the writes and never goes back, so that no version of a key comes twice.
    writes: u64,
    /// When keys go, and their places.
    ends: BTreeSet<(Instant, u64)>,
}

impl Shard {
    /// A key that is there, unless its time is over.
    pub(crate) fn get(&self, place: u64, key: &str) -> Option<&Item> {
        let item = self.items.find(Item::spread(place), |i| i.is(place, key));
        item.filter(|item| !item.is_over())
    }

    /// Sets a key and returns the value that it had.
    pub(crate) fn put(
        &mut self,
        place: u64,
        key: &str,
        value: Value,
        ends: Option<Instant>,
    ) -> Option<Value> {
        self.writes += 1;
        let version = self.writes;
        let spread = Item::spread(place);
        let Some(item) = self.items.find_mut(spread, |item| item.is(place, key)) else {
            self.ends.extend(ends.map(|ends| (ends, place)));
            let item = Item {
                place,
                key: key.into(),
                value,
                version,
                ends,
            };
            let spread = |item: &Item| Item::spread(item.place);
            self.items.insert_unique(spread(&item), item, spread);
            return None;
        };
        item.version = version;
        if let Some(before) = std::mem::replace(&mut item.ends, ends) {
            self.ends.remove(&(before, place));
        }
        self.ends.extend(ends.map(|ends| (ends, place)));
        Some(std::mem::replace(&mut item.value, value))
    }

    /// Takes out a key, also one whose time is over.
    pub(crate) fn remove(&mut self, place: u64, key: &str) -> Option<Item> {
        let found = self
            .items
            .find_entry(Item::spread(place), |item| item.is(place, key));
        let (item, _) = found.ok()?.remove();
        if let Some(ends) = item.ends {
            self.ends.remove(&(ends, place));
        }
        // A table does not get smaller by itself, and counts for those that are in it only.
        if self.items.capacity() > SMALL && self.items.len() < self.items.capacity() / 4 {
            let enough = self.items.len() * 2;
            self.items
                .shrink_to(enough, |item| Item::spread(item.place));
        }
        Some(item)
    }

    /// Takes out a key if its time is over.
    pub(crate) fn bury(&mut self, place: u64, key: &str) -> Option<Item> {
        if self.ends.is_empty() {
            return None;
        }
        let item = self.items.find(Item::spread(place), |i| i.is(place, key))?;
        if !item.is_over() {
            return None;
        }
        self.remove(place, key)
    }

    /// Takes out all whose time is over.
    pub(crate) fn bury_all(&mut self) -> Vec<Item> {
        let now = Instant::now();
        let mut buried = Vec::new();
        while let Some((ends, place)) = self.ends.first().copied().filter(|(ends, _)| *ends <= now)
        {
            self.ends.remove(&(ends, place));
            let over = |item: &Item| item.place == place && item.is_over();
            let keys = self
                .items
                .iter_hash(Item::spread(place))
                .filter(|item| over(item));
            let keys: Vec<_> = keys.map(|item| item.key.clone()).collect();
            buried.extend(keys.iter().filter_map(|key| self.remove(place, key)));
        }
        buried
    }

    /// The keys from a place on, in the order of their places.
    pub(crate) fn from(&self, first: u64) -> Vec<&Item> {
        let there = |item: &&Item| item.place >= first && !item.is_over();
        let mut items: Vec<&Item> = self.items.iter().filter(there).collect();
        items.sort_unstable_by_key(|item| item.place);
        items
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.items.capacity()
    }
}
