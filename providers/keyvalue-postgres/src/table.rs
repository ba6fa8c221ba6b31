//! What is done with a table.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use lattice_postgres::tokio_postgres::types::ToSql;
use lattice_postgres::tokio_postgres::{Error, Row};
use lattice_postgres::{Connection, Postgres, PostgresError};
use lattice_provider_sdk::keyvalue::decimal::{Addend, NotCounted};
use lattice_provider_sdk::keyvalue::pages::{MOST_KEYS, Page};
use lattice_provider_sdk::keyvalue::{
    Entry, KeyValueError, KeysPage, LARGEST_ANSWER, Outcome, Versioned,
};
use lattice_provider_sdk::{Backoff, LinkError, Shared};
use tokio::time::Instant;

use crate::key::{self, LONGEST};
use crate::settings::TableName;
use crate::statements::Statements;

/// The version of what is not there.
const ABSENT: &str = "absent";
/// How many keys whose time is over are dropped at once.
const SWEPT: i64 = 1000;
/// How long it may take to look for the table, make it, or sweep it.
const LOOK_LIMIT: Duration = Duration::from_secs(4);
/// How long an increment waits when its value was changed meanwhile, at first and at most.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The key cannot be stored.
    #[error(
        "the key and its bucket take {bytes} bytes when stored, more than the {LONGEST} that an index can take"
    )]
    Key {
        /// How many.
        bytes: usize,
    },
    /// The value of the key is no number that can grow.
    #[error("the value of `{key}` {why}")]
    Number {
        /// The key.
        key: String,
        /// Why not.
        why: NotCounted,
    },
    /// The values that a batch asks for do not fit into one answer.
    #[error("the values of the batch do not fit into one answer")]
    Answer,
    /// The server refuses or is not there.
    #[error("{}", .0.words())]
    Postgres(#[from] PostgresError),
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer => Self::answer_too_large(),
            Failure::Postgres(error) if error.is_denial() => {
                // The component hears no reason, so it is told here.
                tracing::warn!(error = error.words(), "access denied");
                Self::AccessDenied
            }
            other => Self::other(other.to_string()),
        }
    }
}

/// A table on a server.
#[derive(Debug)]
pub(crate) struct Table {
    postgres: Shared<Postgres>,
    name: TableName,
    create: bool,
    say: Statements,
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Milliseconds as statements take them.
fn millis(ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2000))
}

impl Table {
    pub(crate) fn new(postgres: Shared<Postgres>, name: TableName, create: bool) -> Self {
        Self {
            say: Statements::new(&name),
            postgres,
            name,
            create,
        }
    }

    /// Looks whether the server and the table are there; makes the table if it may.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        self.postgres.check().await?;
        let until = Instant::now() + LOOK_LIMIT;
        let connection = self.postgres.get(until).await?;
        let table = self.name.quoted();
        let text = "SELECT to_regclass($1) IS NOT NULL";
        let rows = rows(&connection, until, text, &[&table]).await?;
        if rows.first().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        if !self.create {
            return Err(LinkError::unavailable(format!(
                "there is no table {table} at `{}`; create it, or let `create` be true",
                self.postgres.address()
            )));
        }
        tracing::info!(table, "creating a table");
        let create = connection.client().batch_execute(&self.say.create);
        Ok(connection.within(until, create).await?)
    }

    /// Drops keys whose time is over.
    pub(crate) async fn sweep(&self) -> Result<(), PostgresError> {
        loop {
            let until = Instant::now() + LOOK_LIMIT;
            if self.write(until, &self.say.sweep, &[&SWEPT]).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn rows(
        &self,
        until: Instant,
        text: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, PostgresError> {
        let connection = self.postgres.get(until).await?;
        rows(&connection, until, text, params).await
    }

    async fn write(
        &self,
        until: Instant,
        text: &str,
        params: Params<'_>,
    ) -> Result<u64, PostgresError> {
        let connection = self.postgres.get(until).await?;
        let statement = connection.prepare(until, text).await?;
        let done = connection.client().execute(&statement, params);
        connection.within(until, done).await
    }

    /// What is done in a bucket until a deadline.
    pub(crate) fn bucket<'a>(&'a self, bucket: &'a str, until: Instant) -> Bucket<'a> {
        Bucket {
            table: self,
            name: key::encode(bucket).into_owned(),
            until,
        }
    }

    /// A bucket of the provider's own, which no component can name: in the names of others a
    /// backslash is followed by a second one or a zero.
    pub(crate) fn memory(&self, name: &str, until: Instant) -> Bucket<'_> {
        Bucket {
            table: self,
            name: format!(r"\watch/{}", key::encode(name)),
            until,
        }
    }
}

async fn rows(
    connection: &Connection,
    until: Instant,
    text: &str,
    params: Params<'_>,
) -> Result<Vec<Row>, PostgresError> {
    let statement = connection.prepare(until, text).await?;
    let asked = connection.client().query(&statement, params);
    connection.within(until, asked).await
}

/// The rows of one bucket.
#[derive(Debug)]
pub(crate) struct Bucket<'a> {
    table: &'a Table,
    name: String,
    until: Instant,
}

