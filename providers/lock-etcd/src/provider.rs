//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::lock::{Election, Limits, LockLinks};
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings, Sharing,
    StartError, async_trait, chain,
};
use tokio::time::Instant;

use crate::line::{Line, LineError};
use crate::locks::EtcdLocks;
use crate::settings::{self, LineSettings};

/// Locks in etcd.
#[derive(Debug)]
pub struct LockEtcd {
    session: Session,
    lines: Sharing<LineSettings, Line>,
    lock_links: LockLinks<EtcdLocks>,
}

impl LockEtcd {
    /// The locks that a link says, their bounds, and all that the link says.
    async fn open(&self, link: &ProviderLink) -> Result<(EtcdLocks, Limits, Settings), LinkError> {
        self.lock_links.check_package(link)?;
        let says = Settings::of(&self.session, link);
        let limits = settings::limits(&says)?;
        let line = LineSettings::read(&says, self.session.lattice())?;
        let open = || Line::open(&line);
        let line = self.lines.get(&line, open).await.map_err(no_line)?;
        Ok((EtcdLocks::new(line), limits, says))
    }
}

fn no_line(error: LineError) -> LinkError {
    let why = chain(&error);
    match error {
        LineError::Open(_) => LinkError::invalid(why),
        LineError::Read(_) => LinkError::unavailable(why),
    }
}

#[async_trait]
impl Provider for LockEtcd {
    const NAME: &'static str = "lock-etcd";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            lock_links: LockLinks::serve(&session).await?,
            lines: Sharing::new(),
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
