//! The table of what watchers were told.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::failure::Failure;
use crate::rows::{ends, now};

/// Made by the first link that watches. What nobody needs any more goes by itself.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS lattice_keyvalue_told (
  link TEXT NOT NULL,
  key TEXT NOT NULL,
  version TEXT NOT NULL,
  ends INTEGER NOT NULL,
  PRIMARY KEY (link, key)
) WITHOUT ROWID";
const READ: &str = "SELECT version FROM lattice_keyvalue_told WHERE link = ?1 AND key = ?2";
const WRITE: &str = "INSERT OR REPLACE INTO lattice_keyvalue_told (link, key, version, ends)
VALUES (?1, ?2, ?3, ?4)";
const SWEEP: &str = "DELETE FROM lattice_keyvalue_told WHERE ends <= ?1";

/// What the component of one link was told.
pub(crate) struct Told<'a> {
    connection: &'a Connection,
    link: &'a str,
}

impl<'a> Told<'a> {
    /// Finds the table, or makes it: the file may be another one by now.
    pub(crate) fn open(connection: &'a Connection, link: &'a str) -> Result<Self, Failure> {
        connection.prepare_cached(SCHEMA)?.execute([])?;
        Ok(Self { connection, link })
    }

    /// The versions that were told, after those of all links that are remembered no longer are gone.
    pub(crate) fn read(&self, keys: Vec<String>) -> Result<HashMap<String, String>, Failure> {
        let mut sweep = self.connection.prepare_cached(SWEEP)?;
        sweep.execute(params![now()])?;
        let mut read = self.connection.prepare_cached(READ)?;
        let mut told = HashMap::new();
        for key in keys {
            let found = read.query_row(params![self.link, key], |row| row.get(0));
            if let Some(version) = found.optional()? {
                told.insert(key, version);
            }
        }
        Ok(told)
    }

    pub(crate) fn write(&self, told: &[(String, String)], ttl: Duration) -> Result<(), Failure> {
        let mut write = self.connection.prepare_cached(WRITE)?;
        for (key, version) in told {
            write.execute(params![self.link, key, version, ends(Some(ttl))])?;
        }
        Ok(())
    }
}