impl Bucket<'_> {
    /// A key as it is stored.
    fn stored(&self, key: &str) -> Result<String, Failure> {
        let stored = key::encode(key).into_owned();
        match stored.len() + self.name.len() {
            bytes if bytes > LONGEST => Err(Failure::Key { bytes }),
            _ => Ok(stored),
        }
    }

    fn say(&self) -> &Statements {
        &self.table.say
    }

    async fn row(&self, text: &str, key: &str) -> Result<Option<Row>, Failure> {
        let key = self.stored(key)?;
        let params: Params<'_> = &[&self.name, &key];
        let rows = self.table.rows(self.until, text, params);
        Ok(rows.await?.into_iter().next())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let row = self.row(&self.say().get, key).await?;
        Ok(row.map(|row| row.get::<_, Vec<u8>>(0).into()))
    }

    pub(crate) async fn exists(&self, key: &str) -> Result<bool, Failure> {
        Ok(self.row(&self.say().exists, key).await?.is_some())
    }

    pub(crate) async fn read(&self, key: &str) -> Result<Versioned, Failure> {
        let row = self.row(&self.say().read, key).await?;
        let there = |row: Row| Versioned {
            value: Some(row.get::<_, Vec<u8>>(0).into()),
            version: row.get::<_, i64>(1).to_string(),
        };
        let absent = || Versioned {
            value: None,
            version: ABSENT.to_owned(),
        };
        Ok(row.map_or_else(absent, there))
    }

    /// The versions of those of the keys that are there.
    pub(crate) async fn versions(
        &self,
        keys: &[String],
    ) -> Result<HashMap<String, String>, Failure> {
        let stored: Vec<_> = keys.iter().map(|key| key::encode(key)).collect();
        let params: Params<'_> = &[&self.name, &stored];
        let rows = self.table.rows(self.until, &self.say().versions, params);
        let version = |row: Row| {
            let key = key::decode(row.get(0)).into_owned();
            (key, row.get::<_, i64>(1).to_string())
        };
        Ok(rows.await?.into_iter().map(version).collect())
    }

    pub(crate) async fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<(), Failure> {
        let (key, ttl) = (self.stored(key)?, millis(ttl));
        let params: Params<'_> = &[&self.name, &key, &value, &ttl];
        self.table
            .write(self.until, &self.say().set, params)
            .await?;
        Ok(())
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let key = self.stored(key)?;
        let params: Params<'_> = &[&self.name, &key];
        let delete = &self.say().delete;
        self.table.write(self.until, delete, params).await?;
        Ok(())
    }

    pub(crate) async fn list(&self, cursor: Option<u64>) -> Result<KeysPage, Failure> {
        let after = cursor.map_or(0, |cursor| i64::try_from(cursor).unwrap_or(i64::MAX));
        let most = i64::from(MOST_KEYS) + 1;
        let params: Params<'_> = &[&self.name, &after, &most];
        let rows = self.table.rows(self.until, &self.say().list, params);
        let mut page = Page::default();
        for row in rows.await? {
            let place: i64 = row.get(0);
            if !page.offer(place.cast_unsigned(), &key::decode(row.get(1))) {
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
        let (stored, ttl) = (self.stored(key)?, millis(ttl));
        let range = by.range();
        let numbers = [by.delta, *range.start(), *range.end()];
        let [delta, least, most] = numbers.map(|number| number.to_string());
        let params: Params<'_> = &[&self.name, &stored, &delta, &ttl, &least, &most];
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let rows = self.table.rows(self.until, &self.say().increment, params);
            let sum = rows.await?.first().map(|row| row.get::<_, String>(0));
            if let Some(sum) = sum.and_then(|sum| sum.parse().ok()) {
                return Ok(sum);
            }
            let value = self.get(key).await?;
            // One that could be counted by now was changed in between.
            by.to_value(value.as_deref())
                .map_err(|why| Failure::Number {
                    key: key.to_owned(),
                    why,
                })?;
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    pub(crate) async fn swap(
        &self,
        key: &str,
        version: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Outcome, Failure> {
        let (stored, ttl) = (self.stored(key)?, millis(ttl));
        loop {
            let written = match version.parse::<i64>() {
                Ok(seen) => {
                    let params: Params<'_> = &[&self.name, &stored, &value, &ttl, &seen];
                    self.table
                        .write(self.until, &self.say().swap, params)
                        .await?
                }
                Err(_) if version == ABSENT => {
                    let params: Params<'_> = &[&self.name, &stored, &value, &ttl];
                    let swap_in = &self.say().swap_in;
                    self.table.write(self.until, swap_in, params).await?
                }
                Err(_) => 0,
            };
            if written > 0 {
                return Ok(Outcome::Swapped);
            }
            let now = self.read(key).await?;
            // One that is as it was seen by now was changed in between.
            if now.version != version {
                return Ok(Outcome::Stale(now));
            }
        }
    }

    pub(crate) async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Failure> {
        let stored: Vec<_> = keys.iter().map(|key| key::encode(key)).collect();
        let connection = self.table.postgres.get(self.until).await?;
        let statement = connection.prepare(self.until, &self.say().get_many);
        let statement = statement.await?;
        let params: [&(dyn ToSql + Sync); 2] = [&self.name, &stored];
        let read = async {
            let rows = connection.client().query_raw(&statement, params).await?;
            of_rows(rows).await
        };
        let found = connection.within(self.until, read).await?;
        let values = found.ok_or(Failure::Answer)?;
        let mut bytes = 0;
        let entry = |(key, stored): (String, _)| {
            let value: Option<Bytes> = values.get(stored).cloned();
            bytes += value.as_ref().map_or(0, Bytes::len);
            if bytes > LARGEST_ANSWER {
                return Err(Failure::Answer);
            }
            Ok(value.map(|value| (key, value)))
        };
        let named = keys.iter().cloned().zip(stored.iter().map(|key| &**key));
        named.map(entry).collect()
    }

    pub(crate) async fn set_many(
        &self,
        entries: &[Entry],
        ttl: Option<Duration>,
    ) -> Result<(), Failure> {
        // The last value of a key counts, and keys come in their order; see the statements.
        let mut last: BTreeMap<String, &[u8]> = BTreeMap::new();
        for (key, value) in entries {
            last.insert(self.stored(key)?, value);
        }
        let (keys, values): (Vec<_>, Vec<_>) = last.into_iter().unzip();
        let ttl = millis(ttl);
        let params: Params<'_> = &[&self.name, &keys, &values, &ttl];
        let set_many = &self.say().set_many;
        self.table.write(self.until, set_many, params).await?;
        Ok(())
    }

    pub(crate) async fn delete_many(&self, keys: &[String]) -> Result<(), Failure> {
        let stored: Vec<_> = keys.iter().map(|key| key::encode(key)).collect();
        let params: Params<'_> = &[&self.name, &stored];
        let delete_many = &self.say().delete_many;
        self.table.write(self.until, delete_many, params).await?;
        Ok(())
    }
}

/// Values by their stored keys; `None` when they are too many.
async fn of_rows(
    rows: lattice_postgres::tokio_postgres::RowStream,
) -> Result<Option<HashMap<String, Bytes>>, Error> {
    let mut rows = pin!(rows);
    let mut values = HashMap::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let value: Vec<u8> = row.try_get(1)?;
        bytes += value.len();
        if bytes > LARGEST_ANSWER {
            return Ok(None);
        }
        values.insert(row.try_get(0)?, value.into());
    }
    Ok(Some(values))
}
