//! A file that is opened again when it is another one.

use std::io;
use std::sync::Arc;

use lattice_provider_sdk::files::FileId;
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::failure::Failure;
use crate::rows;
use crate::settings::FileSettings;
use crate::worker::{Workers, WorkersError};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// SQLite does not open it.
    #[error("could not open `{path}`")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: rusqlite::Error,
    },
    /// It is not there.
    #[error("there is no `{path}`")]
    Missing {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not known whether it is there.
    #[error("could not look at `{path}`")]
    Look {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Another one was there before.
    #[error(
        "`{path}` was deleted or replaced, and what was begun in the old one has not ended yet"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// SQLite cannot read it.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: Failure,
    },
    /// The provider is about to end.
    #[error("the provider is about to end")]
    Ending,
}

/// What all links to one file share.
#[derive(Debug)]
pub(crate) struct Database {
    settings: FileSettings,
    /// `None` while there is no file: what is written to a deleted one is lost.
    open: Mutex<Option<Arc<Workers>>>,
    /// Held while it is looked whether the file is still there, so that it is opened once.
    looking: tokio::sync::Mutex<()>,
}

impl Database {
    /// Opens a file.
    pub(crate) async fn open(settings: &FileSettings) -> Result<Self, OpenError> {
        Ok(Self {
            open: Mutex::new(Some(open(settings).await?)),
            settings: settings.clone(),
            looking: tokio::sync::Mutex::default(),
        })
    }

    fn path(&self) -> String {
        self.settings.path.display().to_string()
    }

    fn workers(&self) -> Result<Arc<Workers>, Failure> {
        self.open.lock().clone().ok_or(Failure::Gone)
    }

    /// Looks whether the file is still there and can be read. One that took its place is opened, and
    /// one that is gone is made again where the link says so.
    pub(crate) async fn check(&self) -> Result<(), OpenError> {
        let one_at_a_time = self.looking.lock().await;
        let path = self.settings.path.clone();
        let found = tokio::task::spawn_blocking(move || FileId::of(&path)).await;
        let found = match found.map_err(|_| OpenError::Ending)? {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // One that cannot be looked at may be there all the same.
            Err(source) => {
                let path = self.path();
                return Err(OpenError::Look { path, source });
            }
            found => found,
        };
        // Another link to the file may have seen before this one that it is gone.
        let known = self.workers().ok().filter(|workers| !workers.has_left());
        let known = known.map(|workers| workers.file());
        if known.is_none() || found.as_ref().ok().copied() != known {
            self.open_again(found).await?;
        }
        drop(one_at_a_time);
        let looked = self.read(|connection| {
            let one = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
            Ok(one?)
        });
        looked.await.map_err(|source| OpenError::Read {
            path: self.path(),
            source,
        })
    }

    /// Leaves a file that is not the one behind the path any more.
    async fn open_again(&self, found: io::Result<FileId>) -> Result<(), OpenError> {
        let path = self.path();
        let left = self.open.lock().take();
        if let Some(workers) = left {
            // The table of what is open may be in use.
            let asked = tokio::task::spawn_blocking(move || workers.leave()).await;
            asked.map_err(|_| OpenError::Ending)?;
            tracing::warn!(
                path,
                "the file was deleted or replaced, opening what is there"
            );
        }
        match found {
            Err(source) if !self.settings.create => Err(OpenError::Missing { path, source }),
            _ => {
                let opened = open(&self.settings).await?;
                *self.open.lock() = Some(opened);
                Ok(())
            }
        }
    }

    /// Does something that changes nothing.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.workers()?.read(work).await
    }

    /// Does something as a whole or not at all.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.workers()?.write(work).await
    }

    /// Drops keys whose time is over.
    pub(crate) async fn sweep(&self) -> Result<(), Failure> {
        while self.write(rows::sweep).await? > 0 {}
        Ok(())
    }
}

