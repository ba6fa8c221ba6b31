//! The provider: its links and its functions.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings,
    StartError, async_trait,
};
use tokio::task::JoinSet;

use crate::backend::MemoryBackend;
use crate::buckets::Buckets;
use crate::settings::LinkSettings;

/// How often keys whose time is over are dropped. They count as absent before.
const SWEEP: Duration = Duration::from_millis(500);

/// Key-value buckets in memory.
pub struct KeyValueMemory {
    session: Session,
    buckets: Arc<Buckets>,
    backends: Arc<Backends<MemoryBackend>>,
    _sweeping: JoinSet<()>,
}

impl std::fmt::Debug for KeyValueMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the data.
        f.debug_struct("KeyValueMemory").finish_non_exhaustive()
    }
}

async fn sweep(buckets: Arc<Buckets>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        buckets.sweep();
    }
}

#[async_trait]
impl Provider for KeyValueMemory {
    const NAME: &'static str = "keyvalue-memory";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        let buckets = Arc::<Buckets>::default();
        let mut sweeping = JoinSet::new();
        sweeping.spawn(sweep(Arc::clone(&buckets)));
        Ok(Arc::new(Self {
            session,
            buckets,
            backends,
            _sweeping: sweeping,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let settings = LinkSettings::read(
            &Settings::of(&self.session, link),
            &Settings::of_provider(&self.session),
            self.session.lattice(),
        )?;
        let buckets = Arc::clone(&self.buckets);
        let backend = MemoryBackend::new(buckets, link.name.as_str(), settings);
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        // The buckets stay: whoever changes a link does not mean the data.
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let backend = self.backends.get(link);
        backend.map_or_else(Features::new, |backend| backend.features())
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }
}
