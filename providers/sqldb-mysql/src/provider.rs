//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::sql::{Databases, Dialect, Limits, Sql, features};
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings, Sharing,
    StartError, async_trait,
};
use tokio::time::Instant;

use crate::backend::{MysqlBackend, Server};
use crate::settings::ServerSettings;

/// SQL in MariaDB and MySQL.
#[derive(Debug)]
pub struct SqldbMysql {
    session: Session,
    servers: Sharing<ServerSettings, Server>,
    links: Sql<MysqlBackend>,
}

#[async_trait]
impl Provider for SqldbMysql {
    const NAME: &'static str = "sqldb-mysql";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        // The client asks for the one of the process; that there is one already is fine.
        let _known = rustls::crypto::ring::default_provider().install_default();
        Ok(Arc::new(Self {
            links: Sql::serve(&session).await?,
            session,
            servers: Sharing::new(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("lattice", "sql") {
            return Err(LinkError::invalid("sqldb-mysql serves lattice:sql only"));
        }
        let settings = Settings::of(&self.session, link);
        let databases = Databases::read(&settings, link.name.as_str())?;
        let limits = Limits::read(&settings)?;
        let server = ServerSettings::read(&settings, &limits)?;
        let open = async || Server::new(&server);
        let shared = self.servers.get(&server, open).await?;
        shared.check().await?;
        let backend = Arc::new(MysqlBackend { server: shared });
        self.links.put(link, backend, databases, limits);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.links.delete(link).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let settings = Settings::of(&self.session, link);
        let limits = Limits::read(&settings).unwrap_or_default();
        // Each transaction and each cursor has a connection of its own.
        let limits = match ServerSettings::read(&settings, &limits) {
            Ok(server) => limits.within(server.pool_size, server.pool_size),
            Err(_) => limits,
        };
        features(Dialect::Mysql, &limits)
            .with("after-error", "goes-on")
            .lacking("transactional-ddl")
            .having("prepared")
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
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