async fn open(settings: &FileSettings) -> Result<Arc<Workers>, OpenError> {
    let settings = settings.clone();
    let path = settings.path.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Workers::open(&settings));
    let opened = opened.await.map_err(|_| OpenError::Ending)?;
    opened.map(Arc::new).map_err(|error| match error {
        WorkersError::Open(source) => OpenError::Open { path, source },
        WorkersError::Look(source) => OpenError::Look { path, source },
        WorkersError::InUse => OpenError::InUse { path },
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::thread;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::rows::{Rows, SCHEMA};

    /// How long what has to happen may take.
    const PATIENCE: Duration = Duration::from_secs(30);
    const SOON: Duration = Duration::from_millis(20);
    const LONG: &str = "WITH RECURSIVE n (i) AS \
                        (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) \
                        SELECT count(*) FROM n";

    fn settings(path: PathBuf, full: bool) -> FileSettings {
        FileSettings {
            path,
            create: true,
            full,
            busy_timeout: Duration::from_secs(3),
        }
    }

    fn rows(connection: &Connection) -> Rows<'_> {
        Rows {
            connection,
            bucket: "",
        }
    }

    async fn set(database: &Database, value: &'static str) -> Result<(), Failure> {
        let set = move |connection: &_| rows(connection).set("a", value.as_bytes(), None);
        database.write(set).await
    }

    async fn get(database: &Database) -> Result<Option<Vec<u8>>, Failure> {
        let got = database.read(|connection| rows(connection).get("a")).await;
        got.map(|value| value.map(|value| value.to_vec()))
    }

    fn make(path: &Path, value: &str) {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        rows(&connection).set("a", value.as_bytes(), None).unwrap();
    }

    /// Links that say the same file otherwise have connections of their own.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_file_is_opened_when_nobody_has_the_old_one_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kv.db");
        let one = Database::open(&settings(path.clone(), true)).await.unwrap();
        let two = Database::open(&settings(path.clone(), false))
            .await
            .unwrap();
        let one = Arc::new(one);
        assert_eq!(set(&two, "old").await, Ok(()));
        let (tell, begun) = tokio::sync::oneshot::channel();
        let reading = tokio::spawn({
            let one = Arc::clone(&one);
            let long = move |connection: &Connection| {
                let _gone = tell.send(());
                let count = connection.query_row(LONG, [], |row| row.get::<_, i64>(0));
                Ok::<_, Failure>(count?)
            };
            async move { one.read(long).await }
        });
        begun.await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let opened = async { while two.check().await.is_err() {} };
        tokio::time::timeout(PATIENCE, opened).await.unwrap();
        let read = tokio::time::timeout(PATIENCE, reading).await.unwrap();
        assert_eq!(read.unwrap(), Err(Failure::Gone), "it was broken off");
        assert_eq!(get(&two).await, Ok(None));
        assert_eq!(set(&two, "new").await, Ok(()));
        assert_eq!(set(&one, "lost").await, Err(Failure::Gone));
        one.check().await.unwrap();
        assert_eq!(get(&one).await, Ok(Some(b"new".to_vec())));
    }

    /// Puts another file into the place of the one that is open, and waits until that is open.
    async fn replace(database: &Database, path: &Path) {
        let next = path.with_extension("next");
        make(&next, "new");
        std::fs::rename(&next, path).unwrap();
        let opened = async { while database.check().await.is_err() {} };
        tokio::time::timeout(PATIENCE, opened).await.unwrap();
    }

    async fn assert_new_and_sound(database: &Database) {
        assert_eq!(get(database).await, Ok(Some(b"new".to_vec())));
        let sound = |connection: &Connection| {
            let sound = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0));
            Ok::<String, Failure>(sound?)
        };
        assert_eq!(database.read(sound).await, Ok("ok".to_owned()));
    }

    #[tokio::test]
    async fn what_was_there_is_not_mixed_into_the_file_that_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kv.db");
        let database = Database::open(&settings(path.clone(), true)).await.unwrap();
        assert_eq!(set(&database, "old").await, Ok(()));
        replace(&database, &path).await;
        assert_new_and_sound(&database).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nor_is_it_when_somebody_reads_it_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kv.db");
        let database = Database::open(&settings(path.clone(), true)).await.unwrap();
        let database = Arc::new(database);
        assert_eq!(set(&database, "old").await, Ok(()));
        let (tell, begun) = tokio::sync::oneshot::channel();
        let workers = database.workers().unwrap();
        let reading = tokio::spawn(async move {
            let left = Arc::clone(&workers);
            let slow = move |connection: &Connection| {
                connection.execute_batch("BEGIN; SELECT count(*) FROM lattice_keyvalue")?;
                let _gone = tell.send(());
                let until = Instant::now() + PATIENCE;
                while !left.has_left() && Instant::now() < until {
                    thread::park_timeout(SOON);
                }
                // The writer, which does nothing, looks at once.
                thread::park_timeout(SOON * 10);
                Ok::<_, Failure>(connection.execute_batch("COMMIT")?)
            };
            workers.read(slow).await
        });
        begun.await.unwrap();
        replace(&database, &path).await;
        assert_new_and_sound(&database).await;
        let _broken_off = reading.await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_looked_at_stays_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kv.db");
        let database = Database::open(&settings(path.clone(), true)).await.unwrap();
        assert_eq!(set(&database, "old").await, Ok(()));
        let aside = folder.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let looked = database.check().await;
        assert!(matches!(looked, Err(OpenError::Look { .. })), "{looked:?}");
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(set(&database, "still").await, Ok(()));
        assert_eq!(get(&database).await, Ok(Some(b"still".to_vec())));
    }
}
