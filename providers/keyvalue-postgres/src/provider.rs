//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_postgres::{Postgres, PostgresSettings};
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::keyvalue::watch::{ChangeNotifier, Scanner, Watched};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Sharing, StartError, async_trait,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::PostgresBackend;
use crate::settings::LinkSettings;
use crate::table::{Failure, Table};
use crate::watch::Source;

/// How often keys whose time is over are dropped. They count as absent before.
const SWEEP: Duration = Duration::from_secs(10);

/// Key-value buckets in tables of PostgreSQL.
#[derive(Debug)]
pub struct KeyValuePostgres {
    session: Session,
    servers: Sharing<PostgresSettings, Postgres>,
    backends: Arc<Backends<PostgresBackend>>,
    watchers: Mutex<HashMap<LinkKey, Scanner<Source>>>,
    _sweeping: JoinSet<()>,
}

impl KeyValuePostgres {
    /// The table that a link says, on a server that is shared with others that say the same.
    async fn table(&self, settings: &LinkSettings) -> Result<Table, LinkError> {
        let open = || Postgres::open(&settings.server);
        let postgres = self.servers.get(&settings.server, open).await?;
        let table = Table::new(postgres, settings.table.clone(), settings.create);
        table.check().await?;
        Ok(table)
    }
}

async fn sweep(backends: Arc<Backends<PostgresBackend>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        for backend in backends.all() {
            if let Err(error) = backend.sweep().await {
                let error = error.words();
                tracing::warn!(error, "could not drop keys whose time is over");
            }
        }
    }
}

#[async_trait]
impl Provider for KeyValuePostgres {
    const NAME: &'static str = "keyvalue-postgres";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        let mut sweeping = JoinSet::new();
        sweeping.spawn(sweep(Arc::clone(&backends)));
        Ok(Arc::new(Self {
            session,
            servers: Sharing::new(),
            backends,
            watchers: Mutex::default(),
            _sweeping: sweeping,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let settings = LinkSettings::read(&Settings::of(&self.session, link))?;
        let table = self.table(&settings).await?;
        let backend = PostgresBackend::new(table, link.name.as_str(), settings.lifetime);
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
            table: self.table(&settings).await?,
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
        PostgresBackend::features()
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => backend.check().await,
            None => {
                let watched = self.watchers.lock().get(&link.key()).map(Scanner::source);
                match watched {
                    Some(source) => source.check().await,
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
    match failure {
        Failure::Postgres(error) => error.into(),
        other => LinkError::invalid(other.to_string()),
    }
}
