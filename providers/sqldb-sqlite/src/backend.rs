//! The databases behind one link.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::LinkError;
use lattice_provider_sdk::files::make_own;
use lattice_provider_sdk::sql::{Backend, Dialect, Purpose, SqlError};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::session::SqliteSession;
use crate::settings::{FolderSettings, Root};
use crate::store::Store;

/// How many databases of one link are open at once. Those that are named later are refused.
const MOST_DATABASES: usize = 64;
/// How long a database may take to show that it is there.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// A folder of databases. Links that say the same share it, so that there is one writer.
#[derive(Debug)]
pub(crate) struct Folder {
    settings: FolderSettings,
    root: PathBuf,
    /// Goes with the folder.
    _temporary: Option<TempDir>,
    stores: Mutex<HashMap<String, Arc<Store>>>,
}

impl Folder {
    /// Makes the folder if need be.
    pub(crate) async fn open(settings: FolderSettings) -> Result<Self, LinkError> {
        let (root, temporary) = match &settings.root {
            Root::Named(root) | Root::Own(root) => (root.clone(), None),
            Root::Memory => {
                let temporary = memory_folder();
                let temporary = temporary.map_err(|error| {
                    LinkError::unavailable_because("there is no room for databases", error)
                })?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let folder = Self {
            settings,
            root,
            _temporary: temporary,
            stores: Mutex::default(),
        };
        folder.make().await?;
        Ok(folder)
    }

    /// Makes the folder where it is not there.
    async fn make(&self) -> Result<(), LinkError> {
        let (root, is_own) = (
            self.root.clone(),
            matches!(self.settings.root, Root::Own(_)),
        );
        let made = tokio::task::spawn_blocking(move || match is_own {
            true => make_own(&root),
            false => std::fs::create_dir_all(root),
        });
        let made = made.await.unwrap_or_else(|error| Err(error.into()));
        made.map_err(|error| {
            let what = format!("could not make the folder `{}`", self.root.display());
            LinkError::unavailable_because(what, error)
        })
    }

    /// The database of a name, or that of the link.
    fn store(&self, db: Option<&str>) -> Result<Arc<Store>, SqlError> {
        let name = db.unwrap_or(&self.settings.database);
        // Names are plain, see `Databases`, so that the file is in the folder.
        let path = self.root.join(format!("{name}.sqlite3"));
        if !self.settings.create && !path.exists() {
            return Err(SqlError::NoSuchDatabase);
        }
        let mut stores = self.stores.lock();
        if let Some(store) = stores.get(name) {
            return Ok(Arc::clone(store));
        }
        if stores.len() >= MOST_DATABASES {
            return Err(SqlError::Busy(format!(
                "{MOST_DATABASES} databases of the folder are open, which is the most"
            )));
        }
        let store = Arc::new(Store::new(path, &self.settings));
        stores.insert(name.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// Whether the database of the link can be opened and read.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let what = || {
            format!(
                "the database `{}` in `{}` cannot be used",
                self.settings.database,
                self.root.display()
            )
        };
        let failed =
            |error: SqlError| LinkError::unavailable(format!("{}: {}", what(), error.text()));
        if self.settings.create {
            self.make().await?;
        }
        let until = Instant::now() + CHECK_LIMIT;
        let reader = match self.store(None).map_err(failed)?.reader(until).await {
            Ok(reader) => reader,
            // All in use: it is there.
            Err(SqlError::Busy(_) | SqlError::Timeout) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut session = SqliteSession::new(reader, CHECK_LIMIT);
        session.look(until).await.map_err(failed)
    }
}

/// A folder in memory where there is one, or else on disk.
fn memory_folder() -> std::io::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("lattice-sqldb-sqlite-");
        builder
    };
    let in_memory = builder().tempdir_in("/dev/shm");
    in_memory.or_else(|_| builder().tempdir())
}

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct SqliteBackend {
    pub(crate) folder: lattice_provider_sdk::Shared<Folder>,
}

impl Backend for SqliteBackend {
    type Session = SqliteSession;

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn connect(
        &self,
        db: Option<&str>,
        purpose: Purpose<'_>,
        until: Instant,
    ) -> Result<SqliteSession, SqlError> {
        let store = self.folder.store(db)?;
        let limit = self.folder.settings.statement_limit;
        match purpose {
            Purpose::One(statement) if statement.reads_only() => {
                Ok(SqliteSession::new(store.reader(until).await?, limit))
            }
            Purpose::One(_) => Ok(SqliteSession::new(store.writer(until).await?, limit)),
            // Every level is the strongest.
            Purpose::Transaction(_) => {
                let mut session = SqliteSession::new(store.writer(until).await?, limit);
                session.begin(until).await?;
                Ok(session)
            }
        }
    }
}
