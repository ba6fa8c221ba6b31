//! What is done in one bucket.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use lattice_etcd::{
    Code, Compare, Delete, Done, Etcd, EtcdError, Op, Pair, Put, Range, Ranged, Relation, SortBy,
    Txn,
};
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::pages::{MOST_KEYS, Page};
use lattice_provider_sdk::keyvalue::{Entry, KeysPage, LARGEST_ANSWER, Outcome, Turns, Versioned};

use crate::backend::LONGEST_KEY;
use crate::failure::{Failure, of_key};
use crate::leases::Leases;
use crate::namespace::Namespace;

/// The version of what is not there.
const ABSENT: &str = "absent";

/// How much of a key that is too long an error shows.
const SHOWN_OF_KEY: usize = 60;
/// How many keys one transaction may have, which etcd bounds at 128, and how many bytes.
const MOST_OPERATIONS: usize = 100;
const MOST_BYTES: usize = 1 << 20;
/// How many keys are read at once, of which each may have a value of the largest size.
const READ_AT_ONCE: usize = 16;
/// How many such questions are under way at the same time.
const QUESTIONS: usize = 4;
/// How many more keys are asked for than a page has: those that came to be in one transaction
/// belong to the same page.
const SPARE: u32 = 1024;

/// A bucket behind one link.
#[derive(Debug)]
pub(crate) struct Bucket<'a> {
    pub(crate) etcd: &'a Etcd,
    pub(crate) turns: &'a Turns,
    pub(crate) leases: &'a Leases,
    pub(crate) keys: Namespace,
    pub(crate) longest: usize,
}

/// What a key is now.
struct Now(Option<Pair>);

impl Now {
    /// Holds as long as nobody writes the key.
    fn stays(&self, stored: &Bytes) -> Compare {
        match &self.0 {
            Some(pair) => Compare::mod_revision(stored.clone(), Relation::Equal, pair.mod_revision),
            None => Compare::absent(stored.clone()),
        }
    }

    fn value(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|pair| &pair.value[..])
    }

    fn versioned(self) -> Versioned {
        let version = match &self.0 {
            Some(pair) => pair.mod_revision.to_string(),
            None => ABSENT.to_owned(),
        };
        Versioned {
            value: self.0.map(|pair| pair.value),
            version,
        }
    }
}

