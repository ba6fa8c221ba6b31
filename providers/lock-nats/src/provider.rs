//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::lock::{Election, Limits, LockLinks};
use lattice_provider_sdk::{
    ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings, Shared, Sharing,
    StartError, async_trait, chain,
};
use tokio::time::Instant;

use crate::locks::NatsLocks;
use crate::settings::{self, VaultSettings};
use crate::vault::Vault;

/// Locks in NATS JetStream.
#[derive(Debug)]
pub struct LockNats {
    session: Session,
    vaults: Sharing<VaultSettings, Vault>,
    lock_links: LockLinks<NatsLocks>,
}

impl LockNats {
    /// The locks that a link says, their bounds, and all that the link says.
    async fn open(&self, link: &ProviderLink) -> Result<(NatsLocks, Limits, Settings), LinkError> {
        self.lock_links.check_package(link)?;
        let session = &self.session;
        let says = Settings::of(session, link);
        let limits = settings::limits(&says)?;
        let vault = VaultSettings::read(&says, session.lattice(), &session.nats_settings())?;
        let open = || Vault::open(&vault, session);
        let vault = self.vaults.get(&vault, open).await;
        let vault = vault.map_err(|e| LinkError::unavailable(chain(&e)))?;
        check_age(&vault, &limits)?;
        Ok((NatsLocks::new(vault), limits, says))
    }
}

/// A bucket that drops locks before their time would make two holders.
fn check_age(vault: &Shared<Vault>, limits: &Limits) -> Result<(), LinkError> {
    let keeps = vault.keeps();
    if keeps.is_zero() || keeps >= 2 * limits.longest {
        return Ok(());
    }
    Err(LinkError::unavailable(format!(
        "the bucket `{}` drops entries after {keeps:?}, which has to be at least twice the \
         `ttl_max_ms` of the link, {:?}",
        vault.bucket(),
        limits.longest
    )))
}

#[async_trait]
impl Provider for LockNats {
    const NAME: &'static str = "lock-nats";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            lock_links: LockLinks::serve(&session).await?,
            vaults: Sharing::new(),
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
