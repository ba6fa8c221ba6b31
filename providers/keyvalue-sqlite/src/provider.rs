//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::keyvalue::watch::{ChangeNotifier, Scanner, Watched};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::SqliteBackend;
use crate::database::{Database, OpenError};
use crate::failure::Failure;
use crate::settings::{FileSettings, LinkSettings};
use crate::watch::Source;

/// How often keys whose time is over are dropped. They count as absent before.
const SWEEP: Duration = Duration::from_secs(10);

/// Key-value buckets in files of SQLite.
#[derive(Debug)]
pub struct KeyValueSqlite {
    session: Session,
    files: Sharing<FileSettings, Database>,
    backends: Arc<Backends<SqliteBackend>>,
    watchers: Mutex<HashMap<LinkKey, Scanner<Source>>>,
    _sweeping: JoinSet<()>,
}

impl KeyValueSqlite {
    /// The file that a link says, shared with others that say the same.
    async fn database(&self, settings: &FileSettings) -> Result<Shared<Database>, LinkError> {
        let open = || Database::open(settings);
        let database = self.files.get(settings, open).await.map_err(unusable)?;
        // It may have been opened long ago.
        database.check().await.map_err(unusable)?;
        Ok(database)
    }
}

async fn sweep(backends: Arc<Backends<SqliteBackend>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        for backend in backends.all() {
            if let Err(error) = backend.sweep().await {
                tracing::warn!(%error, "could not drop keys whose time is over");
            }
        }
    }
}

#[async_trait]
impl Provider for KeyValueSqlite {
    const NAME: &'static str = "keyvalue-sqlite";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        let mut sweeping = JoinSet::new();
        sweeping.spawn(sweep(Arc::clone(&backends)));
        Ok(Arc::new(Self {
            session,
            files: Sharing::new(),
            backends,
            watchers: Mutex::default(),
            _sweeping: sweeping,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let settings = LinkSettings::read(&Settings::of(&self.session, link))?;
        let database = self.database(&settings.file).await?;
        let backend = SqliteBackend::new(database, link.name.as_str(), settings.lifetime);
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let said = Settings::of(&self.session, link);
        let watched = Watched::read(&said)?;
        let settings = LinkSettings::read(&said)?;
        let bucket = said.text("bucket").filter(|name| *name != "default");
        let notifier =
            ChangeNotifier::new(&self.session, link, bucket.unwrap_or("default"), watched);
        let source = Source {
            database: self.database(&settings.file).await?,
            bucket: bucket.unwrap_or_default().to_owned(),
            memory: self.session.name_in_backend(link),
        };
        let watcher = Scanner::start(source, notifier).await.map_err(unwatched)?;
        self.watchers.lock().insert(link.key(), watcher);
        Ok(())
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.watchers.lock().remove(&link.key());
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }

    async fn describe(&self, _link: &ProviderLink) -> Features {
        SqliteBackend::features()
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => backend.check().await.map_err(unusable),
            None => {
                let watched = self.watchers.lock().get(&link.key()).map(Scanner::source);
                match watched {
                    Some(source) => source.check().await.map_err(unusable),
                    None => Ok(()),
                }
            }
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, _until: Instant) {
        self.watchers.lock().clear();
    }
}

fn unwatched(failure: Failure) -> LinkError {
    LinkError::unavailable(format!("could not read the watched keys: {failure}"))
}

/// Whatever is wrong with a file may be mended beside us.
fn unusable(error: OpenError) -> LinkError {
    LinkError::unavailable(chain(&error))
}
