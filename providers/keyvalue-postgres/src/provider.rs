//! The provider: its links and its functions.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_postgres::{Postgres, PostgresSettings};
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings,
    Sharing, StartError, async_trait,
};
use tokio::task::JoinSet;

use crate::backend::PostgresBackend;
use crate::settings::LinkSettings;
use crate::table::Table;

/// How often keys whose time is over are dropped. They count as absent before.
const SWEEP: Duration = Duration::from_secs(10);

/// Key-value buckets in tables of PostgreSQL.
#[derive(Debug)]
pub struct KeyValuePostgres {
    session: Session,
    servers: Sharing<PostgresSettings, Postgres>,
    backends: Arc<Backends<PostgresBackend>>,
    _sweeping: JoinSet<()>,
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
            _sweeping: sweeping,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let settings = LinkSettings::read(&Settings::of(&self.session, link))?;
        let open = || Postgres::open(&settings.server);
        let postgres = self.servers.get(&settings.server, open).await?;
        let table = Table::new(postgres, settings.table, settings.create);
        let backend = PostgresBackend::new(table, link.name.as_str(), settings.lifetime);
        backend.check().await?;
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        match self.backends.get(link) {
            Some(_) => PostgresBackend::features(),
            None => Features::new(),
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => backend.check().await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }
}
