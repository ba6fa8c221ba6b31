//! Telling components of keys that change.
//!
//! The versions of the watched keys are read again and again. Which of them were told is kept in the
//! table as well, in a bucket that no component can name.

use std::collections::HashMap;
use std::time::Duration;

use lattice_provider_sdk::LinkError;
use lattice_provider_sdk::keyvalue::Versioned;
use lattice_provider_sdk::keyvalue::watch::{REMEMBERED, Scan};
use tokio::time::Instant;

use crate::table::{Bucket, Failure, Table};

/// How long one statement may take.
const LIMIT: Duration = Duration::from_secs(4);

/// What is watched, and where it is remembered what was told.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) table: Table,
    pub(crate) bucket: String,
    /// The link, as the table knows it.
    pub(crate) memory: String,
}

impl Source {
    /// Whether the server and the table are there.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        self.table.check().await
    }

    fn keys(&self) -> Bucket<'_> {
        self.table.bucket(&self.bucket, Instant::now() + LIMIT)
    }

    fn memory(&self) -> Bucket<'_> {
        self.table.memory(&self.memory, Instant::now() + LIMIT)
    }
}

impl Scan for Source {
    type Error = Failure;

    async fn versions(&self, keys: &[String]) -> Result<HashMap<String, String>, Failure> {
        self.keys().versions(keys).await
    }

    async fn read(&self, key: &str) -> Result<Versioned, Failure> {
        self.keys().read(key).await
    }

    async fn told(&self, keys: &[String]) -> Result<HashMap<String, String>, Failure> {
        let found = self.memory().get_many(keys.to_vec()).await?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let told = found.into_iter().flatten();
        Ok(told.map(|(key, value)| (key, text(&value))).collect())
    }

    async fn write_down(&self, told: Vec<(String, String)>) -> Result<(), Failure> {
        let entries = told.into_iter().map(|(key, version)| (key, version.into()));
        let entries: Vec<_> = entries.collect();
        self.memory().set_many(&entries, Some(REMEMBERED)).await
    }
}