impl Bucket<'_> {
    async fn look(&self, key: &str) -> Result<Now, Failure> {
        let found = self.etcd.range(Range::key(self.keys.stored(key))).await?;
        Ok(Now(found.first()))
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        Ok(self.look(key).await?.0.map(|pair| pair.value))
    }

    pub(crate) async fn read(&self, key: &str) -> Result<Versioned, Failure> {
        Ok(self.look(key).await?.versioned())
    }

    pub(crate) async fn exists(&self, key: &str) -> Result<bool, Failure> {
        let count = Range::key(self.keys.stored(key)).count_only();
        Ok(self.etcd.range(count).await?.count > 0)
    }

    fn check_key(key: &str) -> Result<(), Failure> {
        if key.len() <= LONGEST_KEY {
            return Ok(());
        }
        Err(Failure::Key {
            start: key.chars().take(SHOWN_OF_KEY).collect(),
            bytes: key.len(),
            most: LONGEST_KEY,
        })
    }

    fn check(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        Self::check_key(key)?;
        match value.len() {
            bytes if bytes > self.longest => Err(Failure::Value {
                key: key.to_owned(),
                bytes,
                most: self.longest,
            }),
            _ => Ok(()),
        }
    }

    fn put(&self, stored: Bytes, value: Bytes, lease: i64) -> Put {
        match lease {
            0 => Put::new(stored, value),
            lease => Put::new(stored, value).lease(lease),
        }
    }

    pub(crate) async fn set(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), Failure> {
        self.check(key, &value)?;
        let stored = self.keys.stored(key);
        let write = |lease| {
            let put = self.put(stored.clone(), value.clone(), lease);
            self.etcd.put(put)
        };
        let written = self.leases.with(self.etcd, ttl, 1, write).await;
        written.map_err(of_key(key))?;
        Ok(())
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let delete = Delete::key(self.keys.stored(key));
        self.etcd.delete(delete).await.map_err(of_key(key))?;
        Ok(())
    }

    pub(crate) async fn list(&self, cursor: Option<u64>) -> Result<KeysPage, Failure> {
        let mut range = Range::prefix(self.keys.prefix())
            .keys_only()
            .descending(SortBy::Create)
            .limit(MOST_KEYS + SPARE);
        if let Some(cursor) = cursor {
            // What was listed last came to be at that revision.
            let before = i64::try_from(cursor).unwrap_or(i64::MAX) - 1;
            if before < 1 {
                return Ok(Page::default().finish());
            }
            range = range.created_up_to(before);
        }
        let mut page = Page::default();
        for pair in self.etcd.range(range).await?.pairs {
            let Some(key) = self.keys.key(&pair.key) else {
                continue;
            };
            if !page.offer(pair.create_revision.cast_unsigned(), key) {
                break;
            }
        }
        Ok(page.finish())
    }

    pub(crate) async fn increment(
        &self,
        key: &str,
        by: Addend,
        ttl: Option<Duration>,
    ) -> Result<i128, Failure> {
        Self::check_key(key)?;
        let stored = self.keys.stored(key);
        let _turn = self.turns.take("", &String::from_utf8_lossy(&stored)).await;
        let mut now = self.look(key).await?;
        loop {
            let sum = by.to_value(now.value()).map_err(|why| Failure::Number {
                key: key.to_owned(),
                why,
            })?;
            let kept = now.0.as_ref().map_or(0, |pair| pair.lease);
            let write = |lease| {
                let lease = if lease == 0 { kept } else { lease };
                let put = self.put(stored.clone(), sum.to_string().into(), lease);
                self.write_if(&now, &stored, put)
            };
            match self.leases.with(self.etcd, ttl, 1, write).await {
                Ok(None) => return Ok(sum),
                Ok(Some(newer)) => now = newer,
                // The key has gone with its lease.
                Err(error) if error.code() == Some(Code::NOT_FOUND) && ttl.is_none() => {
                    now = self.look(key).await?;
                }
                Err(error) => return Err(of_key(key)(error)),
            }
        }
    }

    /// Writes a key if it is as it was, or tells what it is.
    async fn write_if(
        &self,
        now: &Now,
        stored: &Bytes,
        put: Put,
    ) -> Result<Option<Now>, EtcdError> {
        let txn = Txn::when(now.stays(stored))
            .then(Op::Put(put))
            .otherwise(Op::Range(Range::key(stored.clone())));
        let done = self.etcd.txn(txn).await?;
        if done.succeeded {
            return Ok(None);
        }
        Ok(Some(Now(done.ranged().and_then(Ranged::first))))
    }

    pub(crate) async fn swap(
        &self,
        key: &str,
        version: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<Outcome, Failure> {
        self.check(key, &value)?;
        let stored = self.keys.stored(key);
        let seen = match version.parse() {
            Ok(mod_revision) => Now(Some(Pair {
                mod_revision,
                ..Pair::default()
            })),
            Err(_) if version == ABSENT => Now(None),
            Err(_) => return Ok(Outcome::Stale(self.read(key).await?)),
        };
        let write = |lease| {
            let put = self.put(stored.clone(), value.clone(), lease);
            self.write_if(&seen, &stored, put)
        };
        let written = self.leases.with(self.etcd, ttl, 1, write).await;
        Ok(match written.map_err(of_key(key))? {
            None => Outcome::Swapped,
            Some(now) => Outcome::Stale(now.versioned()),
        })
    }

    pub(crate) async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Failure> {
        let parts: Vec<Vec<String>> = keys.chunks(READ_AT_ONCE).map(<[_]>::to_vec).collect();
        let mut asked = futures::stream::iter(parts)
            .map(|part| self.get_some(part))
            .buffered(QUESTIONS);
        let (mut entries, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        while let Some(some) = asked.try_next().await? {
            let values = some.iter().flatten().map(|(_, value)| value.len());
            bytes += values.sum::<usize>();
            if bytes > LARGEST_ANSWER {
                return Err(Failure::Answer);
            }
            entries.extend(some);
        }
        Ok(entries)
    }

    async fn get_some(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Failure> {
        let mut txn = Txn::always();
        for key in &keys {
            txn = txn.then(Op::Range(Range::key(self.keys.stored(key))));
        }
        let done = self.etcd.txn(txn).await?.done;
        let values = done.into_iter().map(|done| match done {
            Done::Range(found) => found.first().map(|pair| pair.value),
            _ => None,
        });
        let entries = keys.into_iter().zip(values);
        let entry = |(key, value): (String, Option<Bytes>)| value.map(|value| (key, value));
        Ok(entries.map(entry).collect())
    }

    pub(crate) async fn set_many(
        &self,
        entries: Vec<Entry>,
        ttl: Option<Duration>,
    ) -> Result<(), Failure> {
        for (key, value) in &entries {
            self.check(key, value)?;
        }
        // etcd takes no key twice; the last value counts.
        let last: BTreeMap<String, Bytes> = entries.into_iter().collect();
        let Some(first) = last.keys().next().cloned() else {
            return Ok(());
        };
        let (mut part, mut bytes, mut name) = (Vec::new(), 0, first);
        for (key, value) in last {
            let stored = self.keys.stored(&key);
            let more = stored.len() + value.len();
            let is_full = part.len() == MOST_OPERATIONS || bytes + more > MOST_BYTES;
            if is_full && !part.is_empty() {
                self.put_all(&name, std::mem::take(&mut part), ttl).await?;
                (bytes, name) = (0, key);
            }
            part.push((stored, value));
            bytes += more;
        }
        self.put_all(&name, part, ttl).await
    }

    /// Writes keys as one transaction, the first of which is `name`.
    async fn put_all(
        &self,
        name: &str,
        part: Vec<(Bytes, Bytes)>,
        ttl: Option<Duration>,
    ) -> Result<(), Failure> {
        let write = |lease| {
            let puts = part.iter().cloned();
            let puts = puts.map(|(stored, value)| Op::Put(self.put(stored, value, lease)));
            self.etcd.txn(puts.fold(Txn::always(), Txn::then))
        };
        let keys = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let written = self.leases.with(self.etcd, ttl, keys, write).await;
        written.map_err(of_key(name))?;
        Ok(())
    }

    pub(crate) async fn delete_many(&self, mut keys: Vec<String>) -> Result<(), Failure> {
        keys.sort_unstable();
        keys.dedup();
        for part in keys.chunks(MOST_OPERATIONS) {
            let mut txn = Txn::always();
            for key in part {
                txn = txn.then(Op::Delete(Delete::key(self.keys.stored(key))));
            }
            self.etcd.txn(txn).await.map_err(of_key(&part[0]))?;
        }
        Ok(())
    }
}
