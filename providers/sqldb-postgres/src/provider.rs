//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_postgres::PostgresSettings;
use lattice_provider_sdk::LinkKey;
use lattice_provider_sdk::sql::{Databases, Dialect, Limits, Sql, features};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings, Shared,
    Sharing, StartError, async_trait,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::time::Instant;

use crate::backend::{PostgresBackend, Server};
use crate::postgres::{self, PostgresLink};

/// SQL in PostgreSQL.
#[derive(Debug)]
pub struct SqldbPostgres {
    session: Session,
    servers: Sharing<PostgresSettings, Server>,
    links: Sql<PostgresBackend>,
    /// Links of the package of 1.x.
    old_links: Arc<Backends<PostgresLink>>,
    old_by_key: Mutex<HashMap<LinkKey, Arc<PostgresLink>>>,
}

impl SqldbPostgres {
    async fn server(&self, link: &ProviderLink) -> Result<(Shared<Server>, Settings), LinkError> {
        let settings = Settings::of(&self.session, link);
        let limits = Limits::read(&settings)?;
        let server = PostgresSettings::read(&settings)?;
        let mut server = server.lasting(limits.cursor, limits.transaction);
        // Components of 1.x do not know that they may have to try again.
        if !is_old(link) || settings.text("lock_wait_ms").is_some() {
            server = server.waiting_for_locks(limits.lock_wait);
        }
        let shared = self.servers.get(&server, || Server::open(&server)).await?;
        Ok((shared, settings))
    }
}

fn is_old(link: &ProviderLink) -> bool {
    link.is_for("wasmcloud", "postgres")
}

#[async_trait]
impl Provider for SqldbPostgres {
    const NAME: &'static str = "sqldb-postgres";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let old_links = Arc::new(Backends::new());
        postgres::serve(&session, Arc::clone(&old_links)).await?;
        Ok(Arc::new(Self {
            links: Sql::serve(&session).await?,
            session,
            servers: Sharing::new(),
            old_links,
            old_by_key: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !is_old(link) && !link.is_for("lattice", "sql") {
            let what = "sqldb-postgres serves lattice:sql and wasmcloud:postgres only";
            return Err(LinkError::invalid(what));
        }
        let (server, settings) = self.server(link).await?;
        if is_old(link) {
            let old = Arc::new(PostgresLink::new(server));
            self.old_links.put(link, Arc::clone(&old));
            self.old_by_key.lock().insert(link.key(), old);
            return Ok(());
        }
        let databases = Databases::read(&settings, link.name.as_str())?;
        let limits = Limits::read(&settings)?;
        let backend = Arc::new(PostgresBackend { server });
        self.links.put(link, backend, databases, limits);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        if is_old(link) {
            self.old_links.delete(link);
            self.old_by_key.lock().remove(&link.key());
        } else {
            self.links.delete(link).await;
        }
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let settings = Settings::of(&self.session, link);
        let limits = Limits::read(&settings).unwrap_or_default();
        // Each transaction and each cursor has a connection of its own.
        let limits = match PostgresSettings::read(&settings) {
            Ok(server) => limits.within(server.pool_size(), server.pool_size()),
            Err(_) => limits,
        };
        if is_old(link) {
            return without_transactions(features(Dialect::Postgres, &limits));
        }
        features(Dialect::Postgres, &limits)
            .with("after-error", "rolls-back")
            .having("transactional-ddl")
            .having("prepared")
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let old = self.old_by_key.lock().get(&link.key()).cloned();
        if let Some(old) = old {
            return old.server().check().await;
        }
        match self.links.backend(link) {
            Some(backend) => backend.server.check().await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.links.end(until).await;
    }
}

/// What is left of the features where each statement stands alone and all rows come at once.
fn without_transactions(features: Features) -> Features {
    let lacking = [
        "paging",
        "transactions",
        "isolation",
        "transactional-ddl",
        "max-page-rows",
        "max-page-bytes",
        "max-transactions",
        "max-cursors",
    ];
    let features = lacking.into_iter().fold(features, Features::lacking);
    features.with("after-error", "goes-on").having("prepared")
}
