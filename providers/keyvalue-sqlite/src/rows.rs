//! What is done with the rows of the table.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::pages::{MOST_KEYS, Page};
use lattice_provider_sdk::keyvalue::{Entry, KeysPage, LARGEST_ANSWER, Outcome, Versioned};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::failure::{Failure, of_key};

/// The table. A place is given once and kept, so that pages have an order; a version is new with
/// every write.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS lattice_keyvalue (
  place INTEGER PRIMARY KEY,
  bucket TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  version INTEGER NOT NULL,
  ends INTEGER,
  UNIQUE (bucket, key)
);
CREATE INDEX IF NOT EXISTS lattice_keyvalue_pages ON lattice_keyvalue (bucket, place);
CREATE INDEX IF NOT EXISTS lattice_keyvalue_ends ON lattice_keyvalue (ends) WHERE ends IS NOT NULL;
";

const GET: &str = "SELECT CAST(value AS BLOB) FROM lattice_keyvalue
WHERE bucket = ?1 AND key = ?2 AND (ends IS NULL OR ends > ?3)";
const EXISTS: &str = "SELECT 1 FROM lattice_keyvalue
WHERE bucket = ?1 AND key = ?2 AND (ends IS NULL OR ends > ?3)";
const READ: &str = "SELECT CAST(value AS BLOB), version, ends FROM lattice_keyvalue
WHERE bucket = ?1 AND key = ?2 AND (ends IS NULL OR ends > ?3)";
const VERSION: &str = "SELECT version FROM lattice_keyvalue
WHERE bucket = ?1 AND key = ?2 AND (ends IS NULL OR ends > ?3)";
const LIST: &str = "SELECT place, key FROM lattice_keyvalue
WHERE bucket = ?1 AND place > ?2 AND (ends IS NULL OR ends > ?3) ORDER BY place LIMIT ?4";
const PUT: &str = "INSERT INTO lattice_keyvalue (bucket, key, value, version, ends)
VALUES (?1, ?2, ?3, random(), ?4)
ON CONFLICT (bucket, key) DO UPDATE
SET value = excluded.value, version = excluded.version, ends = excluded.ends";
const DELETE: &str = "DELETE FROM lattice_keyvalue WHERE bucket = ?1 AND key = ?2";
const SWEEP: &str = "DELETE FROM lattice_keyvalue WHERE place IN
(SELECT place FROM lattice_keyvalue WHERE ends <= ?1 LIMIT ?2)";

/// The version of what is not there.
const ABSENT: &str = "absent";

/// How many keys whose time is over are dropped at once.
const SWEPT: u32 = 1000;

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// When what is written now goes.
pub(crate) fn ends(ttl: Option<Duration>) -> Option<i64> {
    let ttl = i64::try_from(ttl?.as_millis()).unwrap_or(i64::MAX);
    Some(now().saturating_add(ttl))
}

/// A bucket in a file that is open.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) bucket: &'a str,
}

impl Rows<'_> {
    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let mut get = self.connection.prepare_cached(GET)?;
        let value = get.query_row(params![self.bucket, key, now()], |row| row.get(0));
        Ok(value.optional()?.map(|value: Vec<u8>| value.into()))
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, Failure> {
        let mut exists = self.connection.prepare_cached(EXISTS)?;
        Ok(exists.exists(params![self.bucket, key, now()])?)
    }

    /// The value of a key with its version, and when it goes.
    fn look(&self, key: &str) -> Result<(Versioned, Option<i64>), Failure> {
        let mut read = self.connection.prepare_cached(READ)?;
        let found = read.query_row(params![self.bucket, key, now()], |row| {
            let version: i64 = row.get(1)?;
            let value: Vec<u8> = row.get(0)?;
            let now = Versioned {
                value: Some(value.into()),
                version: version.to_string(),
            };
            Ok((now, row.get(2)?))
        });
        let absent = || Versioned {
            value: None,
            version: ABSENT.to_owned(),
        };
        Ok(found.optional()?.unwrap_or_else(|| (absent(), None)))
    }

    pub(crate) fn read(&self, key: &str) -> Result<Versioned, Failure> {
        Ok(self.look(key)?.0)
    }

    /// The versions of those of the keys that are there.
    pub(crate) fn versions(&self, keys: Vec<String>) -> Result<HashMap<String, String>, Failure> {
        let mut version = self.connection.prepare_cached(VERSION)?;
        let (mut versions, now) = (HashMap::new(), now());
        for key in keys {
            let found = version.query_row(params![self.bucket, key, now], |row| row.get(0));
            if let Some(version) = found.optional()? {
                let version: i64 = version;
                versions.insert(key, version.to_string());
            }
        }
        Ok(versions)
    }

    fn put(&self, key: &str, value: &[u8], ends: Option<i64>) -> Result<(), Failure> {
        let mut put = self.connection.prepare_cached(PUT)?;
        let put = put.execute(params![self.bucket, key, value, ends]);
        put.map(drop).map_err(of_key(key))
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<(), Failure> {
        self.put(key, value, ends(ttl))
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Failure> {
        let mut delete = self.connection.prepare_cached(DELETE)?;
        let deleted = delete.execute(params![self.bucket, key]);
        deleted.map(drop).map_err(of_key(key))
    }

    /// Leaves a key the time that it had, unless there is another.
    pub(crate) fn increment(
        &self,
        key: &str,
        by: Addend,
        ttl: Option<Duration>,
    ) -> Result<i128, Failure> {
        let (found, before) = self.look(key)?;
        let sum = by.to_value(found.value.as_deref());
        let sum = sum.map_err(|why| Failure::Number {
            key: key.to_owned(),
            why,
        })?;
        self.put(key, sum.to_string().as_bytes(), ends(ttl).or(before))?;
        Ok(sum)
    }

    pub(crate) fn swap(
        &self,
        key: &str,
        version: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Outcome, Failure> {
        let (found, _) = self.look(key)?;
        if found.version != version {
            return Ok(Outcome::Stale(found));
        }
        self.put(key, value, ends(ttl))?;
        Ok(Outcome::Swapped)
    }

    pub(crate) fn list(&self, cursor: Option<u64>) -> Result<KeysPage, Failure> {
        let after = cursor.map_or(0, |cursor| i64::try_from(cursor).unwrap_or(i64::MAX));
        let mut list = self.connection.prepare_cached(LIST)?;
        let most = MOST_KEYS + 1;
        let mut rows = list.query(params![self.bucket, after, now(), most])?;
        let mut page = Page::default();
        while let Some(row) = rows.next()? {
            let place: i64 = row.get(0)?;
            let key = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            if !page.offer(place.cast_unsigned(), key) {
                break;
            }
        }
        Ok(page.finish())
    }

    pub(crate) fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Failure> {
        // All of them as they are at one time.
        let _state = self.connection.unchecked_transaction()?;
        let mut bytes = 0;
        let read = |key: String| {
            let value = self.get(&key)?;
            bytes += value.as_ref().map_or(0, Bytes::len);
            if bytes > LARGEST_ANSWER {
                return Err(Failure::Answer);
            }
            Ok(value.map(|value| (key, value)))
        };
        keys.into_iter().map(read).collect()
    }
}

/// Drops some keys whose time is over.
pub(crate) fn sweep(connection: &Connection) -> Result<usize, Failure> {
    let mut sweep = connection.prepare_cached(SWEEP)?;
    Ok(sweep.execute(params![now(), SWEPT])?)
}
