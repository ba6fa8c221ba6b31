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
}

impl Database {
    /// Opens a file.
    pub(crate) async fn open(settings: &FileSettings) -> Result<Self, OpenError> {
        Ok(Self {
            open: Mutex::new(Some(open(settings).await?)),
            settings: settings.clone(),
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
        let path = self.settings.path.clone();
        let found = tokio::task::spawn_blocking(move || FileId::of(&path)).await;
        let found = found.map_err(|_| OpenError::Ending)?;
        let known = self.workers().ok().map(|workers| workers.file());
        if known.is_none() || found.as_ref().ok().copied() != known {
            self.open_again(found).await?;
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

    /// Leaves a file that is not the one behind the path any more.
    async fn open_again(&self, found: io::Result<FileId>) -> Result<(), OpenError> {
        let path = self.path();
        if self.open.lock().take().is_some() {
            tracing::warn!(
                path,
                "the file was deleted or replaced, opening what is there"
            );
        }
        match found {
            Err(source) if source.kind() != io::ErrorKind::NotFound || !self.settings.create => {
                Err(OpenError::Missing { path, source })
            }
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
        WorkersError::Missing(source) => OpenError::Missing { path, source },
    })
}
