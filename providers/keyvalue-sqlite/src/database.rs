//! A file that is opened again when it is another one.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;

use crate::failure::Failure;
use crate::rows;
use crate::settings::FileSettings;
use crate::worker::Workers;

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

/// Which file stands behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    fn of(path: &Path) -> Result<Self, io::Error> {
        let found = path.metadata()?;
        Ok(Self {
            device: found.dev(),
            number: found.ino(),
        })
    }
}

/// A file that is open.
#[derive(Debug)]
struct Open {
    id: FileId,
    workers: Arc<Workers>,
}

/// What all links to one file share.
#[derive(Debug)]
pub(crate) struct Database {
    settings: FileSettings,
    open: Mutex<Open>,
}

impl Database {
    /// Opens a file.
    pub(crate) async fn open(settings: &FileSettings) -> Result<Self, OpenError> {
        Ok(Self {
            open: Mutex::new(open(settings).await?),
            settings: settings.clone(),
        })
    }

    fn path(&self) -> String {
        self.settings.path.display().to_string()
    }

    fn workers(&self) -> Arc<Workers> {
        Arc::clone(&self.open.lock().workers)
    }

    /// Looks whether the file is still there and can be read. One that took its place is opened.
    pub(crate) async fn check(&self) -> Result<(), OpenError> {
        let path = self.settings.path.clone();
        let found = tokio::task::spawn_blocking(move || FileId::of(&path)).await;
        let found = found.map_err(|_| OpenError::Ending)?;
        let found = found.map_err(|source| OpenError::Missing {
            path: self.path(),
            source,
        })?;
        if self.open.lock().id != found {
            tracing::warn!(path = self.path(), "the file is another one, opening it");
            let opened = open(&self.settings).await?;
            *self.open.lock() = opened;
        }
        let looked = self.read(|connection| {
            let one = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
            Ok(one?)
        });
        looked.await.map_err(|source| OpenError::Read {
            path: self.path(),
            source,
        })
    }

    /// Does something that changes nothing.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.workers().read(work).await
    }

    /// Does something as a whole or not at all.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.workers().write(work).await
    }

    /// Drops keys whose time is over.
    pub(crate) async fn sweep(&self) -> Result<(), Failure> {
        while self.write(rows::sweep).await? > 0 {}
        Ok(())
    }
}

async fn open(settings: &FileSettings) -> Result<Open, OpenError> {
    let settings = settings.clone();
    let path = settings.path.display().to_string();
    let opened = tokio::task::spawn_blocking(move || {
        let workers = Workers::open(&settings)?;
        Ok((workers, FileId::of(&settings.path)))
    });
    let opened = opened.await.map_err(|_| OpenError::Ending)?;
    let (workers, id) = opened.map_err(|source| OpenError::Open {
        path: path.clone(),
        source,
    })?;
    Ok(Open {
        id: id.map_err(|source| OpenError::Missing { path, source })?,
        workers: Arc::new(workers),
    })
}
