//! Telling components of keys that change.
//!
//! The versions of the watched keys are read again and again. Which of them were told is kept in the
//! file as well, in a table beside that of the keys.

use std::collections::HashMap;

use lattice_provider_sdk::Shared;
use lattice_provider_sdk::keyvalue::Versioned;
use lattice_provider_sdk::keyvalue::watch::{REMEMBERED, Scan};

use crate::database::{Database, OpenError};
use crate::failure::Failure;
use crate::rows::Rows;
use crate::told::Told;

/// What is watched, and for whom.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) database: Shared<Database>,
    pub(crate) bucket: String,
    /// The link, as the file knows it.
    pub(crate) memory: String,
}

impl Source {
    /// Whether the file is there.
    pub(crate) async fn check(&self) -> Result<(), OpenError> {
        self.database.check().await
    }

    async fn keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(Rows<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let bucket = self.bucket.clone();
        let work = move |connection: &_| {
            work(Rows {
                connection,
                bucket: &bucket,
            })
        };
        self.database.read(work).await
    }
}

impl Scan for Source {
    type Error = Failure;

    async fn versions(&self, keys: &[String]) -> Result<HashMap<String, String>, Failure> {
        let keys = keys.to_vec();
        self.keys(move |rows| rows.versions(keys)).await
    }

    async fn read(&self, key: &str) -> Result<Versioned, Failure> {
        let key = key.to_owned();
        self.keys(move |rows| rows.read(&key)).await
    }

    async fn told(&self, keys: &[String]) -> Result<HashMap<String, String>, Failure> {
        let (link, keys) = (self.memory.clone(), keys.to_vec());
        let told = move |connection: &_| Told::open(connection, &link)?.read(keys);
        self.database.write(told).await
    }

    async fn write_down(&self, told: Vec<(String, String)>) -> Result<(), Failure> {
        let link = self.memory.clone();
        let write = move |connection: &_| Told::open(connection, &link)?.write(&told, REMEMBERED);
        self.database.write(write).await
    }
}
