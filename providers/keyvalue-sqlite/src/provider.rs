//! The provider: its links and its functions.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings,
    Sharing, StartError, async_trait, chain,
};
use tokio::task::JoinSet;

use crate::backend::SqliteBackend;
use crate::database::{Database, OpenError};
use crate::settings::{FileSettings, LinkSettings};

/// How often keys whose time is over are dropped. They count as absent before.
const SWEEP: Duration = Duration::from_secs(10);

/// Key-value buckets in files of SQLite.
#[derive(Debug)]
pub struct KeyValueSqlite {
    session: Session,
    files: Sharing<FileSettings, Database>,
    backends: Arc<Backends<SqliteBackend>>,
    _sweeping: JoinSet<()>,
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
            _sweeping: sweeping,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let settings = LinkSettings::read(&Settings::of(&self.session, link))?;
        let open = || Database::open(&settings.file);
        let database = self.files.get(&settings.file, open).await;
        let database = database.map_err(unusable)?;
        // It may have been opened long ago.
        database.check().await.map_err(unusable)?;
        let backend = SqliteBackend::new(database, link.name.as_str(), settings.lifetime);
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        match self.backends.get(link) {
            Some(_) => SqliteBackend::features(),
            None => Features::new(),
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => backend.check().await.map_err(unusable),
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }
}

/// Whatever is wrong with a file may be mended beside us.
fn unusable(error: OpenError) -> LinkError {
    LinkError::unavailable(chain(&error))
}
