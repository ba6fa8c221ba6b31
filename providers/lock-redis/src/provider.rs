//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::lock::{Election, Limits, LockLinks};
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings, Sharing,
    StartError, async_trait, chain,
};
use tokio::time::Instant;

use crate::connection::{ConnectError, Connection};
use crate::locks::RedisLocks;
use crate::settings::{self, ServerSettings};

/// Locks in Redis.
#[derive(Debug)]
pub struct LockRedis {
    session: Session,
    connections: Sharing<ServerSettings, Connection>,
    lock_links: LockLinks<RedisLocks>,
}

impl LockRedis {
    /// The locks that a link says, their bounds, and all that the link says.
    async fn open(&self, link: &ProviderLink) -> Result<(RedisLocks, Limits, Settings), LinkError> {
        self.lock_links.check_package(link)?;
        let says = Settings::of(&self.session, link);
        let limits = settings::limits(&says)?;
        let server = ServerSettings::read(&says, self.session.lattice())?;
        let open = || Connection::open(&server);
        let connection = self.connections.get(&server, open).await;
        let locks = RedisLocks::new(connection.map_err(no_connection)?);
        Ok((locks, limits, says))
    }
}

fn no_connection(error: ConnectError) -> LinkError {
    let why = chain(&error);
    match error {
        ConnectError::Url(_) => LinkError::invalid(why),
        ConnectError::Ask(_) => LinkError::unavailable(why),
    }
}

#[async_trait]
impl Provider for LockRedis {
    const NAME: &'static str = "lock-redis";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            lock_links: LockLinks::serve(&session).await?,
            connections: Sharing::new(),
            session,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let (locks, limits, _) = self.open(link).await?;
        self.lock_links.put(link, locks, limits);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.lock_links.delete(link);
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let (locks, limits, says) = self.open(link).await?;
        let election = Election::read(&says, link, &limits)?;
        self.lock_links.campaign(link, locks, election);
        Ok(())
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.lock_links.resign(link).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        self.lock_links.describe(link)
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        self.lock_links.check(link).await
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.lock_links.shutdown(until).await;
    }
}
