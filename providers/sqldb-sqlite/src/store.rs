//! The connections to one database.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use lattice_provider_sdk::files::FileId;
use lattice_provider_sdk::sql::SqlError;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::actor::Actor;
use crate::errors::{not_seen, writer_is_busy};
use crate::settings::FolderSettings;

/// One database: its writer and its readers.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    settings: FolderSettings,
    writer: Arc<Place>,
    readers: Arc<Place>,
}

/// Connections of one kind that nobody uses, and how many there may be.
#[derive(Debug)]
struct Place {
    idle: Mutex<Vec<Actor>>,
    permits: Arc<Semaphore>,
}

impl Place {
    fn of(size: usize) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(size)),
        })
    }
}

/// A connection in use. It is closed unless it is given back.
#[derive(Debug)]
pub(crate) struct Taken {
    actor: Option<Actor>,
    place: Arc<Place>,
    _permit: OwnedSemaphorePermit,
}

impl Taken {
    /// # Panics
    ///
    /// Never: the connection is there until it is given back, which takes this.
    pub(crate) fn actor(&self) -> &Actor {
        self.actor.as_ref().expect("a connection in use is there")
    }

    /// Lets others use it.
    pub(crate) fn give_back(mut self) {
        if let Some(actor) = self.actor.take() {
            self.place.idle.lock().push(actor);
        }
    }
}

impl Store {
    pub(crate) fn new(path: PathBuf, settings: &FolderSettings) -> Self {
        Self {
            path,
            settings: settings.clone(),
            writer: Place::of(1),
            readers: Place::of(settings.readers),
        }
    }

    /// The connection that writes; nobody else has it meanwhile.
    pub(crate) async fn writer(&self, until: Instant) -> Result<Taken, SqlError> {
        let limit = self.settings.busy_wait;
        let waits_to = Instant::now() + limit;
        let Some(permit) = permit(&self.writer, until.min(waits_to)).await else {
            return match waits_to <= until {
                true => Err(writer_is_busy(limit)),
                false => Err(SqlError::Timeout),
            };
        };
        self.take(&self.writer, permit, false, until).await
    }

    /// A connection that reads.
    pub(crate) async fn reader(&self, until: Instant) -> Result<Taken, SqlError> {
        let limit = self.settings.reader_wait;
        let waits_to = Instant::now() + limit;
        let Some(permit) = permit(&self.readers, until.min(waits_to)).await else {
            return match waits_to <= until {
                true => Err(SqlError::Busy(format!(
                    "all {} connections that read the database were in use for {limit:?}; a larger `pool_size` would allow more",
                    self.settings.readers
                ))),
                false => Err(SqlError::Timeout),
            };
        };
        self.take(&self.readers, permit, true, until).await
    }

    /// A connection to the file that is there: SQLite goes on with one that is deleted or replaced,
    /// whose writes nobody sees again.
    fn idle(&self, place: &Place) -> Result<Option<Actor>, SqlError> {
        let file = match FileId::of(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // It may be there all the same.
            Err(error) => return Err(not_seen(&error)),
        };
        let mut idle = place.idle.lock();
        idle.retain(|actor| file.is_some_and(|file| actor.has(file)));
        Ok(idle.pop())
    }

    async fn take(
        &self,
        place: &Arc<Place>,
        permit: OwnedSemaphorePermit,
        only_reads: bool,
        until: Instant,
    ) -> Result<Taken, SqlError> {
        let actor = match self.idle(place)? {
            Some(actor) => actor,
            None => {
                let opened = Actor::open(&self.path, &self.settings, only_reads);
                let opened = tokio::time::timeout_at(until, opened).await;
                opened.map_err(|_| SqlError::Timeout)??
            }
        };
        Ok(Taken {
            actor: Some(actor),
            place: Arc::clone(place),
            _permit: permit,
        })
    }
}

async fn permit(place: &Place, until: Instant) -> Option<OwnedSemaphorePermit> {
    let permit = Arc::clone(&place.permits).acquire_owned();
    // It is never closed.
    tokio::time::timeout_at(until, permit).await.ok()?.ok()
}
